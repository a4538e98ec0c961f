"""What all processes learned, in either store: sums by day and field, that each adds to and everybody reads.

A sum is added once. In Redis slices are numbered per writer, and an unanswered share is repeated with its numbers; in
the embedded store's file a share is one transaction. Sums that nobody reads any more are forgotten after nine days.
"""

import contextlib
import sqlite3
from collections.abc import Mapping, Sequence

from gateway.core.day_sums import KEPT_DAYS
from gateway.store.batcher import Batcher, ReplyError
from gateway.store.cold import SLICE, scan
from gateway.store.keys import Keys
from gateway.store.ledger import StoreDown
from gateway.store.scripts import LEARN

Sums = Mapping[int, Mapping[str, float]]


class Learned:
    """The sums in Redis, as one writer adds to them."""

    def __init__(self, keys: Keys, writer: str) -> None:
        self._keys = keys
        self._writer = writer
        self._added = 0  # slices of this writer that the caller knows to be added

    async def share(self, batcher: Batcher, taken: Sums, days: Sequence[int]) -> dict[int, dict[str, float]]:
        number = self._added
        try:
            for day, fields in taken.items():
                flat = [text for name, value in fields.items() for text in (name, repr(value))]
                for start in range(0, len(flat), 2 * SLICE):
                    number += 1
                    # Slice by slice: reserves of other processes come between. Not by `Link.script`, which leaves a
                    # server that answers with an error: what was learned is not worth the connection.
                    await batcher.call(
                        "EVAL", LEARN.text, 2, self._keys.learned(day), self._keys.learner(self._writer), number,
                        *flat[start : start + 2 * SLICE], patient=True,
                    )  # fmt: skip
            stored = {day: await self._read(batcher, day) for day in days}
        except ReplyError as error:
            raise StoreDown(str(error)) from error
        self._added = number
        return stored

    async def _read(self, batcher: Batcher, day: int) -> dict[str, float]:
        return {name.decode(): float(value) async for name, value in scan(batcher, self._keys.learned(day))}


def share(db: sqlite3.Connection, taken: Sums, days: Sequence[int]) -> dict[int, dict[str, float]]:
    """The same in the embedded store's file; called in the thread that owns it."""
    added = [(day, name, value) for day, fields in taken.items() for name, value in fields.items()]
    db.execute("begin immediate")
    try:
        db.executemany(
            "insert into learned values (?, ?, ?) on conflict do update set value = value + excluded.value", added
        )
        db.execute("delete from learned where day < ?", (max(days) - KEPT_DAYS,))
        stored = {
            day: dict(db.execute("select field, value from learned where day = ?", (day,)).fetchall()) for day in days
        }
        db.execute("commit")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            db.execute("rollback")
        raise
    return stored
