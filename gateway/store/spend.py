"""The embedded store's file: one SQLite database in WAL mode, written by one thread of one process.

Every batch is one transaction that also moves the number applied per writer, so a settlement is in the file once or not
at all. synchronous=NORMAL: a crash of the process loses nothing, a power cut loses the last moments, which the journal
brings back as far as it reached the disk.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from gateway.core.audit import Purse, Snapshot
from gateway.core.book import Spent, State
from gateway.core.periods import DAY_MS, day_of, month_of, months_before
from gateway.store.ledger import Grain, Row, StoreUnfit

LAYOUT = 1
KEEP_DAYS = 92
KEEP_MONTHS = 13

_SCHEMA = """
create table if not exists facts(name text primary key, value) without rowid;
create table if not exists applied(writer text primary key, n integer not null) without rowid;
create table if not exists rows(period text, row text, what text, amount integer not null,
    primary key (period, row, what)) without rowid;
create table if not exists spent(owner text, per text, number integer not null, now integer not null,
    before integer not null, primary key (owner, per)) without rowid;
create table if not exists raises(owner text, per text, nano integer not null, until integer not null,
    primary key (owner, per)) without rowid;
create table if not exists levels(owner text, field text, level integer not null, at integer not null,
    rate integer not null, capacity integer not null, primary key (owner, field)) without rowid;
create table if not exists learned(day integer, field text, value real not null,
    primary key (day, field)) without rowid;
