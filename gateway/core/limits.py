"""Limits as values: what is limited, what a request claims, and what the ledger says to it.

The words: a `Bucket` refills with time (requests, tokens, slots), a `Budget` is dollars per period. A `Claim` names all
that one request takes; all of it is held or none. A `Verdict` is `Granted` or `Refused`, never a bool.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

Period = Literal["day", "month"]

# Levels are kept in 1/60,000 of a unit, so r per minute refills exactly r per millisecond.
UNIT = 60_000
# The largest rate and the largest capacity. 10^11 units are 6 x 10^15 in levels, which a double still holds exactly.
MOST_UNITS = 10**11
# The largest ceiling, $8,000,000: what is spent, held and asked for together stays below 2^53 nano-dollars.
MOST_NANO = 8 * 10**15
THRESHOLDS = (50, 75, 90, 100)


class Kind(StrEnum):
    """What a bucket counts."""

    REQUESTS = "requests"
    TOKENS = "tokens"  # input without cache reads, plus output
    INPUT = "input"
    OUTPUT = "output"
    SLOTS = "slots"  # concurrent requests
    COUNT_REQUESTS = "count_requests"
    OBJECT_REQUESTS = "object_requests"


@dataclass(frozen=True, slots=True)
class Bucket:
    """One limit of one owner for the models that match one pattern; identified by (owner, kind, pattern)."""

    owner: str  # "key:TEAM/NAME", "team:NAME", "workspace:NAME", "organization:ID"
    kind: Kind
    pattern: str  # "*", "claude-opus-*"
    per_minute: int  # for slots: how many at once
    burst_seconds: int = 60
    max_wait_seconds: float = 0.0
    shadow: bool = False
    field: str = field(init=False, repr=False, compare=False)  # its name among its owner's levels

    def __post_init__(self) -> None:
        object.__setattr__(self, "field", f"{self.kind.value}|{self.pattern}")

    @property
    def capacity(self) -> int:
        """Whole units that a full bucket holds. 600 per minute with burst_seconds 6: 60."""
        return self.per_minute if self.kind is Kind.SLOTS else self.per_minute * self.burst_seconds // 60


@dataclass(frozen=True, slots=True)
class Budget:
    """Dollars per period of one owner; identified by (owner, period)."""

    owner: str
    ceiling_nano: int
    per: Period
    time_zone: str = "UTC"
    mode: Literal["block", "warn"] = "block"
    hold: Literal["expected", "maximum"] = "expected"


@dataclass(frozen=True, slots=True)
class Ref:
    """A workspace object that a request names; checked inside the reserve."""

    kind: str
    id: str


@dataclass(slots=True)
class Claim:
    """All that one request takes, decided before the store is asked."""

    hold: str  # drawn before the reserve is sent
    team: str
    key: str
    workspace: str
    takes: tuple[tuple[Bucket, int], ...]  # whole units: requests, tokens, slots
    spends: tuple[tuple[Budget, int], ...] = ()  # nano-dollars
    refs: tuple[Ref, ...] = ()
    model: str = ""
    kind: str = "messages"  # of the ledger row
    # The least that the request can turn out to take, one number per take. Empty: the amounts themselves, and 0 for
    # output. A take whose least exceeds the capacity is refused for ever; any other is clamped to the capacity.
    at_least: tuple[int, ...] = ()
    store_down: Literal["open", "closed"] = "open"
    leased: bool = True  # False: outlives its process (batches, sessions); no sweep ends it
    nano: int | None = None  # what it is expected to cost, the row of a crashed call; None: its smallest spend
    retry_deposit: int = 0  # into its workspace's retry budget when it is admitted, in 1/60,000 of a retry

    def least(self, index: int) -> int:
        if self.at_least:
            return self.at_least[index]
        bucket, amount = self.takes[index]
        return 0 if bucket.kind is Kind.OUTPUT else amount


@dataclass(frozen=True, slots=True)
class Level:
    """What is left of one bucket right after a reserve, in whole units, and when it is full again.

    Slots come back when calls end, not with time: their `full_after_seconds` is always 0.
    """

    bucket: Bucket
    remaining: int
    full_after_seconds: float


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one budget stands. `ceiling_nano` includes a temporary raise, `resets` is the period's end (epoch s)."""

    budget: Budget
    spent_nano: int
    held_nano: int
    ceiling_nano: int
    resets: float


