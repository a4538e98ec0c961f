"""What a usage costs, step by step and to the nano-dollar.

Rule: every step is an exact integer of `PARTS` per nano-dollar, in which three percent modifiers and a
millisecond of an hour are whole; their sum is rounded once, half up, per ledger row. No float takes part.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from gateway.core.prices import Price, PriceTable, Rates
from gateway.core.usage import Iteration, Usage

PARTS: Final = 18_000_000  # of a nano-dollar: divisible by 100**3 and by the 3,600,000 milliseconds of an hour
_SCALE: Final = (PARTS, PARTS // 100, PARTS // 10_000, PARTS // 1_000_000)  # of an amount that n percents still change
_MS_OF_HOUR: Final = PARTS // 3_600_000

_KNOWN_TIERS = frozenset((None, "standard", "priority", "batch"))  # priority is a commitment, metered as standard
_KNOWN_GEOS = frozenset((None, "us", "global", "not_available"))
_KNOWN_SPEEDS = frozenset((None, "standard", "fast"))


@dataclass(frozen=True, slots=True)
class Line:
    """One step of a cost: `quantity` at `rate` nano-dollars each, changed by the percents that apply."""

    what: str  # input | write_5m | write_1h | read | output | web_search | session_ms | code_execution_ms
    model: str | None
    quantity: int
    rate: int  # nano-dollars each; per hour for the last two
    percents: tuple[tuple[str, int], ...]
    parts: int
    saved: int = 0  # parts that the cache saved against plain input


@dataclass(frozen=True, slots=True)
class Cost:
    """What one ledger row costs: `nano` is booked, `parts` is the same before its one rounding."""

    nano: int
    parts: int
    model: str  # the canonical id the row is booked under
    saved_nano: int = 0  # by the cache, against plain input; below zero when writes cost more than reads won
    charged_as: str | None = None  # the row that stood in for a model without a price
    notes: tuple[str, ...] = ()  # fixed words for what the figure leaves open


@dataclass(frozen=True, slots=True)
class Explained:
    """A cost with the steps it was added up from, and the runs that were not billed."""

    cost: Cost
    lines: tuple[Line, ...]
    unbilled: tuple[Iteration, ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request may use, as far as it can be told before it is sent."""

    models: tuple[str, ...]  # the dearest of them is held
    input: int
    output: int
    input_error_percent: int = 20  # of the estimator: how far the true input may lie above
    cache_write: Literal["5m", "1h"] | None = None  # the dearest write it asks for, when that shall be held
    web_searches: int = 0
    fast: bool = False
    us: bool = False
    regional: bool = False
    batch: bool = False


def half_up(parts: int) -> int:
    """Parts as whole nano-dollars: 1.5 becomes 2, -1.5 becomes -1."""
    return (2 * parts + PARTS) // (2 * PARTS)


def cost(
    table: PriceTable,
    usage: Usage,
    *,
    model: str,
    when: float,
    batch: bool = False,
    regional: bool = False,
    charge_as: str | None = None,
) -> Cost | None:
    """What a usage costs that was asked of `model`; None when the model has no price and nothing stands in for it."""
    explained = explain(table, usage, model=model, when=when, batch=batch, regional=regional, charge_as=charge_as)
    return explained.cost if explained else None


def explain(
    table: PriceTable,
    usage: Usage,
    *,
    model: str,
    when: float,
    batch: bool = False,
    regional: bool = False,
    charge_as: str | None = None,
) -> Explained | None:
    """The cost with its steps; `cost` adds up the same ones."""
    # The answer names its model more exactly than the question, unless another one served it in the end.
    named = table.find(usage.model, when) if usage.model else None
    asked = named if named and not usage.served_by else table.find(model, when) or named
    stand_in = table.find(charge_as, when) if charge_as else None
    main = asked or stand_in
    if main is None:
        return None
    notes: dict[str, None] = {}
    lines: list[Line] = []
    unbilled: list[Iteration] = []
    batched = batch or usage.service_tier == "batch"
    for run in usage.runs():
        if _is_free(run, usage):
            unbilled.append(run)
            notes["unbilled_run"] = None
            continue
        price = _price_of(run, usage, main, table.find(run.model, when) if run.model else None)
        if price is None:
            price = stand_in or table.dearest(when) or main
            notes["unpriced_run"] = None
        rates = _rates_of(run, usage, price, notes, asked=price is main)
        percents = _percents(price, batch=batched, us=usage.geo == "us", regional=regional)
        lines += _token_lines(run, price.model, rates, percents)
    lines += _extra_lines(table, usage, notes)
    _note_unknown(usage, notes)
    whole = sum(line.parts for line in lines)
    booked = Cost(
        half_up(whole),
        whole,
        table.canonical(model) or (asked or main).model,
        half_up(sum(line.saved for line in lines)),
        None if asked else main.model,
        tuple(notes),
    )
    return Explained(booked, tuple(lines), tuple(unbilled))


def combined(costs: Iterable[Cost], *, model: str) -> Cost:
    """Several answers as one ledger row, a batch for instance: exact parts added, rounded once."""
    costs = list(costs)
    parts = sum(cost.parts for cost in costs)
    notes = dict.fromkeys(note for cost in costs for note in cost.notes)
    charged_as = next((cost.charged_as for cost in costs if cost.charged_as), None)
    return Cost(half_up(parts), parts, model, sum(cost.saved_nano for cost in costs), charged_as, tuple(notes))


