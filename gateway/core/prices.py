"""The price table: what a token of each model costs, and when. `prices_file` reads it, `cost` applies it.

Rule: exact ids only. A model without a row has no price; it never inherits a sibling's. Amounts are integer
nano-dollars: 3 dollars per million tokens are 3,000 per token.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Rates:
    """Nano-dollars per token."""

    input: int
    write_5m: int
    write_1h: int
    read: int
    output: int

    def times(self, factor: int) -> "Rates":
        values = (self.input, self.write_5m, self.write_1h, self.read, self.output)
        return Rates(*(value * factor for value in values))


@dataclass(frozen=True, slots=True)
class Tier:
    """The rates of a whole run, output included, whose prompt is longer than `above` tokens."""

    above: int
    rates: Rates


@dataclass(frozen=True, slots=True)
class Price:
    """One row: what one model costs from `since` (inclusive) to `until` (exclusive), unix seconds; None is for ever."""

    model: str
    rates: Rates
    tiers: tuple[Tier, ...] = ()  # ascending
    fast: Rates | None = None  # speed "fast"; None when the model has no fast mode
    batch_percent: int = 50
    us_percent: int = 100  # inference_geo "us"
    regional_percent: int = 100  # a cloud's regional or multi-region endpoint
    since: int | None = None
    until: int | None = None
    retired: bool = False

    def for_prompt(self, tokens: int) -> Rates:
        """The rates of a run that read so many tokens."""
        rates = self.rates
        for tier in self.tiers:
            if tokens > tier.above:
                rates = tier.rates
        return rates

    def holds_at(self, when: float) -> bool:
        return (self.since is None or self.since <= when) and (self.until is None or when < self.until)


@dataclass(frozen=True, slots=True)
class Extras:
    """What is billed beside tokens, in nano-dollars."""

    web_search: int = 0  # per search
    session_hour: int = 0
    code_execution_hour: int = 0
    code_execution_minimum_ms: int = 0
    code_execution_charged: bool = False  # False: within the organization's free hours, named but not charged


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Every row by canonical id, and the other ids of the same models."""

    rows: Mapping[str, tuple[Price, ...]]  # of each model ascending in time, not overlapping
    aliases: Mapping[str, str] = field(default_factory=dict)
    extras: Extras = Extras()

    def canonical(self, model: str) -> str | None:
        """The id of the model's rows, whatever form of it a platform or a client uses; None when it has none."""
        if model in self.rows:
            return model
        plain = plain_id(model)
        known = self.aliases.get(model) or self.aliases.get(plain) or plain
        return known if known in self.rows else None

    def find(self, model: str, when: float) -> Price | None:
        """The row that holds for a model at a moment (unix seconds)."""
        canonical = self.canonical(model)
        if canonical is None:
            return None
        return next((row for row in self.rows[canonical] if row.holds_at(when)), None)

    def dearest(self, when: float) -> Price | None:
        """The row of a model in service with the dearest output: what a run on an unknown model is charged as."""
        rows = [row for rows in self.rows.values() for row in rows if row.holds_at(when) and not row.retired]
        return max(rows, key=lambda row: (row.rates.output, row.rates.input, row.model), default=None)


# Forms of an id on the clouds (fact sheet 6.4): a path or an ARN before it, a region's profile, the vendor, a version
# behind it; Vertex parts the date by "@". Claude Code marks long contexts with "[1m]", which has no price of its own.
_CLOUD = re.compile(r"(?:[a-z-]+\.)?anthropic\.(?P<id>.+?)(?:-v\d+(?::\d+)?(?::\w+)?)?")


def plain_id(model: str) -> str:
    """A model id without what a platform or a client wrapped around it."""
    plain = model.rpartition("/")[2].removesuffix("[1m]")
    cloud = _CLOUD.fullmatch(plain)
    if cloud is not None:
        plain = cloud["id"]
    name, _, date = plain.partition("@")
    return f"{name}-{date}" if date.isdigit() else name


def missing_price(model: str) -> str:
    """What to tell someone whose model has no price."""
    return (
        f"Model {model[:100]!r} has no price, so no budget can hold it. Add a row to config/prices.yaml: "
        f"{{models: [{plain_id(model)[:100]}], input: …, write_5m: …, write_1h: …, read: …, output: …}} "
        "in dollars per million tokens; or let the team's policy charge it as another: "
        "unpriced_models: {charge_as: MODEL}."
    )