@dataclass(frozen=True, slots=True)
class Granted:
    """The claim is held."""

    hold: str
    levels: tuple[Level, ...] = ()
    standings: tuple[Standing, ...] = ()
    would_refuse: tuple[Bucket | Budget, ...] = ()  # in shadow or only warning: passed all the same


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing is held. `by` says which limit; `retry_after_seconds` is true for that claim."""

    by: Bucket | Budget | Ref
    retry_after_seconds: float
    levels: tuple[Level, ...] = ()
    standings: tuple[Standing, ...] = ()
    would_refuse: tuple[Bucket | Budget, ...] = ()
    close: bool = False  # would have passed at the estimate's lower bound: an exact count may help
    never: bool = False  # the claim exceeds what the bucket can ever hold
    held: bool = False  # a budget that calls under way have reserved: settling them may make room
    unavailable: bool = False  # a budget whose spend is not known, because the store lost its data


Verdict = Granted | Refused


@dataclass(slots=True)
class Settlement:
    """What was really used; the ledger books the difference to the hold, once."""

    input: int = 0  # uncached input plus cache writes: what counts towards input limits
    output: int = 0
    nano: int = 0
    produced: bool = False  # False: nothing came of it and the amounts are 0, so tokens and money go back whole
    saved_nano: int = 0  # by the prompt cache, against plain input; below zero when writes cost more than reads won
    estimated: str | None = None  # cancelled | cut | crashed | no_usage …; None: exact
    usage: dict[str, int] = field(default_factory=dict)  # tokens by kind, for the ledger row
    requests: int = 1  # that the row counts; a batch's are those that were billed


def bucket_faults(buckets: Sequence[Bucket]) -> list[str]:
    """What makes these limits unusable, one sentence each; empty when all is well."""
    faults = []
    for bucket in buckets:
        name = f"{bucket.owner}: {bucket.kind.value} for '{bucket.pattern}'"
        if not 0 < bucket.per_minute <= MOST_UNITS:
            faults.append(f"{name}: {bucket.per_minute} is not between 1 and {MOST_UNITS}")
        elif not 0 < bucket.burst_seconds <= 86_400:
            faults.append(f"{name}: burst_seconds {bucket.burst_seconds} is not between 1 and 86400")
        elif bucket.capacity < 1:
            faults.append(
                f"{name}: {bucket.per_minute} per minute in {bucket.burst_seconds} s hold less than one; "
                f"raise burst_seconds to {-(-60 // bucket.per_minute)} or more"
            )
        elif bucket.capacity > MOST_UNITS:
            faults.append(f"{name}: holds {bucket.capacity}, more than {MOST_UNITS}; lower burst_seconds")
        if not 0 <= bucket.max_wait_seconds <= 600:
            faults.append(f"{name}: max_wait_seconds {bucket.max_wait_seconds} is not between 0 and 600")
    twice = Counter((bucket.owner, bucket.kind.value, bucket.pattern) for bucket in buckets)
    faults += [
        f"{owner}: {kind} for '{pattern}' is limited {n} times" for (owner, kind, pattern), n in twice.items() if n > 1
    ]
    return faults


def budget_faults(budgets: Sequence[Budget]) -> list[str]:
    """What makes these budgets unusable, one sentence each; empty when all is well."""
    faults = []
    for budget in budgets:
        name = f"{budget.owner}: budget per {budget.per}"
        if not 0 < budget.ceiling_nano <= MOST_NANO:
            dollars = budget.ceiling_nano / 10**9
            faults.append(f"{name}: ${dollars:,.2f} is not above 0 and at most ${MOST_NANO // 10**9:,}")
        try:
            if budget.time_zone != "UTC":
                ZoneInfo(budget.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            faults.append(f"{name}: '{budget.time_zone}' is not a time zone; write one like 'Europe/Berlin'")
    twice = Counter((budget.owner, budget.per) for budget in budgets)
    faults += [f"{owner}: {n} budgets per {per}; keep one" for (owner, per), n in twice.items() if n > 1]
    return faults
