"""What the ledger should say, counted again from journals or log lines, and how it differs from what the store says.

Every settlement has a place, WRITER/NUMBER, so one that stands in several files counts once. A store is compared at one
moment: of a writer that it knows, only the numbers it had applied by then are counted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.core.limits import Period
from gateway.core.periods import day_of, month_of

Cell = tuple[str, str, str]  # day or month, row name, what
Purse = tuple[str, Period, int]  # owner, period, its number


class Event(NamedTuple):
    """One settlement, whatever file it was read from."""

    writer: str
    n: int
    at: int
    row: str
    amounts: tuple[tuple[str, int], ...]
    purses: tuple[Purse, ...]
    nano: int
    once: str = ""  # the id of work that goes on after its call: it may be journalled again, and counts once


@dataclass
class Files:
    """Everything that the given files say."""

    events: dict[tuple[str, int], Event] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    unplaced: int = 0  # request lines that cost something and name no place in the ledger
    unsettled: int = 0  # holds without a settlement

    def add(self, event: Event) -> None:
        self.events.setdefault((event.writer, event.n), event)


@dataclass(frozen=True)
class Snapshot:
    """What a store said at one moment."""

    cells: Mapping[Cell, int]
    spent: Mapping[Purse, int]
    applied: Mapping[str, int]


class Difference(NamedTuple):
    """One number of the ledger that the files don't give."""

    period: str
    row: str
    what: str
    store: int
    files: int


@dataclass(frozen=True)
class Report:
    """The outcome of a comparison. `estimated_only` are rows of crashed calls, which only the store knows of."""

    first: int | None  # epoch ms of the first and last settlement covered
    last: int | None
    settlements: int
    pending: int  # settlements that the store had not applied yet
    missing: Mapping[str, tuple[int, ...]]  # numbers of a writer that no file has
    damaged: tuple[str, ...]
    unplaced: int
    unsettled: int
    differences: tuple[Difference, ...]
    estimated_only: tuple[Difference, ...]

    @property
    def agrees(self) -> bool:
        return not (self.differences or self.missing or self.damaged or self.unplaced)


def counted(events: Iterable[Event]) -> tuple[dict[Cell, int], dict[Purse, int]]:
    """The rows and the spend that some settlements amount to."""
    cells: dict[Cell, int] = {}
    spent: dict[Purse, int] = {}
    seen: set[str] = set()
    for event in sorted(events, key=lambda event: event.at):
        if event.once and event.once in seen:
            continue
        seen.add(event.once)
        for period in (day_of(event.at), month_of(event.at)):
            for what, amount in event.amounts:
                cells[period, event.row, what] = cells.get((period, event.row, what), 0) + amount
        for purse in event.purses:
            spent[purse] = spent.get(purse, 0) + event.nano
    return cells, spent


def applied_events(files: Files, snapshot: Snapshot) -> list[Event]:
    """The settlements that the store should hold: all of a writer it doesn't know, of another what it had applied."""
    return [
        event
        for event in files.events.values()
        if event.writer not in snapshot.applied or event.n <= snapshot.applied[event.writer]
    ]


def compare(files: Files, snapshot: Snapshot) -> Report:
    """Say what a store has that the files have not, and the other way round, for the days that the files cover."""
    events = applied_events(files, snapshot)
    cells, _ = counted(events)
    days = {period for period, _, _ in cells if len(period) == 10}
    seen = {cell: amount for cell, amount in snapshot.cells.items() if cell[0] in days}
    differences: list[Difference] = []
    crashed: list[Difference] = []
    for cell in sorted(seen.keys() | {cell for cell in cells if cell[0] in days}):
        in_store, in_files = seen.get(cell, 0), cells.get(cell, 0)
        if in_store == in_files:
            continue
        difference = Difference(*cell, in_store, in_files)
        (crashed if _is_crashed(difference, seen, cells) else differences).append(difference)
    times = [event.at for event in events]
    return Report(
        first=min(times, default=None),
        last=max(times, default=None),
        settlements=len(events),
        pending=len(files.events) - len(events),
        missing=_gaps(files),
        damaged=tuple(files.damaged),
        unplaced=files.unplaced,
        unsettled=files.unsettled,
        differences=tuple(differences),
        estimated_only=tuple(crashed),
    )


def _is_crashed(difference: Difference, seen: Mapping[Cell, int], cells: Mapping[Cell, int]) -> bool:
    """Whether the store's surplus is what it marked as estimated by itself: holds of machines whose journal is lost."""
    marks = {"requests": "estimated_requests", "nano": "estimated_nano"}
    marked = marks.get(difference.what, difference.what)
    if not marked.startswith("estimated_"):
        return False
    cell = (difference.period, difference.row, marked)
    surplus = seen.get(cell, 0) - cells.get(cell, 0)
    return 0 < difference.store - difference.files == surplus


def _gaps(files: Files) -> dict[str, tuple[int, ...]]:
    numbers: dict[str, set[int]] = {}
    for writer, n in files.events:
        numbers.setdefault(writer, set()).add(n)
    gaps = {writer: tuple(sorted(set(range(min(had), max(had))) - had)) for writer, had in numbers.items()}
    return {writer: gap for writer, gap in gaps.items() if gap}


@dataclass(frozen=True)
class Amendment:
    """What to add to a store so that it holds what the files say. Nothing is ever taken away."""

    cells: Mapping[Cell, int]
    spent: Mapping[Purse, int]
    applied: Mapping[str, int]


def amendment(files: Files, snapshot: Snapshot) -> Amendment:
    """What is missing in the store. Writers it doesn't know count as applied, so that nobody sends them again."""
    events = applied_events(files, snapshot)
    cells, spent = counted(events)
    applied: dict[str, int] = {}
    for event in events:
        if event.writer not in snapshot.applied:
            applied[event.writer] = max(event.n, applied.get(event.writer, 0))
    return Amendment(
        {cell: amount - had for cell, amount in cells.items() if amount > (had := snapshot.cells.get(cell, 0))},
        {purse: nano - had for purse, nano in spent.items() if nano > (had := snapshot.spent.get(purse, 0))},
        applied,
    )
