"""Verify and rebuild: the ledger counted again from journals and log lines."""

import json
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from gateway.core.audit import Amendment, Difference, Event, Files, Snapshot, amendment, compare
from gateway.core.limits import Settlement
from gateway.core.periods import day_of, month_of
from gateway.core.plan import Plan, row_name
from gateway.store import audit
from tests.store.conftest import budget, claim
from tests.until import until

PURSE = budget(1000)


async def call(ledger, nano: int, estimated: str | None = None) -> str:
    one = claim(spends=((PURSE, 0),), model="claude-opus-4-8")
    await ledger.reserve(one)
    used = Settlement(3, 2, nano, produced=True, estimated=estimated, usage={"input": 3, "output": 2})
    place = ledger.settle(one.hold, used)
    await until(lambda: ledger.health.unconfirmed == 0)
    return place


def log_line(place: str, at: int, nano: int, **more) -> str:
    time = datetime.fromtimestamp(at / 1000, UTC).isoformat().replace("+00:00", "Z")
    facts = {"event": "request", "time": time, "team": "search", "key": "prod", "model": "claude-opus-4-8"}
    return json.dumps({**facts, "route": "messages", "cost_usd": nano / 10**9, "ledger": place, **more}) + "\n"


def now() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)


async def test_a_ledger_agrees_with_its_journal(open_ledger, tmp_path: Path):
    """Every number of the store follows from the journal, and the range that it covers is stated."""
    ledger = await open_ledger()
    began = now()
    for nano in (5, 7, 11):
        await call(ledger, nano, "cut" if nano == 7 else None)
    report = await audit.verify(ledger, [tmp_path / "journal"])

    assert (True, 3, 0, {}, (), 0) == (
        report.agrees,
        report.settlements,
        report.pending,
        report.missing,
        report.damaged,
        report.unsettled,
    )
    assert report.first is not None
    assert report.last is not None
    assert began - 5 <= report.first <= report.last <= now() + 5


async def test_log_lines_and_journals_count_once(open_ledger, tmp_path: Path):
    """A settlement that stands in the journal and in two logs is one, known by its place."""
    ledger = await open_ledger()
    place = await call(ledger, 5)
    other = await call(ledger, 1_234_567_890_123)
    log = tmp_path / "gateway.log"
    tokens = {"input_tokens": 3, "output_tokens": 2, "estimated_input_tokens": 9}
    lines = log_line(place, now(), 5, **tokens) + log_line(other, now(), 1_234_567_890_123, **tokens)
    log.write_text(lines + "a line of another program\n" + '{"event":"reload"}\n' + lines)

    assert (True, 2) == _outcome(await audit.verify(ledger, [log]))
    assert (True, 2) == _outcome(await audit.verify(ledger, [log, tmp_path / "journal", log]))


async def test_what_differs_is_named(open_ledger, tmp_path: Path):
    """Wrong numbers, gaps, torn places and calls without a place each make the audit disagree, with their place."""
    ledger = await open_ledger()
    place = await call(ledger, 5)
    writer = place.partition("/")[0]
    log = tmp_path / "gateway.log"
    more = {"input_tokens": 3, "output_tokens": 2}
    log.write_text(
        log_line(place, now(), 6, **more)
        + log_line(f"{writer}/4", now(), 5, **more)
        + log_line("", now(), 5)
        + log_line(place, now(), 5).replace("search", "sea\x01rch")
    )
    report = await audit.verify(ledger, [log])
    row = msgspec.json.encode(("search", "prod", "claude-opus-4-8", "messages")).decode()

    assert (Difference(day_of(now()), row, "nano", 5, 6),) == report.differences
    assert ({writer: (2, 3)}, 1, 1) == (report.missing, report.unplaced, report.pending)
    assert ("gateway.log, line 4: DecodeError",) == report.damaged
    assert not report.agrees


async def test_rebuilding_adds_what_is_missing(open_ledger, tmp_path: Path):
    """From the logs of a lost store's days: rows, spend and numbers come back, twice is once, and budgets open."""
    ledger = await open_ledger()
    await call(ledger, 5)
    log = tmp_path / "gateway.log"
    more = {"input_tokens": 3, "output_tokens": 2}
    log.write_text("".join(log_line(f"wgone/{n}", now(), 100, **more) for n in range(1, 4)))
    for _ in range(2):
        report = await audit.rebuild(ledger, [log, tmp_path / "journal"])
        assert (True, 4) == _outcome(report)
    (row,) = await ledger.rows("month", month_of(now()), month_of(now()))
    (standing,) = (await ledger.peek((), [PURSE])).standings

    assert {"requests": 4, "nano": 305, "input": 12, "output": 8} == row.amounts
    assert 305 == standing.spent_nano


def test_only_what_the_store_had_applied_is_compared():
    """A writer's settlements above the number applied are on their way, not missing."""
    files = Files()
    for n in (1, 2, 3):
        files.add(Event("w1", n, 0, "row", (("requests", 1),), (), 0))
    cells = {("1970-01-01", "row", "requests"): 2, ("1970-01", "row", "requests"): 2}
    snapshot = Snapshot(cells, {}, {"w1": 2})
    report = compare(files, snapshot)

    assert (True, 2, 1) == (report.agrees, report.settlements, report.pending)
    assert Amendment({}, {}, {}) == amendment(files, snapshot)


@pytest.mark.parametrize(("nano", "agrees"), [(7, True), (8, False)])
def test_calls_of_lost_machines_are_estimates_of_the_store(nano: int, agrees: bool):
    """A surplus that the store itself marked as estimated is explained; any other is not."""
    files = Files()
    files.add(Event("w1", 1, 0, "row", (("requests", 1), ("nano", 5)), (), 5))
    day = "1970-01-01"
    cells = {(day, "row", "requests"): 2, (day, "row", "nano"): 5 + nano}
    cells |= {(day, "row", "estimated_requests"): 1, (day, "row", "estimated_nano"): 7}
    report = compare(files, Snapshot(cells, {}, {"w1": 1}))

    assert agrees == report.agrees
    assert (day, "row", "estimated_nano", 7, 0) in report.estimated_only


def test_the_row_of_a_log_line_is_the_row_of_the_ledger():
    """Both write a row's name in the same way, or nothing would ever agree."""
    plan = Plan([], "search", "prod", "claude-opus-4-8", "messages", 0, leased=True)
    event = audit._event_of_line(json.loads(log_line("w/1", now(), 5)))

    assert event is not None
    assert row_name(plan) == event.row


def _outcome(report) -> tuple[bool, int]:
    return report.agrees, report.settlements
