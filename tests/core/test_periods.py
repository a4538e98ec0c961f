"""Borders of days and months, in any time zone."""

from datetime import UTC, datetime

import pytest

from gateway.core.limits import Budget, budget_faults
from gateway.core.periods import closes, day_of, day_start, month_of, months_before, span


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("per", "zone", "at", "label", "start", "end"),
    [
        ("day", "UTC", "2026-11-20T23:59:59.999", "2026-11-20", "2026-11-20T00:00", "2026-11-21T00:00"),
        ("month", "UTC", "2026-12-01T00:00", "2026-12", "2026-12-01T00:00", "2027-01-01T00:00"),
        ("day", "Europe/Berlin", "2026-11-20T23:30", "2026-11-21", "2026-11-20T23:00", "2026-11-21T23:00"),
        ("month", "Pacific/Auckland", "2026-11-30T12:00", "2026-12", "2026-11-30T11:00", "2026-12-31T11:00"),
        ("day", "Europe/Berlin", "2026-10-25T12:00", "2026-10-25", "2026-10-24T22:00", "2026-10-25T23:00"),
        ("day", "Africa/Cairo", "2026-04-24T12:00", "2026-04-24", "2026-04-23T22:00", "2026-04-24T21:00"),
    ],
    ids=["utc day", "first ms of a month", "east of utc", "a month ahead", "a day of 25 h", "no midnight that day"],
)  # fmt: skip
def test_spans(per, zone, at, label, start, end):
    """A period is the local one, in store milliseconds."""
    found = span(per, zone, ms(at))

    assert (label, ms(start), ms(end)) == (found.label, found.start, found.end)


@pytest.mark.parametrize("per", ["day", "month"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu"])
def test_periods_follow_each_other(per, zone):
    """Each begins where the last ends and has the next number, over two years and every clock change."""
    at = span(per, zone, ms("2026-01-15T00:00"))
    while at.end < ms("2028-01-15T00:00"):
        after = span(per, zone, at.end)
        assert (at.end, at.number + 1) == (after.start, after.number)
        assert at == span(per, zone, at.end - 1)
        at = after


def test_rows_are_utc_and_a_month_closes_late():
    """A row's day and month are UTC; its month takes bookings for 72 hours after its end."""
    at = ms("2026-11-30T23:59:59")

    assert ("2026-11-30", "2026-11", ms("2026-12-04T00:00")) == (day_of(at), month_of(at), closes(at))
    assert ms("2026-11-30T00:00") == day_start("2026-11-30")


def test_months_before():
    """Counted over years, and forward with a negative number."""
    assert ["2025-11", "2026-02", "2027-01"] == [months_before("2026-02", n) for n in (3, 0, -11)]


@pytest.mark.parametrize(
    ("budget", "fault"),
    [
        (Budget("team:a", 0, "month"), "team:a: budget per month: $0.00 is not above 0 and at most $8,000,000"),
        (
            Budget("team:a", 9 * 10**15, "day"),
            "team:a: budget per day: $9,000,000.00 is not above 0 and at most $8,000,000",
        ),
        (
            Budget("team:a", 5, "day", "Mars/Olympus"),
            "team:a: budget per day: 'Mars/Olympus' is not a time zone; write one like 'Europe/Berlin'",
        ),
    ],
)  # fmt: skip
def test_unusable_budgets(budget, fault):
    """Each mistake is named with its value."""
    assert [fault] == budget_faults([budget])


def test_one_budget_twice():
    """Two budgets of one owner for one period leave open which one counts."""
    assert ["team:a: 2 budgets per day; keep one"] == budget_faults(
        [Budget("team:a", 5, "day"), Budget("team:a", 6, "day")]
    )
