"""The price table and the cost of one answer, for people and for programs.

Rule: amounts are shown exactly as they are charged, in dollars with as many decimals as they need.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.core.answers import UNREADABLE, from_message
from gateway.core.cost import Explained, explain
from gateway.core.meter import StreamMeter
from gateway.core.prices import Price, PriceTable, Rates, missing_price
from gateway.core.statement import dollars, steps
from gateway.core.usage import Usage

_COLUMNS = ("input", "write_5m", "write_1h", "read", "output")
_HEADINGS = ("input", "write 5 m", "write 1 h", "read", "output")
_REASONS = {
    "no_usage": "it does not say its usage",
    "bad_usage": "a count in it can't be believed",
    "cut": "it was cut before its final usage",
    "cancelled": "it was cancelled before its final usage",
    "crashed": "the gateway that carried it died",
    "fallback_credit": "a fallback credit was redeemed",
}


class NotExplained(ValueError):
    """What was given has no cost that could be explained; the text says why."""


def lines(table: PriceTable) -> list[str]:
    """The table, in dollars per million tokens."""
    rows: list[tuple[str, ...]] = [("dollars per million tokens", *_HEADINGS, "")]
    for prices in table.rows.values():
        for price in prices:
            rows += _rows(price)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    shown = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:6], widths[1:6], strict=True))]
        )
        + (f"  {row[6]}" if row[6] else "")
        for row in rows
    ]
    return [*(line.rstrip() for line in shown), "", *_extras(table), "", *_aliases(table)]


def data(table: PriceTable) -> dict[str, Any]:
    """The same for programs: nano-dollars per token, epoch seconds, percents."""
    whole: dict[str, Any] = msgspec.to_builtins(table)
    return {"unit": "nano-dollars", **whole}


def _rows(price: Price) -> Iterator[tuple[str, ...]]:
    yield price.model, *_cells(price.rates), _remarks(price)
    for tier in price.tiers:
        yield f"  prompts above {tier.above:,}", *_cells(tier.rates), ""
    if price.fast is not None:
        yield "  fast", *_cells(price.fast), ""


def _cells(rates: Rates) -> tuple[str, ...]:
    return tuple(dollars(getattr(rates, column) * 10**6, per=1) for column in _COLUMNS)


def _remarks(price: Price) -> str:
    remarks = [
        f"{word} {_day(when)}" for word, when in (("from", price.since), ("until", price.until)) if when is not None
    ]
    remarks += [
        f"{name} {percent}%"
        for name, percent, usual in (
            ("batch", price.batch_percent, 50),
            ("us", price.us_percent, 100),
            ("regional", price.regional_percent, 100),
        )
        if percent != usual
    ]
    if price.retired:
        remarks.append("retired")
    return ", ".join(remarks)


def _extras(table: PriceTable) -> list[str]:
    extras = table.extras
    charged = "charged" if extras.code_execution_charged else "left to the invoice"
    return [
        "Batches cost 50% where nothing else is said.",
        f"web search: {dollars(extras.web_search, per=1)} each",
        f"session: {dollars(extras.session_hour, per=1)} per hour of running time",
        f"code execution: {dollars(extras.code_execution_hour, per=1)} per container hour, {charged}",
    ]


def _aliases(table: PriceTable) -> list[str]:
    return [f"{alias} is {model}" for alias, model in table.aliases.items()]


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def explained(
    table: PriceTable, text: bytes, *, model: str | None = None, when: float, batch: bool = False
) -> tuple[list[str], dict[str, Any]]:
    """What an answer, its stream or its bare usage object costs, for people and for programs.

    Raises NotExplained.
    """
    usage = _usage_of(text)
    asked = model or usage.model
    if asked is None:
        raise NotExplained("The usage names no model. Say which one was asked for with --model.")
    if usage.lacks_input or usage.lacks_output:
        raise NotExplained("It holds no usage: a JSON answer, its usage object or the text of its stream is needed.")
    account = explain(table, usage, model=asked, when=when, batch=batch)
    if account is None:
        raise NotExplained(missing_price(asked))
    said = [f"{account.cost.model}, prices of {_day(int(when))}", *steps(account)]
    if usage.estimated:
        why = _REASONS.get(usage.estimated, usage.estimated)
        said.append(f"In the ledger this would be marked as estimated: {why}.")
    return said, _account(account, usage)


def _usage_of(text: bytes) -> Usage:
    if text.lstrip()[:6] in (b"event:", b"data: "):
        meter = StreamMeter()
        meter.feed(text.strip() + b"\n\n")
        return meter.finish(ended="ok")
    try:
        value = msgspec.json.decode(text)
    except UNREADABLE as error:
        raise NotExplained(f"It is neither JSON nor an event stream: {error}") from None
    if not isinstance(value, dict):
        raise NotExplained("It is JSON and no object: a usage object, or an answer that holds one, is needed.")
    if isinstance(value.get("message"), dict):  # one line of a stream's data
        value = value["message"]
    return from_message(msgspec.json.encode(value if "usage" in value else {"usage": value}))


def _account(account: Explained, usage: Usage) -> dict[str, Any]:
    return {
        "model": account.cost.model,
        "usd": dollars(account.cost.nano, per=1).lstrip("$"),
        "nano_usd": account.cost.nano,
        "cache_saved_nano_usd": account.cost.saved_nano,
        "charged_as": account.cost.charged_as,
        "estimated": usage.estimated,
        "notes": list(account.cost.notes),
        "steps": [
            {
                "what": line.what,
                "model": line.model,
                "quantity": line.quantity,
                "nano_usd_each": line.rate,
                "percents": dict(line.percents),
                "usd": dollars(line.parts).lstrip("$"),
            }
            for line in account.lines
        ],
        "unbilled": msgspec.to_builtins(account.unbilled),
    }
