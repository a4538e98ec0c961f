"""`gateway ledger verify|rebuild FILE…`: journals or shipped log lines of all replicas against the store.

A journal's file name gives its writer; a log line is a request line with `ledger` (WRITER/NUMBER), `time`, `team`,
`key`, `model`, `route`, `cost_usd` and, where it applies, `estimated` and counts that end in `_tokens`.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec

from gateway.core.audit import Amendment, Event, Files, Purse, Report, Snapshot, amendment, compare
from gateway.core.periods import day_of, month_of, span
from gateway.core.plan import Charge, Entry, Opened, charge_of
from gateway.store.journal import Damaged, read_lines


class Books(Protocol):
    """A store that can be audited. The amendment clears the mark of lost data."""

    async def snapshot(self, periods: Sequence[str], purses: Sequence[Purse], writers: Sequence[str]) -> Snapshot: ...

    async def amend(self, missing: Amendment) -> None: ...

    async def accept_empty(self) -> None: ...


async def verify(books: Books, paths: Sequence[Path]) -> Report:
    """Compare, and change nothing."""
    return compare(*await _moment(books, paths))


async def rebuild(books: Books, paths: Sequence[Path]) -> Report:
    """Add what the store lacks, take budgets out of their lock, and report what still differs."""
    # Adding commutes with what gateways book meanwhile, so nobody has to stop for it.
    await books.amend(amendment(*await _moment(books, paths)))
    return compare(*await _moment(books, paths))


async def _moment(books: Books, paths: Sequence[Path]) -> tuple[Files, Snapshot]:
    """Files and store as of one moment. A line is in its journal before the store has it, so the files are read again
    after the snapshot: what they hold beyond it is above the numbers applied, and does not count."""
    first = read_files(paths)
    events = first.events.values()
    days = {day_of(event.at) for event in events}
    months = {month_of(event.at) for event in events}
    purses = {purse for event in events for purse in event.purses}
    writers = {event.writer for event in events}
    snapshot = await books.snapshot(sorted(days | months), sorted(purses), sorted(writers))
    files = read_files(paths)
    files.events = {place: event for place, event in files.events.items() if event.writer in writers}
    return files, snapshot


def read_files(paths: Iterable[Path]) -> Files:
    """Read journals and logs; a directory stands for the journals in it."""
    files = Files()
    open_holds: set[str] = set()
    for path in paths:
        inside = sorted(path.glob("*.jsonl*")) if path.is_dir() else [path]
        for file in inside:
            if _is_journal(file):
                _read_journal(file, files, open_holds)
            else:
                _read_log(file, files)
    files.unsettled = len(open_holds)
    return files


def _is_journal(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(32).startswith(b'{"is":')


def _read_journal(path: Path, files: Files, open_holds: set[str]) -> None:
    writer = path.name.split(".")[0]
    for line in read_lines(path):
        match line:
            case Damaged():
                files.damaged.append(str(line))
            case Opened():
                open_holds.add(line.hold)
            case Entry():
                open_holds.discard(line.hold)
                files.add(event_of(writer, line))


def event_of(writer: str, entry: Entry) -> Event:
    """A journalled settlement as it was booked in its own time."""
    it: Charge = charge_of(entry, entry.at)
    purses = tuple((it.parts[count.part - 1].owner, count.per, count.number) for count in it.counts)
    return Event(writer, entry.n, entry.at, it.row, tuple(it.amounts), purses, it.nano, it.hold if it.once else "")


def _read_log(path: Path, files: Files) -> None:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if b'"request"' not in line:
                continue
            try:
                facts = msgspec.json.decode(line)
                if facts.get("event") != "request":
                    continue
                event = _event_of_line(facts)
            except (msgspec.DecodeError, KeyError, ValueError, TypeError) as fault:
                files.damaged.append(f"{path.name}, line {number}: {type(fault).__name__}")
                continue
            if event is not None:
                files.add(event)
            elif facts.get("cost_usd"):
                files.unplaced += 1


def _event_of_line(facts: dict[str, Any]) -> Event | None:
    """One request line; None for one that was not booked."""
    if not facts.get("ledger"):
        return None
    writer, _, n = facts["ledger"].partition("/")
    at = int(datetime.fromisoformat(facts["time"]).timestamp() * 1000)
    team, key = facts["team"], facts["key"]
    # Nine decimals in a double are exact up to $9 million.
    nano = round(facts.get("cost_usd", 0) * 10**9)
    row = msgspec.json.encode((team, key, facts.get("model", ""), facts["route"])).decode()
    amounts = [("requests", 1), ("nano", nano)]
    if facts.get("estimated"):
        amounts += [("estimated_requests", 1), ("estimated_nano", nano)]
    more = {"web_searches": facts.get("web_searches"), "cache_saved": round(facts.get("cache_saved_usd", 0) * 10**9)}
    amounts += [(name, count) for name, count in more.items() if count]
    amounts += [
        (name.removesuffix("_tokens"), count)
        for name, count in facts.items()
        if name.endswith("_tokens") and name != "estimated_input_tokens" and count
    ]
    owners = (f"team:{team}", f"key:{team}/{key}")
    purses: tuple[Purse, ...] = tuple(
        (owner, per, span(per, "UTC", at).number) for owner in owners for per in ("day", "month")
    )
    return Event(writer, int(n), at, row, tuple(amounts), purses, nano)