create table if not exists once(hold text primary key, until integer not null) without rowid;
"""


@dataclass
class Batch:
    """What one transaction writes. Rows are added to, everything else is replaced."""

    applied: dict[str, int] = field(default_factory=dict)
    rows: dict[tuple[str, str, str], int] = field(default_factory=dict)
    spent: dict[tuple[str, str], Spent] = field(default_factory=dict)
    raises: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    levels: dict[tuple[str, str], tuple[int, int, int, int]] = field(default_factory=dict)  # at: wall clock
    facts: dict[str, str | int] = field(default_factory=dict)
    once: dict[str, int] = field(default_factory=dict)  # ids of work that goes on after its call, until: wall clock
    events: int = 0

    def absorb(self, newer: "Batch") -> None:
        """Join what came after a batch that could not be written."""
        for key, amount in newer.rows.items():
            self.rows[key] = self.rows.get(key, 0) + amount
        self.applied |= newer.applied
        self.spent |= newer.spent
        self.raises |= newer.raises
        self.levels |= newer.levels
        self.facts |= newer.facts
        self.once |= newer.once
        self.events += newer.events

    def __bool__(self) -> bool:
        return any((self.applied, self.rows, self.spent, self.raises, self.levels, self.facts))


class SpendFile:
    """The database. Every method runs in the one thread that owns it, except the constructor."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db: sqlite3.Connection | None = None

    def open(self) -> bool:
        """Open or create it; True when it was created."""
        created = not self.path.exists()
        self._db = sqlite3.connect(self.path, timeout=0.5, isolation_level=None, check_same_thread=False)
        try:
            self._db.execute("pragma journal_mode=wal")
            self._db.execute("pragma synchronous=normal")
            self._db.executescript(_SCHEMA)
            self._db.execute("insert or ignore into facts values ('layout', ?)", (LAYOUT,))
        except sqlite3.OperationalError:
            raise  # the disk's fault, not the file's
        except sqlite3.DatabaseError as fault:
            raise StoreUnfit(f"{self.path} can't be used: {fault}. Move it away to start from the journals.") from fault
        layout = self.facts()["layout"]
        if layout != LAYOUT:
            raise StoreUnfit(f"{self.path} has layout {layout}, this gateway writes {LAYOUT}. Use a matching release.")
        return created

    @property
    def db(self) -> sqlite3.Connection:
        assert self._db is not None, "opened by start()"
        return self._db

    def facts(self) -> dict[str, str | int]:
        return dict(self.db.execute("select name, value from facts"))

    def load(self) -> tuple[State, dict[tuple[str, str], tuple[int, int, int, int]]]:
        """The state but for the levels, and the levels with their times by the wall clock."""
        state = State()
        state.applied = dict(self.db.execute("select writer, n from applied"))
        for owner, per, number, now, before in self.db.execute("select * from spent"):
            state.spent[owner, per] = Spent(number, now, before)
        for owner, per, nano, until in self.db.execute("select * from raises"):
            state.raises[owner, per] = (nano, until)
        state.lost = int(self.facts().get("lost", 0))
        levels = {(owner, name): tuple(rest) for owner, name, *rest in self.db.execute("select * from levels")}
        return state, levels

    def once(self, now: int) -> dict[str, int]:
        """The ids that must not be booked again."""
        self.db.execute("delete from once where until < ?", (now,))
        return dict(self.db.execute("select hold, until from once"))

    def write(self, batch: Batch) -> None:
        """All of a batch or nothing."""
        db = self.db
        db.execute("begin immediate")
        try:
            db.executemany("insert or replace into applied values (?, ?)", batch.applied.items())
            db.executemany(
                "insert into rows values (?, ?, ?, ?) on conflict do update set amount = amount + excluded.amount",
                _flat(batch.rows),
            )
            db.executemany("insert or replace into spent values (?, ?, ?, ?, ?)", _flat(batch.spent))
            db.executemany("insert or replace into raises values (?, ?, ?, ?)", _flat(batch.raises))
            db.executemany("insert or replace into levels values (?, ?, ?, ?, ?, ?)", _flat(batch.levels))
            db.executemany("insert or replace into facts values (?, ?)", batch.facts.items())
            db.executemany("insert or replace into once values (?, ?)", batch.once.items())
            db.execute("commit")
        except BaseException:
            if db.in_transaction:
                db.execute("rollback")
            raise

    def rows(self, grain: Grain, first: str, last: str, team: str | None) -> list[Row]:
        length = 10 if grain == "day" else 7
        query = "select period, row, what, amount from rows where period between ? and ? and length(period) = ?"
        return collect(self.db.execute(query, (first, last, length)), team)

    def snapshot(self, periods: Sequence[str], purses: Sequence[Purse], writers: Sequence[str]) -> Snapshot:
        """What the file says of some days or months, spend and writers: in this thread, so at one moment."""
        cells = {
            (period, row, what): amount
            for asked in periods
            for period, row, what, amount in self.db.execute("select * from rows where period = ?", (asked,))
        }
        state, _ = self.load()
        spent = {purse: state.spent.get(purse[:2], Spent(0, 0, 0)).at(purse[2]) for purse in purses}
        return Snapshot(cells, spent, {writer: state.applied[writer] for writer in writers if writer in state.applied})

    def prune(self, now: int) -> None:
        """Forget days and months that are past keeping."""
        self.db.execute(
            "delete from rows where length(period) = 10 and period < ?", (day_of(now - KEEP_DAYS * DAY_MS),)
        )
        oldest = months_before(month_of(now), KEEP_MONTHS)
        self.db.execute("delete from rows where length(period) = 7 and period < ?", (oldest,))
        self.db.execute("delete from raises where until < ?", (now,))

    def close(self) -> None:
        if self._db is not None:
            self._db.close()


def collect(cells: Iterable[tuple[str, str, str, int]], team: str | None) -> list[Row]:
    """Rows from their cells (period, row name, what, amount), of one team or of all."""
    amounts: dict[tuple[str, str], dict[str, int]] = {}
    for period, row, what, amount in cells:
        amounts.setdefault((period, row), {})[what] = amount
    rows = []
    for (period, name), values in sorted(amounts.items()):
        whose, key, model, kind = msgspec.json.decode(name, type=tuple[str, str, str, str])
        if team is None or whose == team:
            rows.append(Row(period, whose, key, model, kind, values))
    return rows


def _flat(table: Mapping[Any, int | tuple[int, ...]]) -> list[tuple[str | int, ...]]:
    return [(*key, *(value if isinstance(value, tuple) else (value,))) for key, value in table.items()]
