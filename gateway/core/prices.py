"""The price table and what a usage costs: exact integers from the table to the ledger row.

Rule: money is counted in parts of a nano-dollar (`PARTS` each), in which two percent modifiers and a millisecond
of an hour are whole numbers; it is rounded once, half up, per ledger row. No float takes part.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

PARTS: Final = 3_600_000  # of a nano-dollar: divisible by 10,000 (two percents) and by the milliseconds of an hour
MS_PER_HOUR: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class Rates:
    """Nano-dollars per token: 3 dollars per million tokens are 3,000."""

    input: int
    write_5m: int
    write_1h: int
    read: int
    output: int


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


@dataclass(frozen=True, slots=True)
class Extras:
    """What is billed beside tokens, in nano-dollars."""

    web_search: int = 0  # per search
    session_hour: int = 0
    code_execution_hour: int = 0
    code_execution_charged: bool = False  # False: within the organization's free hours, shown but not charged
    code_execution_minimum_ms: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """One step of a cost: `quantity` at `rate` nano-dollars each, times the named percents."""

    what: str  # input | write_5m | write_1h | read | output | web_search | session | code_execution
    model: str | None
    quantity: int
    rate: int
    percents: tuple[tuple[str, int], ...]
    parts: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What one ledger row costs. `nano` is booked; `parts` is the same before its one rounding."""

    nano: int
    parts: int
    model: str  # the canonical id the row is booked under
    saved_nano: int = (
        0  # what the prompt cache saved against plain input; negative when writes cost more than reads won
    )
    charged_as: str | None = None  # the row that stood in for a model without a price
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Every row by canonical id, with the ids that mean the same model."""

    rows: Mapping[str, tuple[Price, ...]]  # ascending in time, not overlapping
    aliases: Mapping[str, str] = field(default_factory=dict)
    extras: Extras = field(default_factory=Extras)

    def canonical(self, model: str) -> str | None:
        raise NotImplementedError

    def find(self, model: str, when: float) -> Price | None:
        raise NotImplementedError


def half_up(parts: int) -> int:
    """Parts of a nano-dollar as whole ones: 1.5 becomes 2, -1.5 becomes -1."""
    return (2 * parts + PARTS) // (2 * PARTS)
