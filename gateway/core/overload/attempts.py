"""What follows one attempt: relay its answer, repeat it, or take another key. The law of repeats, as tables.

A repeat must be free: nothing went to the client, and Claude neither worked on the request nor will. What is not
proven free is relayed. Enumerated: `reason_of` names what happened, `_FREE` says for which rows that may be repeated.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gateway.core.headers import lookup
from gateway.core.http import UpstreamFailed
from gateway.core.overload.waits import MOST_WAIT, deadline_of, wait_before
from gateway.core.routes import Repeat as RepeatRule

MOST_EXTRA: Final = 2
# A pooled connection that closes this soon after the request, without a byte, was closed before it arrived.
STALE_SECONDS: Final = 2.0

# Claude's money is used up: waiting inside the gateway can't help (fact sheet 3.4).
SPEND_CAPS: Final = frozenset({"enforced_spend_limit_reached", "contract_spend_limit_reached"})
# Error types that, as the first event inside a 200, are a refusal like their statuses.
_EVENTS: Final = {"overloaded_error": "overloaded_event", "api_error": "error_event"}
# The type of an outcome that never reached Claude's API: there was no token to go with.
IDENTITY: Final = "identity"
_STATUSES: Final = {529: "overloaded", 503: "unavailable", 500: "error"}

_REFUSALS: Final = frozenset(
    {"connect", "stale", "overloaded", "unavailable", "error", "rate_limited", "overloaded_event", "error_event"}
)
_FREE: Final[dict[RepeatRule, frozenset[str]]] = {
    RepeatRule.INFERENCE: _REFUSALS,
    RepeatRule.READ:      _REFUSALS | {"gateway", "bad_body"},
    RepeatRule.NEVER:     frozenset({"connect"}),  # nothing left the house
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """One attempt, as facts. `status` 0: no answer came. `complete`: the body is a whole error in Claude's shape."""

    status: int = 0
    broken: UpstreamFailed | None = None
    complete: bool = False
    type: str = ""
    message: str = ""
    code: str = ""
    retry_after: float | None = None
    should_retry: bool | None = None
    first_event_error: str | None = None
    about_key: bool = False

    @property
    def name(self) -> str:
        """The metric's label: the status, or where and how it broke."""
        if self.broken is not None:
            return f"{self.broken.stage}_{self.broken.fault}"
        if self.type == IDENTITY:
            return "identity_refused"
        return f"{self.status}_{self.first_event_error}" if self.first_event_error else str(self.status)


@dataclass(frozen=True, slots=True)
class Client:
    """What the caller's own headers say about its patience."""

    deadline: float
    extra: int  # attempts beyond the first that the gateway may make for it


@dataclass(frozen=True, slots=True)
class Tries:
    """Where a request stands between two attempts."""

    now: float
    repeats: int = 0
    replayable: bool = True
    other_key: bool = False  # a key that has not been refused in this request


@dataclass(frozen=True, slots=True)
class Relay:
    """The attempt's answer, or its failure, is the request's."""


@dataclass(frozen=True, slots=True)
class Again:
    """Repeat after so many seconds."""

    after: float
    reason: str


@dataclass(frozen=True, slots=True)
class NextKey:
    """The key was refused, not the request: another key, at once."""


Step = Relay | Again | NextKey
RELAY: Final = Relay()
NEXT_KEY: Final = NextKey()


def reason_of(outcome: Outcome) -> str | None:
    """The name of a failure that may be worth a repeat; None for answers, and for what a repeat could pay twice."""
    broken = outcome.broken
    if broken is not None:
        # A refused certificate or proxy refuses the next attempt too; a timeout has used the patience up.
        if broken.stage == "connect":
            return "connect" if broken.fault in {"refused", "dns", "reset"} else None
        stale = broken.reused and not broken.answered and broken.seconds <= STALE_SECONDS
        return "stale" if stale and broken.fault == "reset" else None
    if outcome.first_event_error is not None:
        return _EVENTS.get(outcome.first_event_error)
    if outcome.status == 429:
        wait = outcome.retry_after
        return "rate_limited" if wait is not None and wait <= MOST_WAIT and outcome.code not in SPEND_CAPS else None
    if outcome.status in {502, 504}:
        return "gateway"
    found = _STATUSES.get(outcome.status)
    return found if found is None or outcome.complete else "bad_body"


def judge_attempt(outcome: Outcome, rule: RepeatRule, client: Client, tries: Tries, roll: float) -> Step:
    """What to do after an attempt. The retry budget is asked afterwards; a refusal there turns Again into Relay."""
    if outcome.about_key:
        return NEXT_KEY if tries.other_key and tries.replayable else RELAY
    reason = reason_of(outcome)
    if reason is None or reason not in _FREE[rule] or outcome.should_retry is False:
        return RELAY
    if not tries.replayable or tries.repeats >= client.extra:
        return RELAY
    if outcome.retry_after is not None and outcome.retry_after > MOST_WAIT:
        return RELAY
    after = wait_before(tries.repeats, outcome.retry_after, roll)
    return Again(after, reason) if tries.now + after < client.deadline else RELAY


def client_of(headers: Iterable[tuple[bytes, bytes]], started: float) -> Client:
    """The caller's patience, read from its own headers."""
    pairs = list(headers)
    return Client(deadline_of(pairs, started), extra_attempts(pairs))


def extra_attempts(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """How often the gateway may repeat for this client: less the more it repeats by itself.

    The SDKs make three attempts, Claude Code eleven (fact sheet 2.4, 4.2); each of theirs would be multiplied by ours.
    """
    pairs = list(headers)
    count = (lookup(pairs, b"x-stainless-retry-count") or b"").strip()
    own = int(count) if count.isdigit() and len(count) < 6 else 0
    agent = lookup(pairs, b"user-agent") or b""
    most = 1 if agent.startswith(b"claude-cli/") else MOST_EXTRA
    return max(0, most - own)


def should_retry(headers: Iterable[tuple[bytes, bytes]]) -> bool | None:
    """Claude's own word on whether a repeat may help."""
    return {b"true": True, b"false": False}.get((lookup(headers, b"x-should-retry") or b"").strip().lower())
