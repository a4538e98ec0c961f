"""Limits as values: what is limited, what a request claims, and what the ledger says to it.

The words: a `Bucket` refills with time (requests, tokens, slots), a `Budget` is dollars per period. A `Claim` names all
that one request takes; all of it is held or none. A `Verdict` is `Granted` or `Refused`, never a bool.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

Period = Literal["day", "month"]


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


@dataclass(frozen=True, slots=True)
class Level:
    """What is left of one bucket right after a reserve, in whole units, and when it is full again."""

    bucket: Bucket
    remaining: int
    full_after_seconds: float


@dataclass(frozen=True, slots=True)
class Granted:
    """The claim is held."""

    hold: str
    levels: tuple[Level, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing is held. `by` says which limit; `retry_after_seconds` is true for that claim."""

    by: Bucket | Budget | Ref
    retry_after_seconds: float
    levels: tuple[Level, ...] = ()
    close: bool = False  # would have passed at the estimate's lower bound: an exact count may help
    never: bool = False  # the claim exceeds what the bucket can ever hold


Verdict = Granted | Refused


@dataclass(slots=True)
class Settlement:
    """What was really used; the ledger books the difference to the hold, once."""

    input: int = 0  # uncached input plus cache writes: what counts towards input limits
    output: int = 0
    nano: int = 0
    produced: bool = False  # False: tokens and money go back whole
    estimated: str | None = None  # cancelled | cut | crashed | no_usage …; None: exact
    usage: dict[str, int] = field(default_factory=dict)  # tokens by kind, for the ledger row
