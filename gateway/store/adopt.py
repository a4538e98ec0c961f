"""Journals that their process left behind, by a crash or by stopping while the store was away.

Whoever holds a writer's lock file may finish its work: settle what was open at its estimate, and send what the store
has not applied, under the dead writer's own numbers.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from gateway.core.plan import Entry, Opened, held_entry
from gateway.store.journal import Lock, entries_of, mark_done, read_lines, segments_of
from gateway.store.ledger import Observer


class Abandoned:
    """One dead writer's journal, locked."""

    def __init__(self, directory: Path, writer: str, lock: Lock, observer: Observer) -> None:
        self.writer = writer
        self._directory = directory
        self._lock = lock
        self._observer = observer

    def first(self) -> int:
        """The lowest number on disk."""
        return next((entry.n for entry in self.after(0)), 1)

    def after(self, n: int) -> Iterator[Entry]:
        """The settlements that a store which has applied `n` still misses."""
        return entries_of(segments_of(self._directory, self.writer), n, self._observer)

    def settle_open(self) -> tuple[int, list[Opened]]:
        """Settle each hold that has no settlement at its estimate: how many, and those that outlive a process."""
        open_holds: dict[str, Opened] = {}
        n = 0
        for path in segments_of(self._directory, self.writer):
            for line in read_lines(path):
                if isinstance(line, Opened):
                    open_holds[line.hold] = line
                elif isinstance(line, Entry):
                    open_holds.pop(line.hold, None)
                    n = max(n, line.n)
        unleased = [line for line in open_holds.values() if not line.plan.leased]
        leased = [line for line in open_holds.values() if line.plan.leased]
        if leased:
            path = segments_of(self._directory, self.writer)[-1]
            number = int(path.name.split(".")[1]) + 1
            entries = [
                held_entry(n + offset, line.hold, line.at, line.plan, "crashed")
                for offset, line in enumerate(leased, 1)
            ]
            # Written whole or not at all, so that a crash of the adopter leaves nothing half-settled.
            draft = self._directory / f"{self.writer}.draft"
            draft.write_bytes(b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries))
            draft.rename(self._directory / f"{self.writer}.{number:06d}.jsonl")
        return len(leased), unleased

    def done(self) -> None:
        """The store has applied everything: nobody needs to adopt it again."""
        for path in segments_of(self._directory, self.writer):
            if path.suffix != ".done":
                mark_done(path)
        self._lock.release(remove=True)

    def leave(self) -> None:
        """Give it back unfinished, for a later try."""
        self._lock.release()


def abandoned(directory: Path, observer: Observer, *, finished: bool = False) -> Iterator[Abandoned]:
    """Every journal in the directory whose writer is dead; with `finished`, those whose work was done as well."""
    pattern = "*.jsonl*" if finished else "*.jsonl"
    for writer in sorted({path.name.split(".")[0] for path in directory.glob(pattern)}):
        lock = Lock(directory, writer)
        if lock.take():
            yield Abandoned(directory, writer, lock, observer)