def held(table: PriceTable, ask: Ask, *, when: float, charge_as: str | None = None) -> int | None:
    """The nano-dollars to hold for a request, those of its dearest model; None when one of them has no price.

    Near the border of a price tier, closer than the estimate's error, the dearer side counts.
    """
    amounts = []
    for model in ask.models:
        price = table.find(model, when) or (table.find(charge_as, when) if charge_as else None)
        if price is None:
            return None
        amounts.append(max(_held_parts(price, ask, prompt) for prompt in _possible_prompts(ask)))
    searches = ask.web_searches * table.extras.web_search * PARTS
    return half_up(max(amounts, default=0) + searches)


def _possible_prompts(ask: Ask) -> tuple[int, int]:
    return ask.input, ask.input * (100 + ask.input_error_percent) // 100


def _held_parts(price: Price, ask: Ask, prompt: int) -> int:
    rates = (price.fast or price.rates.times(2)) if ask.fast else price.for_prompt(prompt)
    each = {None: rates.input, "5m": rates.write_5m, "1h": rates.write_1h}[ask.cache_write]
    percents = _percents(price, batch=ask.batch, us=ask.us, regional=ask.regional)
    return _scaled(ask.input * each + ask.output * rates.output, percents)


def _is_free(run: Iteration, usage: Usage) -> bool:
    """Reported with tokens but not billed (fact sheet 6.1): a refusal, or an attempt that gave way, without output.

    A run without output is not free by itself: `max_tokens: 0` only fills the cache, and pays for it.
    """
    if usage.refused_before_output:
        return True
    if run.output or run.kind not in ("message", "fallback_message"):
        return False
    gave_way = run.kind == "message" and usage.served_by is not None
    return gave_way or usage.stop_reason == "refusal"


def _price_of(run: Iteration, usage: Usage, main: Price, own: Price | None) -> Price | None:
    """The run's own price. One without a model, or with a name of its own for it, is the model that was asked."""
    if own is not None:
        return own
    if run.model is None or (run.kind == "message" and usage.served_by is None):
        return main
    return None


def _rates_of(run: Iteration, usage: Usage, price: Price, notes: dict[str, None], *, asked: bool) -> Rates:
    rates = price.for_prompt(run.prompt)
    if usage.speed != "fast" or run.kind == "advisor_message":  # the speed is the answer's, not its adviser's
        return rates
    if price.fast is not None:
        return price.fast
    if not asked:
        return rates  # a fallback model that has no fast mode did not run in it
    # The asked model did, though the table knows no price for it. Every one so far is twice the standard one.
    notes["fast_unlisted"] = None
    return rates.times(2)


def _percents(price: Price, *, batch: bool, us: bool, regional: bool) -> tuple[tuple[str, int], ...]:
    chosen = (
        ("batch", price.batch_percent if batch else 100),
        ("us", price.us_percent if us else 100),
        ("regional", price.regional_percent if regional else 100),
    )
    return tuple(entry for entry in chosen if entry[1] != 100)


def _scaled(nano: int, percents: tuple[tuple[str, int], ...]) -> int:
    parts = nano * _SCALE[len(percents)]
    for _, percent in percents:
        parts *= percent
    return parts


def _token_lines(run: Iteration, model: str, rates: Rates, percents: tuple[tuple[str, int], ...]) -> Iterator[Line]:
    for what, tokens, rate in (
        ("input", run.input, rates.input),
        ("write_5m", run.cache_write_5m, rates.write_5m),
        ("write_1h", run.cache_write_1h, rates.write_1h),
        ("read", run.cache_read, rates.read),
        ("output", run.output, rates.output),
    ):
        if tokens:
            plain = rate if what in ("input", "output") else rates.input
            saved = _scaled(tokens * (plain - rate), percents) if plain != rate else 0
            yield Line(what, model, tokens, rate, percents, _scaled(tokens * rate, percents), saved)


def _extra_lines(table: PriceTable, usage: Usage, notes: dict[str, None]) -> Iterator[Line]:
    extras = table.extras
    if usage.web_searches:
        parts = usage.web_searches * extras.web_search * PARTS
        yield Line("web_search", None, usage.web_searches, extras.web_search, (), parts)
    if usage.active_ms:
        parts = usage.active_ms * extras.session_hour * _MS_OF_HOUR
        yield Line("session_ms", None, usage.active_ms, extras.session_hour, (), parts)
    if usage.code_executions:
        if extras.code_execution_charged:
            ms, rate = extras.code_execution_minimum_ms, extras.code_execution_hour
            yield Line("code_execution_ms", None, ms, rate, (), ms * rate * _MS_OF_HOUR)
        else:
            notes["code_execution_not_charged"] = None


def _note_unknown(usage: Usage, notes: dict[str, None]) -> None:
    for word, known, note in (
        (usage.service_tier, _KNOWN_TIERS, "unknown_service_tier"),
        (usage.geo, _KNOWN_GEOS, "unknown_geo"),
        (usage.speed, _KNOWN_SPEEDS, "unknown_speed"),
    ):
        if word not in known:
            notes[note] = None
    if usage.estimated == "fallback_credit":
        notes["fallback_credit_not_applied"] = None
