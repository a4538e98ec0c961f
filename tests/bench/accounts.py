"""What was billed against what was booked: the simulator's bill, the gateways' lines and journals, and the ledger.

A request is found in the bill and the lines by its mark (`x-claude-code-session-id`), in the journals by its id. A row
that is not marked estimated must agree with the bill to the nano-dollar; an estimated one is listed with its error;
nothing may be missing, nothing double.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gateway.core.plan import Entry
from gateway.core.statement import dollars


class Pair(NamedTuple):
    """One request on both sides, in nano-dollars."""

    mark: str
    billed: int
    booked: int
    about: str  # what happened to it: its fault, how it ended

    @property
    def error(self) -> int:
        return self.booked - self.billed


@dataclass(frozen=True, slots=True)
class Totals:
    """What the ledger says of all of it."""

    requests: int = 0
    nano: int = 0
    estimated_requests: int = 0
    estimated_nano: int = 0

    @classmethod
    def of(cls, amounts: Iterable[Mapping[str, int]]) -> "Totals":
        sums: Counter[str] = Counter()
        for row in amounts:
            sums.update(row)
        return cls(sums["requests"], sums["nano"], sums["estimated_requests"], sums["estimated_nano"])


@dataclass(slots=True)
class Drift:
    """The outcome of a comparison."""

    exact: list[Pair] = field(default_factory=list)
    estimated: dict[str, list[Pair]] = field(default_factory=lambda: defaultdict(list))
    batches: list[Pair] = field(default_factory=list)
    crashed: list[Pair] = field(default_factory=list)  # billed and in no journal: under way when its gateway died
    unlogged: int = 0  # in a journal and without a line: its gateway died between the two
    ledger: Totals = Totals()
    booked: Totals = Totals()  # what the journals add up to
    faults: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> list[Pair]:
        return [pair for pair in (*self.exact, *self.batches) if pair.error]

    @property
    def crash_rows(self) -> int:
        return self.ledger.requests - self.booked.requests

    @property
    def crash_nano(self) -> int:
        return self.ledger.nano - self.booked.nano


def cost_of(line: Mapping[str, Any]) -> int:
    return round(line.get("cost_usd", 0) * 10**9)


def compare(
    bill: Sequence[Mapping[str, Any]],
    lines: Sequence[Mapping[str, Any]],
    journals: Iterable[Entry],
    ledger: Totals,
    *,
    marks: Mapping[str, str],
    done: Sequence[Mapping[str, Any]] = (),
    kills: int = 0,
) -> Drift:
    """Put the four books side by side.

    `marks` are those that clients saw answered, by the gateway's request id; `done` are the lines of settled batches.
    """
    drift = Drift(ledger=ledger)
    billed: Counter[str] = Counter()
    about: dict[str, list[str]] = defaultdict(list)
    of_batches: dict[str, Counter[str]] = defaultdict(Counter)
    for row in bill:
        if "object_id" in row:
            of_batches[row["object_id"]][row["model"]] += row["exact_e4"]
            continue
        billed[row["session"]] += row["nano_usd"]
        about[row["session"]].append("+".join(row["faults"]) or row["ended"])
    entries: dict[str, Entry] = {}
    for entry in journals:
        if entry.hold in entries and entry.plan.leased:  # any process may settle a batch, the store takes one of them
            drift.faults.append(f"{entry.hold} is settled twice")
        entries[entry.hold] = entry
    drift.booked = Totals.of(
        {
            "requests": entry.requests,
            "nano": entry.nano,
            "estimated_requests": entry.requests if entry.estimated else 0,
            "estimated_nano": entry.nano if entry.estimated else 0,
        }
        for entry in entries.values()
        if not entry.zero  # nothing used and nothing charged makes no row
    )
    _batches(drift, of_batches, done, [entry for entry in entries.values() if not entry.plan.leased])
    seen: Counter[str] = Counter()
    for line in lines:
        mark, entry_of_line = line.get("claude_code_session_id", ""), entries.pop(line["request_id"], None)
        if line.get("ledger") and entry_of_line is None:
            continue  # killed between the line and the journal: the ledger has it as crashed
        seen[mark] += 1
        pair = Pair(mark, billed[mark], cost_of(line), f"{line['route']} {line['ended']} {','.join(about[mark])}")
        _enter(drift, line.get("estimated"), pair)
        if pair.booked != (entry_of_line.nano if entry_of_line is not None else 0):
            drift.faults.append(f"{mark} has another amount in its line than in the journal")
    for hold, entry in entries.items():
        if not entry.plan.leased:
            continue
        drift.unlogged += 1
        mark = marks.get(hold, "")
        seen[mark or hold] += 1
        if mark:
            _enter(drift, entry.estimated, Pair(mark, billed[mark], entry.nano, "no line"))
        elif not entry.zero:
            drift.faults.append(f"{hold} is booked, and nobody knows it")
    drift.crashed = [
        Pair(mark, nano, 0, ",".join(about[mark])) for mark, nano in billed.items() if nano and not seen[mark]
    ]
    _judge(drift, seen, kills)
    return drift


def _batches(
    drift: Drift, billed: Mapping[str, Counter[str]], done: Sequence[Mapping[str, Any]], entries: Sequence[Entry]
) -> None:
    """A batch is billed by its lines and booked in one row per model, exact parts added and rounded once."""
    booked = {line["id"]: cost_of(line) for line in done}
    for id, models in billed.items():
        nano = sum((2 * exact + 10_000) // 20_000 for exact in models.values())
        drift.batches.append(Pair(id, nano, booked.pop(id, 0), f"a batch on {len(models)} models"))
    drift.faults += [f"the batch {id} is booked and not billed" for id, nano in booked.items() if nano]
    if sum(entry.nano for entry in entries) != sum(pair.booked for pair in drift.batches):
        drift.faults.append("the batches' lines do not add up to what the journals say of batches")


def _enter(drift: Drift, reason: str | None, pair: Pair) -> None:
    (drift.estimated[reason] if reason else drift.exact).append(pair)


def _judge(drift: Drift, seen: Counter[str], kills: int) -> None:
    faults = drift.faults
    faults += [f"{pair.mark} differs by {pair.error:+,} nano-dollars ({pair.about})" for pair in drift.wrong]
    faults += [f"{mark} was booked {count} times" for mark, count in seen.items() if count > 1]
    ledger, booked = drift.ledger, drift.booked
    exact = ledger.nano - ledger.estimated_nano, booked.nano - booked.estimated_nano
    if exact[0] != exact[1]:
        faults.append(f"the ledger's exact rows sum up to {exact[0]:,}, the journals' to {exact[1]:,} nano-dollars")
    if drift.crash_rows != ledger.estimated_requests - booked.estimated_requests:
        faults.append(f"the ledger has {drift.crash_rows:+} rows beyond the journals, not all of them estimated")
    if drift.crash_rows < len(drift.crashed):
        faults.append(f"{len(drift.crashed)} billed requests are in no journal, and only {drift.crash_rows} have a row")
    if not kills and (drift.crash_rows or drift.crash_nano or drift.unlogged):
        faults.append(f"the ledger has {drift.crash_rows:+} rows and {drift.crash_nano:+,} nano-dollars more")


def table(drift: Drift, *, worst: int = 8) -> list[str]:
    """The drift table, and the estimated rows that are furthest off."""
    exact = drift.exact
    rows = [("exact", len(exact), sum(p.billed for p in exact), sum(p.booked for p in exact))]
    if drift.batches:
        batches = drift.batches
        rows.append(("batches", len(batches), sum(p.billed for p in batches), sum(p.booked for p in batches)))
    for reason, pairs in sorted(drift.estimated.items()):
        rows.append((f"estimated: {reason}", len(pairs), sum(p.billed for p in pairs), sum(p.booked for p in pairs)))
    if drift.crash_rows or drift.crashed:
        rows.append(("estimated: crashed", drift.crash_rows, sum(p.billed for p in drift.crashed), drift.crash_nano))
    rows.append(("all", *(sum(column) for column in zip(*(row[1:] for row in rows), strict=True))))  # type: ignore[arg-type]  # three sums of integers
    said = [
        "| rows | requests | bill | booked | difference | of the bill |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, count, billed, booked in rows:
        share = f"{(booked - billed) / billed:+.2%}" if billed else ""
        said.append(f"| {name} | {count:,} | {money(billed)} | {money(booked)} | {money(booked - billed)} | {share} |")
    said.append(f"| ledger | {drift.ledger.requests:,} rows | | {money(drift.ledger.nano)} | | |")
    off = sorted((pair for pairs in drift.estimated.values() for pair in pairs), key=lambda pair: -abs(pair.error))
    said += ["", f"estimated rows furthest off, of {len(off)}:"] if off else []
    said += [f"  {p.mark}: bill {money(p.billed)}, booked {money(p.booked)} ({p.about})" for p in off[:worst]]
    return said


def estimates(part: str, drift: Drift) -> Iterator[tuple[str | int, ...]]:
    """Every estimated row with its error; of a crashed one no row says which request it was."""
    for reason, pairs in [*sorted(drift.estimated.items()), ("crashed", drift.crashed)]:
        for pair in pairs:
            yield part, reason, pair.mark, pair.billed, pair.booked, pair.error, pair.about


def money(nano: int) -> str:
    return dollars(nano, per=1)
