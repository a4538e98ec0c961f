"""A small rehearsal, and that its judge finds what is wrong: `make rehearsal` is the same at full size."""

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.core.plan import Entry, Plan
from tests.bench.accounts import Totals, compare
from tests.bench.rehearsal import DRAINED, EVERYTHING, rehearse
from tests.bench.rehearsal import Plan as Part

NOTHING = Plan([], "search", "prod", "claude-opus-5", "messages", 0, leased=True)


async def test_every_exact_row_agrees_with_the_bill(tmp_path: Path) -> None:
    """Faults of every kind, clients that leave and repeat: what is not marked estimated agrees with the bill."""
    mix = replace(EVERYTHING, faults=0.3, leave=0.2, repeats=1)
    drift, log = await rehearse(Part("small", 200, mix, batches=3, idle_seconds=0.5), tmp_path, print)

    assert drift.faults == []
    assert log.calls == 200
    assert len(drift.exact) > 100
    assert len(drift.batches) == 3
    assert drift.estimated.keys() >= {"cut", "cancelled"}


async def test_drained_answers_leave_no_estimate(tmp_path: Path) -> None:
    """With `on_disconnect: drain` and no cuts every row is exact, whatever clients do, and the sums are equal."""
    mix = replace(DRAINED, faults=0.2, leave=0.3)
    drift, log = await rehearse(Part("small drain", 120, mix, on_disconnect="drain"), tmp_path, print)

    assert drift.faults == []
    assert dict(drift.estimated) == {}
    assert drift.ledger.nano == sum(pair.billed for pair in drift.exact)
    assert sum(one.left for one in log.tries) > 10


def billed(mark: str, nano: int) -> dict[str, object]:
    return {"session": mark, "nano_usd": nano, "faults": [], "ended": "ok"}


def line(mark: str, nano: int, place: str = "w/1", **more: object) -> dict[str, object]:
    return {
        "request_id": f"gwr_{mark}", "claude_code_session_id": mark, "cost_usd": nano / 1e9, "ledger": place,
        "route": "messages", "ended": "ok", **more,
    }  # fmt: skip


def entry(mark: str, nano: int, estimated: str | None = None) -> Entry:
    return Entry(1, f"gwr_{mark}", 0, NOTHING, nano=nano, estimated=estimated)


def test_books_that_agree() -> None:
    """Exact, estimated and crashed rows fall where they belong, and nothing is wrong."""
    drift = compare(
        [billed("a", 5), billed("b", 7), billed("c", 9)],
        [line("a", 5), line("b", 8, "w/2", estimated="cut")],
        [entry("a", 5), entry("b", 8, "cut")],
        Totals(3, 23, 2, 18),
        marks={},
        kills=1,
    )

    assert drift.faults == []
    assert ([p.mark for p in drift.exact], [p.error for p in drift.estimated["cut"]]) == (["a"], [1])
    assert ([p.mark for p in drift.crashed], drift.crash_rows, drift.crash_nano) == (["c"], 1, 10)


@pytest.mark.parametrize(
    ("bill", "lines", "entries", "ledger", "fault"),
    [
        ([billed("a", 5)], [line("a", 6)], [entry("a", 6)], Totals(1, 6), "a differs by +1 nano-dollars"),
        ([billed("a", 5)], [line("a", 5)], [entry("a", 5)], Totals(1, 4), "the ledger's exact rows sum up to 4"),
        ([billed("a", 5)], [line("a", 5)], [entry("a", 6)], Totals(1, 6), "a has another amount in its line"),
        ([billed("a", 5)], [line("a", 5)], [entry("a", 5)] * 2, Totals(1, 5), "gwr_a is settled twice"),
        ([billed("a", 5)], [line("a", 5), line("a", 5, "")], [entry("a", 5)], Totals(1, 5), "a was booked 2 times"),
        ([billed("a", 5)], [], [], Totals(), "1 billed requests are in no journal"),
        ([billed("a", 5)], [line("a", 5)], [entry("a", 5)], Totals(2, 9, 1, 4), "the ledger has +1 rows and +4"),
        ([], [], [entry("a", 5)], Totals(1, 5), "gwr_a is booked, and nobody knows it"),
    ],
    ids=["wrong amount", "lost in the ledger", "line and journal", "settled twice", "logged twice", "missing",
         "too much in the ledger", "unknown"],
)  # fmt: skip
def test_books_that_do_not_agree(bill, lines, entries, ledger: Totals, fault: str) -> None:
    """Each way to be wrong is found and named."""
    faults = compare(bill, lines, entries, ledger, marks={}).faults

    assert [found for found in faults if fault in found], faults
