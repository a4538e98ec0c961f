"""What this machine remembers of the store over restarts: which one it was, and how far it had come."""

import contextlib
import os
from pathlib import Path

import msgspec


class _Saved(msgspec.Struct):
    epoch: str = ""
    beat: int = 0
    live: int = 1


class Memory:
    """A small file, replaced whole. Losing it costs the recognition of a changed store, nothing else."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._saved = _Saved()

    @property
    def epoch(self) -> str:
        return self._saved.epoch

    @property
    def beat(self) -> int:
        return self._saved.beat

    @property
    def live(self) -> int:
        return max(1, self._saved.live)

    def load(self) -> None:
        with contextlib.suppress(OSError, msgspec.DecodeError):
            self._saved = msgspec.json.decode(self._path.read_bytes(), type=_Saved)

    def save(self, *, epoch: str, beat: int, live: int) -> None:
        self._saved = _Saved(epoch, beat, live)
        draft = self._path.with_suffix(f".{os.getpid()}")
        with contextlib.suppress(OSError):  # a full disk is told by the journal
            draft.write_bytes(msgspec.json.encode(self._saved))
            draft.replace(self._path)
