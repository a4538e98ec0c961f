"""When Claude says "not before": which calls rest until then, and which one is let through to look.

A 429 rests one lane until its reset, a usage-limit 400 a workspace until its date, or every workspace of the
organization when it does not name the workspace. Nobody is kept out for ever by one answer: after `PROBE_EVERY`
seconds one call goes through, and an answer other than the same refusal ends the rest.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from gateway.core.overload.attempts import SPEND_CAPS, Outcome
from gateway.core.overload.headroom import about_fast_mode, reset_of

# A bucket that refills with time is full again after a minute; a longer wait is a slip of somebody's clock.
MOST_RATE_REST: Final = 60.0
MOST_USAGE_REST: Final = 32 * 86_400.0
PROBE_EVERY: Final = 60.0

Scope = Literal["lane", "workspace", "organization"]

_USAGE = re.compile(r"You have reached your specified (?P<workspace>workspace )?API usage limits", re.IGNORECASE)
_DATE = re.compile(r"(\d{4}-\d{2}-\d{2})(?: at (\d{2}):(\d{2}))?(?::\d{2})? ?(?:UTC)?")


@dataclass(frozen=True, slots=True)
class Rest:
    """`scope` rests for so many seconds; `outcome` is what its calls are told meanwhile."""

    scope: Scope
    seconds: float
    outcome: Outcome
    reason: Literal["rate_limited", "usage_limit"]


def rest_of(outcome: Outcome, headers: Iterable[tuple[bytes, bytes]], wall: float) -> Rest | None:
    """What an answer puts to rest. A 429 that names no time, spend caps and fast mode's own limits rest nothing."""
    pairs = list(headers)
    if outcome.status == 429:
        if outcome.code in SPEND_CAPS or about_fast_mode(pairs):
            return None
        seconds = outcome.retry_after if outcome.retry_after is not None else reset_of(pairs, wall)
        if seconds is None or seconds <= 0:
            return None
        return Rest("lane", min(seconds, MOST_RATE_REST), outcome, "rate_limited")
    if outcome.status == 400 and (found := _USAGE.match(outcome.message)):
        seconds = _until(outcome.message, wall)
        if seconds is None or seconds <= 0:
            return None
        scope: Scope = "workspace" if found["workspace"] else "organization"
        return Rest(scope, min(seconds, MOST_USAGE_REST), outcome, "usage_limit")
    return None


def _until(message: str, wall: float) -> float | None:
    """Seconds until the first date in the text, which is in UTC."""
    found = _DATE.search(message)
    if found is None:
        return None
    day, hour, minute = found[1], found[2] or "00", found[3] or "00"
    try:
        moment = datetime.fromisoformat(f"{day}T{hour}:{minute}").replace(tzinfo=UTC)
    except ValueError:
        return None
    return moment.timestamp() - wall


@dataclass(slots=True)
class Resting:
    """One rest in force."""

    rest: Rest
    until: float
    next_probe: float

    @classmethod
    def begin(cls, rest: Rest, now: float) -> "Resting":
        return cls(rest, now + rest.seconds, now + PROBE_EVERY)

    def wait(self, now: float) -> float:
        """Seconds that a call has to wait; 0 when it is over, or when this call is the one that looks."""
        if now >= self.until:
            return 0.0
        if now >= self.next_probe:
            self.next_probe = now + PROBE_EVERY
            return 0.0
        return self.until - now
