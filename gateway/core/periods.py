"""Calendar periods of budgets, and the UTC days and months of ledger rows.

A period is named by its local date ("2026-11-20", "2026-11"), so that a changed time zone moves its borders and keeps
its count. Times are store milliseconds since the epoch.
"""

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from gateway.core.limits import Period

CLOSING_MS = 72 * 3_600_000  # a month closes 72 h after its end
DAY_MS = 86_400_000


class Span(NamedTuple):
    """One period: its name, its number (the next period's is one more), its first millisecond and the one after it."""

    label: str
    number: int
    start: int
    end: int


def span(per: Period, zone: str, at: int) -> Span:
    """The period that contains a moment."""
    # Nearly always the one that was asked for last: a tenth of the cost of asking the time zone.
    latest = _latest.get((per, zone))
    if latest is not None and latest.start <= at < latest.end:
        return latest
    found = _latest[per, zone] = _look_up(per, zone, at)
    return found


_latest: dict[tuple[Period, str], Span] = {}


def _look_up(per: Period, zone: str, at: int) -> Span:
    local = datetime.fromtimestamp(at / 1000, _zone(zone))
    return _span(per, zone, local.year, local.month, local.day if per == "day" else 1)


def day_of(at: int) -> str:
    """The UTC day of a moment: the name of its ledger rows."""
    return span("day", "UTC", at).label


def month_of(at: int) -> str:
    """The UTC month of a moment."""
    return span("month", "UTC", at).label


def closes(at: int) -> int:
    """When the UTC month of a moment closes: from then on nothing is booked in it."""
    return span("month", "UTC", at).end + CLOSING_MS


def day_start(label: str) -> int:
    """The first millisecond of a UTC day."""
    return int(datetime.fromisoformat(label).replace(tzinfo=UTC).timestamp() * 1000)


def months_before(label: str, months: int) -> str:
    """The name of an earlier month. ("2026-02", 3) is "2025-11"."""
    count = int(label[:4]) * 12 + int(label[5:7]) - 1 - months
    return f"{count // 12:04d}-{count % 12 + 1:02d}"


@lru_cache(64)
def _zone(name: str) -> tzinfo:
    # UTC needs no time zone data, which a small image may not have.
    return UTC if name == "UTC" else ZoneInfo(name)


@lru_cache(1024)
def _span(per: Period, zone: str, year: int, month: int, day: int) -> Span:
    # A local midnight that a clock change skips is read with the offset before the change: the very moment of it.
    first = date(year, month, day)
    if per == "day":
        after = first + timedelta(days=1)
        label, number = first.isoformat(), first.toordinal()
    else:
        after = date(year + month // 12, month % 12 + 1, 1)
        label, number = f"{year:04d}-{month:02d}", year * 12 + month
    start, end = (int(datetime.combine(edge, time.min, _zone(zone)).timestamp() * 1000) for edge in (first, after))
    return Span(label, number, start, end)
