"""How long to wait before a repeat, and how long there is left: retry-after, back-off, the client's own deadline.

A header that can't be right is as good as absent. It is never clamped into something that looks right.
"""

import math
import re
from collections.abc import Iterable
from email.utils import parsedate_to_datetime
from typing import Final

from gateway.core.headers import lookup

# The longest wait inside the gateway. The client sees nothing meanwhile; a longer one is its own decision.
MOST_WAIT: Final = 5.0
FIRST_BACKOFF: Final = 0.5
MOST_BACKOFF: Final = 8.0
# What clients wait when they do not say: the SDKs' default timeout (fact sheet 4.2).
USUAL_DEADLINE: Final = 600.0
MOST_DEADLINE: Final = 86_400.0

_NUMBER = re.compile(rb"[0-9]{1,20}(\.[0-9]{0,9})?\Z")


def retry_after(headers: Iterable[tuple[bytes, bytes]], wall: float) -> float | None:
    """Seconds until the answer's `retry-after-ms` or `retry-after`; None when there is none that makes sense.

    A number is seconds from now; a date counts from `wall` (epoch seconds), and one that has passed means now.
    `-1`, `soon`, `nan`, `1e3` and the empty value make no sense. 10^12 does: it is just long.
    """
    pairs = list(headers)
    milliseconds = lookup(pairs, b"retry-after-ms")
    if milliseconds is not None and _NUMBER.match(milliseconds.strip()):
        return float(milliseconds) / 1000
    value = (lookup(pairs, b"retry-after") or b"").strip()
    if _NUMBER.match(value):
        return float(value)
    if b":" not in value:
        return None
    try:
        moment = parsedate_to_datetime(value.decode("ascii")).timestamp()
        return max(0.0, moment - wall)
    except (ValueError, TypeError, OverflowError):
        return None


def backoff(repeats: int, roll: float) -> float:
    """Exponential with full jitter: anything up to 0.5, 1, 2 … 8 seconds. `roll` is in [0, 1)."""
    return roll * min(MOST_BACKOFF, FIRST_BACKOFF * float(2**repeats))


def wait_before(repeats: int, asked: float | None, roll: float) -> float:
    """The wait before a repeat: never earlier than Claude asked, and never all at the same moment."""
    jitter = backoff(repeats, roll)
    return jitter if asked is None else asked + min(jitter, FIRST_BACKOFF)


def deadline_of(headers: Iterable[tuple[bytes, bytes]], started: float) -> float:
    """When the client stops waiting, by its own `x-stainless-timeout` (seconds) or by the SDKs' default."""
    value = (lookup(headers, b"x-stainless-timeout") or b"").strip()
    seconds = float(value) if _NUMBER.match(value) else 0.0
    if not 0 < seconds <= MOST_DEADLINE or not math.isfinite(seconds):
        seconds = USUAL_DEADLINE
    return started + seconds
