"""What was spent, read for people: ledger rows grouped as asked, with cache savings and the estimated share.

Rule: amounts are added as integers and become dollars last, so a report's total is the ledger's to the nano-dollar.
"""

import csv
import io
import re
from calendar import monthrange
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final

from gateway.core.errors import GatewayError
from gateway.core.statement import dollars
from gateway.store.ledger import Grain, Row

GROUPS: Final = ("team", "key", "model", "route", "day", "month")
MOST_DAYS = 93
MOST_MONTHS = 14

# A column's name, and what of a row's amounts it shows.
COUNTS: Final = {
    "requests": "requests",
    "input_tokens": "input",
    "output_tokens": "output",
    "cache_read_tokens": "cache_read",
    "cache_write_5m_tokens": "cache_write_5m",
    "cache_write_1h_tokens": "cache_write_1h",
    "web_searches": "web_searches",
    "estimated_requests": "estimated_requests",
}
DOLLARS: Final = {
    "usd": "nano",
    "cache_saved_usd": "cache_saved",
    "estimated_usd": "estimated_nano",
    "late_usd": "late_nano",
}
COLUMNS: Final = (*COUNTS, *DOLLARS, "estimated_share")

Query = Mapping[str, Sequence[str]]


def range_of(query: Query, now: float, *, days: bool = False) -> tuple[str, str, Grain]:
    """The UTC days or months asked for, both included; without any the current month, by day if `days` are wanted."""
    today = datetime.fromtimestamp(now, UTC).date().isoformat()
    first = query.get("from", [today[:7]])[-1]
    last = query.get("to", [first])[-1]
    forms = [re.fullmatch(r"\d{4}-\d{2}(-\d{2})?", said, re.ASCII) for said in (first, last)]
    begin = end = date.min
    try:
        begin, end = (date.fromisoformat(form[0] + ("" if form[1] else "-01")) for form in forms if form)
        monthly = {len(first) == 7, len(last) == 7}
    except ValueError:  # not both of them, or no such day
        monthly = set()
    if len(monthly) != 1:
        raise GatewayError("malformed", "from, to: Send two days (2026-11-20) or two months (2026-11).")
    if begin > end:
        raise GatewayError("malformed", f"from, to: {first} is after {last}.")
    if monthly == {True} and not days:
        if (end.year - begin.year) * 12 + end.month - begin.month >= MOST_MONTHS:
            raise GatewayError("malformed", f"from, to: Ask for at most {MOST_MONTHS} months.")
        return first, last, "month"
    if monthly == {True}:
        end = end.replace(day=monthrange(end.year, end.month)[1])
    if (end - begin).days >= MOST_DAYS:
        raise GatewayError("malformed", f"from, to: Ask for at most {MOST_DAYS} days; whole months go further back.")
    return begin.isoformat(), end.isoformat(), "day"


def groups_of(query: Query, default: str = "team,model") -> tuple[str, ...]:
    """What to group by, from `?by=team,model`."""
    asked = tuple(dict.fromkeys(name.strip() for name in ",".join(query.get("by", [default])).split(",")))
    for name in asked:
        if name not in GROUPS:
            raise GatewayError("malformed", f"by: {name[:40]!r} is none of {', '.join(GROUPS)}.")
    return asked


def grouped(rows: Iterable[Row], by: Sequence[str]) -> list[dict[str, Any]]:
    """One record per group in the order of its names, dates first where they are asked for."""
    sums: dict[tuple[str, ...], dict[str, int]] = {}
    for row in rows:
        named = {
            "team": row.team, "key": row.key, "model": row.model, "route": row.kind,
            "day": row.period, "month": row.period[:7],
        }  # fmt: skip
        into = sums.setdefault(tuple(named[name] for name in by), {})
        for what, amount in row.amounts.items():
            into[what] = into.get(what, 0) + amount
    return [{**dict(zip(by, group, strict=True)), **shown(sums[group])} for group in sorted(sums)]


def total(rows: Iterable[Row]) -> dict[str, Any]:
    """All of it as one record."""
    return next(iter(grouped(rows, ())), shown({}))


def shown(amounts: Mapping[str, int]) -> dict[str, Any]:
    """The columns of a group's amounts, money in dollars: nine decimals in a double are exact up to $9 million."""
    record: dict[str, Any] = {column: amounts.get(what, 0) for column, what in COUNTS.items()}
    record |= {column: amounts.get(what, 0) / 10**9 for column, what in DOLLARS.items()}
    nano = amounts.get("nano", 0)
    record["estimated_share"] = round(amounts.get("estimated_nano", 0) / nano, 6) if nano else 0.0
    return record


def as_csv(records: Sequence[Mapping[str, Any]], by: Sequence[str]) -> str:
    """A table with a heading, money with all its decimals; a name that a spreadsheet would run is quoted as text."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*by, *COLUMNS])
    for record in records:
        writer.writerow([*(_harmless(record[name]) for name in by), *(_written(record, name) for name in COLUMNS)])
    return out.getvalue()


def _harmless(name: str) -> str:
    return f"'{name}" if name[:1] in "=+-@\t\r" and name else name


def _written(record: Mapping[str, Any], column: str) -> str:
    if column in DOLLARS:
        return dollars(round(record[column] * 10**9), per=1).replace("$", "").replace(",", "")
    return str(record[column])


def as_table(records: Sequence[Mapping[str, Any]], by: Sequence[str], whole: Mapping[str, Any]) -> list[str]:
    """Lines for a terminal: the columns that most people ask for, and the total below."""
    columns = ("requests", "input_tokens", "output_tokens", "cache_read_tokens", "cache_saved_usd", "estimated", "usd")
    heads = ("requests", "input", "output", "cache read", "cache saved", "estimated", "usd")
    table = [[*by, *heads]]
    table += [[*(str(record[name]) for name in by), *(_cell(record, name) for name in columns)] for record in records]
    table.append([*(("total",) if by else ()), *[""] * (len(by) - 1), *(_cell(whole, name) for name in columns)])
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column < len(by) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]


def _cell(record: Mapping[str, Any], column: str) -> str:
    if column == "estimated":
        return f"{record['estimated_share']:.1%}"
    if column in DOLLARS:
        return f"{record[column]:,.2f}"
    return f"{record[column]:,}"
