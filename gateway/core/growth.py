"""What a session or a dream has used since it was last booked: the difference of two cumulative readings, priced.

Rule: what was booked is never taken back, and the sum of all bookings is rounded once.
"""

from dataclasses import replace
from typing import Final

from gateway.core.batch_bills import counts_of
from gateway.core.cost import cost, half_up
from gateway.core.prices import PriceTable
from gateway.core.usage import Usage
from gateway.core.work import Bill, Item, Progress

CENT: Final = 10_000_000  # Claude's own figure is rounded to cents
_COUNTS = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "web_searches", "code_executions")


def grown(
    item: Item, usage: Usage, table: PriceTable, *, when: float, charge_as: str | None
) -> tuple[Progress, Bill | None]:
    """The watermark moved on, and the bill for the difference, if there is one.

    Claude's own cumulative cost stands where the tokens at the model's price are a cent or more away from it: other
    models ran as well, or prompts were priced by their length. It is rounded to cents, so else the tokens stand.
    """
    before = item.progress
    now = {**{name: getattr(usage, name) for name in _COUNTS}, "active_ms": usage.active_ms}
    reached = {name: max(count, before.counts.get(name, 0)) for name, count in now.items()}
    counts = {name: count for name, count in reached.items() if count}
    if counts == before.counts and (usage.list_cost_nano or 0) - before.nano < CENT:
        return before, None
    since = replace(usage, **{name: count - before.counts.get(name, 0) for name, count in reached.items()})
    model = usage.model or item.model
    charged = cost(table, since, model=model, when=when, charge_as=charge_as)
    if charged is None and item.model:
        charged = cost(table, since, model=item.model, when=when, charge_as=charge_as)
    parts = before.parts + (charged.parts if charged is not None else 0)
    nano, estimated = half_up(parts), None
    if usage.list_cost_nano is not None and abs(usage.list_cost_nano - nano) >= CENT:
        nano = usage.list_cost_nano
    elif charged is None:
        # Neither a price nor a figure of Claude's: what was held stands, and is never less.
        nano, estimated = item.nano, "no_usage"
    nano = max(nano, before.nano)
    progress = Progress(counts, parts, nano, before.bills + 1, before.free)
    row = charged.model if charged is not None and not charged.charged_as else model
    tokens = {name: count for name, count in counts_of(since).items() if count}
    if nano == before.nano and not tokens:
        return Progress(counts, parts, nano, before.bills, before.free), None
    first = int(before.bills == 0)
    return progress, Bill(f"{item.hold}.{progress.bills}", row, nano - before.nano, tokens, first, estimated)
