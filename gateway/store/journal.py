"""The journal: every settlement of one process, on disk before it is sent.

A writer's file is only appended to, by one write(2) per turn of the event loop, so that kill -9 loses nothing that was
settled; what a power cut takes with it is bounded by the kernel's write-back. Files are cut into segments; one whose
settlements the store has confirmed is renamed `.done` and deleted 7 days later. A locked file beside them says that the
writer lives: `adopt.py` takes over the journals of those that don't.
"""

import contextlib
import fcntl
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from gateway.core.plan import Entry, Opened, blank_entry
from gateway.store.ledger import Observer

SEGMENT_BYTES = 64 * 2**20
SEGMENT_SECONDS = 86_400.0
KEEP_SECONDS = 7 * 86_400.0
RETRY_SECONDS = 1.0
# What may wait in memory for a full disk. Beyond it new calls are refused: nothing is dropped in silence.
BACKLOG_BYTES = 64 * 2**20

Line = Entry | Opened
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Line)


class Damaged(Exception):
    """A line in the middle of a journal that is no line of a journal."""


def read_lines(path: Path) -> Iterator[Line | Damaged]:
    """The lines of one segment. A last line without its end was never completed, so it was never acted on."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield _decoder.decode(line)
            except msgspec.DecodeError as fault:
                yield Damaged(f"{path.name}, line {number}: {fault}")


def segments_of(directory: Path, writer: str) -> list[Path]:
    """A writer's segments in order, confirmed ones included."""
    return sorted(directory.glob(f"{writer}.*.jsonl*"))


def entries_of(paths: list[Path], after: int, observer: Observer) -> Iterator[Entry]:
    """The settlements above a number. One that can't be read any more is replaced by a blank, with one line of log."""
    expected = after + 1 if after else None
    for path in paths:
        for line in read_lines(path):
            if isinstance(line, Damaged):
                observer.event("journal_damaged", {"line": str(line)})
            elif isinstance(line, Entry) and line.n > after:
                # Before the first there is no gap: the segments below it were deleted in their time.
                while expected is not None and expected < line.n:
                    yield blank_entry(expected)
                    expected += 1
                yield line
                expected = line.n + 1


class Lock:
    """Holds a writer's lock file for as long as the process lives."""

    def __init__(self, directory: Path, writer: str) -> None:
        self._path = directory / f"{writer}.lock"
        self._file = -1

    def take(self) -> bool:
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            return False
        self._file = file
        return True

    def release(self, *, remove: bool = False) -> None:
        if remove:
            self._path.unlink(missing_ok=True)
        os.close(self._file)


class Journal:
    """The journal of this process. `append` collects, `flush` writes; the ledger calls `flush` once per loop turn."""

    def __init__(
        self,
        directory: Path,
        writer: str,
        *,
        observer: Observer,
        retry: Callable[[float, Callable[[], object]], object],
    ) -> None:
        self._directory = directory
        self._writer = writer
        self._observer = observer
        self._retry = retry  # loop.call_later
        self._lock = Lock(directory, writer)
        self._file = -1
        self._path = directory
        self._size = 0
        self._opened = 0.0
        self._number = 0
        self._last = 0  # the highest settlement that was appended
        self._cleared = 0
        self._closed: deque[tuple[Path, int]] = deque()  # full segments and the highest settlement in each
        self._pending: deque[tuple[int, bytes]] = deque()
        self._pending_bytes = 0
        self._failing_since: float | None = None
        self._dropped = 0

    @property
    def ok(self) -> bool:
        return self._failing_since is None

    @property
    def full(self) -> bool:
        """The disk takes nothing and memory has taken what it may."""
        return self._pending_bytes > BACKLOG_BYTES

    def open(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        taken = self._lock.take()
        assert taken, f"journal {self._writer} is in use: writers are drawn at random, never shared"
        self._next_segment()

    def append(self, line: Line) -> None:
        data = _encoder.encode(line) + b"\n"
        n = line.n if isinstance(line, Entry) else 0
        self._last = max(self._last, n)
        self._pending.append((n, data))
        self._pending_bytes += len(data)

    def flush(self) -> bool:
        """Write what was appended. A full disk leaves it in memory, to be tried again every second."""
        if not self._pending:
            return self.ok
        data = b"".join(data for _, data in self._pending)
        try:
            if self._file < 0:
                self._next_segment()
            if os.write(self._file, data) != len(data):
                raise OSError("the disk took only a part of the line")
        except OSError as fault:
            self._failed(fault)
            return False
        self._size += len(data)
        self._pending.clear()
        self._pending_bytes = 0
        if self._failing_since is not None:
            seconds = round(time.monotonic() - self._failing_since, 1)
            self._observer.event("journal_back", {"seconds": seconds, "entries_only_in_store": self._dropped})
            self._failing_since, self._dropped = None, 0
        if self._size > SEGMENT_BYTES or time.monotonic() - self._opened > SEGMENT_SECONDS:
            self._close_segment()
            self._next_segment()
        return True

    def confirmed(self, n: int) -> None:
        """The store has applied everything up to `n`: full segments below it are done."""
        while self._closed and self._closed[0][1] <= n:
            mark_done(self._closed.popleft()[0])
        if self._failing_since is not None and n - self._cleared >= 1000:
            # The disk has no use for them any more, and memory is what keeps the gateway serving.
            self._cleared = n
            kept = deque((number, data) for number, data in self._pending if not 0 < number <= n)
            self._dropped += len(self._pending) - len(kept)
            self._pending, self._pending_bytes = kept, sum(len(data) for _, data in kept)

    def after(self, n: int) -> Iterator[Entry]:
        """The settlements above `n` that are on disk, oldest first, as far as the files reach now."""
        return entries_of(segments_of(self._directory, self._writer), n, self._observer)

    def first(self) -> int:
        """The lowest number that can be sent again from disk, 1 when nothing was settled yet."""
        return next((entry.n for entry in self.after(0)), 1)

    def close(self, *, confirmed: int) -> None:
        """Let go. With everything confirmed, the last segment is done too."""
        self.flush()
        if self._file >= 0:
            self._close_segment()
        self.confirmed(confirmed)
        self._lock.release(remove=not self._closed)

    def _next_segment(self) -> None:
        self._number += 1
        self._path = self._directory / f"{self._writer}.{self._number:06d}.jsonl"
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size, self._opened = 0, time.monotonic()

    def _close_segment(self) -> None:
        os.close(self._file)
        self._file = -1
        if self._size:
            self._closed.append((self._path, self._last))
        else:
            self._path.unlink(missing_ok=True)

    def _failed(self, fault: OSError) -> None:
        if self._file >= 0:
            # A part of the data may have been written; a half line must not stand before a whole one.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
        if self._failing_since is None:
            self._failing_since = time.monotonic()
            self._observer.event("journal_failing", {"path": str(self._path), "error": str(fault)})
        self._retry(RETRY_SECONDS, self.flush)


def mark_done(path: Path) -> None:
    done = path.with_name(path.name + ".done")
    path.rename(done)
    os.utime(done)  # from now on it is kept for 7 days


def prune(directory: Path, now: float) -> None:
    """Delete segments that were confirmed more than 7 days ago."""
    for path in directory.glob("*.jsonl.done"):
        if now - path.stat().st_mtime > KEEP_SECONDS:
            path.unlink(missing_ok=True)
