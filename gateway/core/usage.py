"""What an answer used, as one value. `tally` folds it out of usage objects, `answers` and `meter` find those.

Rule: never a silent zero. A count that is missing or cannot be believed leaves the usage marked as lacking that
side and as estimated, so the caller has to put its own estimate there (`filled`); everything odd that was seen
is named in `oddities`, by fixed words that carry nothing of the answer.
"""

from dataclasses import dataclass, field, replace
from typing import Final, Literal

# Why a usage is not exact. None stands for exact.
Reason = Literal["cancelled", "cut", "crashed", "no_usage", "bad_usage", "fallback_credit"]

# How a body ended: at its proper end, broken by the upstream, or closed by us because nobody waits for it.
Ended = Literal["ok", "cut", "cancelled"]


@dataclass(frozen=True, slots=True)
class Iteration:
    """The tokens of one model run inside an answer. `model` None means the model that was asked for."""

    kind: str  # message | compaction | advisor_message | fallback_message | other
    model: str | None
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0

    @property
    def prompt(self) -> int:
        """Everything the model read; the number that chooses a price tier."""
        return self.input + self.cache_read + self.cache_write_5m + self.cache_write_1h


@dataclass(frozen=True, slots=True)
class Usage:
    """Everything Claude bills in one answer. With `iterations` those are billed instead of the top-level counts."""

    input: int = 0  # after the last cache breakpoint: neither read from nor written to the cache
    output: int = 0  # thinking included
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    thinking: int = 0  # informational, part of output
    web_searches: int = 0
    web_fetches: int = 0  # free
    code_executions: int = 0  # calls; Claude bills container hours, which no answer states
    active_ms: int = 0  # running time of a session
    list_cost_nano: int | None = None  # what Claude itself says a session cost so far, rounded to cents
    iterations: tuple[Iteration, ...] = ()
    model: str | None = None  # the model the answer names
    message_id: str | None = field(default=None, compare=False)  # of the answer: a thread goes on from it
    served_by: str | None = None  # the fallback model that took over, when one did
    service_tier: str | None = None
    geo: str | None = None
    speed: str | None = None
    stop_reason: str | None = None
    refused_before_output: bool = False  # reported with tokens, not billed
    complete: bool = True  # Claude's final usage was seen
    estimated: Reason | None = None
    lacks_input: bool = False  # the input side was not said: the caller must put its estimate there
    lacks_output: bool = False
    oddities: tuple[str, ...] = ()

    def runs(self) -> tuple[Iteration, ...]:
        """What is billed: each iteration, or the top level as one run of the model."""
        return self.iterations or (self.top(),)

    def top(self) -> Iteration:
        kind = "fallback_message" if self.served_by else "message"
        return Iteration(
            kind,
            self.served_by,
            self.input,
            self.output,
            self.cache_read,
            self.cache_write_5m,
            self.cache_write_1h,
        )

    def total(self) -> Iteration:
        """The sum over all runs, for the token buckets and the token metrics."""
        runs = self.runs()
        if len(runs) == 1:
            return runs[0]
        return Iteration(
            "message",
            None,
            sum(r.input for r in runs),
            sum(r.output for r in runs),
            sum(r.cache_read for r in runs),
            sum(r.cache_write_5m for r in runs),
            sum(r.cache_write_1h for r in runs),
        )


NOTHING: Final = Usage()  # exactly nothing was used: an error answer, a batch line that was not served


def unknown(reason: Reason, *oddities: str) -> Usage:
    """The usage of an answer that said none: both sides are left to the caller's estimate."""
    return Usage(complete=False, estimated=reason, lacks_input=True, lacks_output=True, oddities=oddities)


def filled(usage: Usage, *, input: int, output: int) -> Usage:
    """The usage with what it lacks put at the caller's estimate, never below what the answer did say.

    An input estimate covers the whole prompt, so known cache tokens count towards it: of an estimate of 1,000
    with 800 known cache reads, 200 are added as plain input.
    """
    if not (usage.lacks_input or usage.lacks_output):
        return usage
    known = usage.cache_read + usage.cache_write_5m + usage.cache_write_1h
    whole = replace(
        usage,
        input=max(usage.input, input - known) if usage.lacks_input else usage.input,
        output=max(usage.output, output) if usage.lacks_output else usage.output,
        lacks_input=False,
        lacks_output=False,
    )
    # A usage that lacks something has iterations only as its own top level with the side runs after it.
    return replace(whole, iterations=(whole.top(), *whole.iterations[1:])) if whole.iterations else whole
