"""A batch's result lines as bills: one per model, exact parts added and rounded once per ledger row.

Rule: memory does not grow with the lines. What a line does not say is its share of what the whole batch was expected to
use, and marks the row as estimated.
"""

from typing import Final

from gateway.core.answers import BatchLine
from gateway.core.cost import PARTS, cost, half_up
from gateway.core.prices import PriceTable
from gateway.core.usage import Usage, filled, unknown
from gateway.core.work import Bill, Item

MOST_TOKENS: Final = 10**8  # in one bill: the ledger takes a settlement of ten times as much for a fault


class _Row:
    __slots__ = ("counts", "estimated", "parts", "requests", "saved")

    def __init__(self) -> None:
        self.parts = 0
        self.saved = 0
        self.requests = 0
        self.counts: dict[str, int] = {}
        self.estimated: str | None = None


class BatchBills:
    """`add` each line, then `bills`."""

    def __init__(self, item: Item, table: PriceTable, *, requests: int, when: float, charge_as: str | None) -> None:
        self._item = item
        self._table = table
        self._when = when
        self._charge_as = charge_as
        self._share = (item.input // max(1, requests), item.output // max(1, requests), item.nano // max(1, requests))
        self._rows: dict[str, list[_Row]] = {}
        self.succeeded = 0
        self.lines = 0

    def add(self, line: BatchLine) -> None:
        self.lines += 1
        if line.outcome == "succeeded":
            self.succeeded += 1
        if line.outcome in ("succeeded", "unreadable"):
            self._charge(line.usage)

    def missing(self, requests: int) -> None:
        """Results that Claude counts as succeeded and that no line says."""
        for _ in range(requests):
            self._charge(unknown("no_usage"))

    def _charge(self, usage: Usage) -> None:
        item, (input, output, nano) = self._item, self._share
        whole = filled(usage, input=input, output=output)
        charged = None
        for model in (usage.model, item.model):
            if model and charged is None:
                charged = cost(self._table, whole, model=model, when=self._when, batch=True, charge_as=self._charge_as)
        row = self._row(charged.model if charged and not charged.charged_as else item.model)
        row.parts += charged.parts if charged else nano * PARTS
        row.saved += charged.saved_nano if charged else 0
        row.requests += 1
        row.estimated = row.estimated or whole.estimated or (None if charged else "no_usage")
        for kind, count in counts_of(whole).items():
            row.counts[kind] = row.counts.get(kind, 0) + count

    def _row(self, model: str) -> _Row:
        rows = self._rows.setdefault(model, [])
        if not rows or max(rows[-1].counts.values(), default=0) > MOST_TOKENS:
            rows.append(_Row())
        return rows[-1]

    def bills(self) -> tuple[Bill, ...]:
        """One under the hold's own id, which releases it, even when there is nothing to pay; the others beside it."""
        item = self._item
        flat = [(model, row) for model, rows in self._rows.items() for row in rows]
        first = next((place for place, (model, _) in enumerate(flat) if model == item.model), None)
        own = [] if first is None else [flat.pop(first)]
        bills = [_bill(item.hold, model, row) for model, row in own] or [Bill(item.hold, item.model, requests=0)]
        bills += [_bill(f"{item.hold}.{n}", model, row) for n, (model, row) in enumerate(flat, 1)]
        return tuple(bills)


def _bill(id: str, model: str, row: _Row) -> Bill:
    counts = {kind: count for kind, count in row.counts.items() if count}
    return Bill(id, model, half_up(row.parts), counts, row.requests, row.estimated, row.saved)


def counts_of(usage: Usage) -> dict[str, int]:
    """What a ledger row says besides money."""
    run = usage.total()
    return {
        "input": run.input,
        "output": run.output,
        "cache_read": run.cache_read,
        "cache_write_5m": run.cache_write_5m,
        "cache_write_1h": run.cache_write_1h,
        "web_searches": usage.web_searches,
    }
