"""The bucket law, in integers: levels in 1/60,000 of a unit, times in store milliseconds.

A bucket of r per minute refills exactly r per millisecond, so nothing is ever rounded. Over any interval it admits at
most its capacity plus rate x time. `store/lua/prelude.lua` says the same in Lua; a property test holds them together.
"""

from typing import NamedTuple

from gateway.core.limits import UNIT, Bucket

# The deepest debt. A capacity (at most 6 x 10^15) less this stays below 2^53, so a double can hold every difference.
FLOOR = -3 * 10**15


class Tank(NamedTuple):
    """A bucket's state. Rate and capacity are those of the last reserve, so that time that passed under a lower limit
    is not refilled at a higher one and a settlement needs no policy."""

    level: int
    at: int
    rate: int
    capacity: int


def capacity_of(bucket: Bucket) -> int:
    """The level of a full bucket: what refills in burst_seconds. 600 per minute for 60 s: 600 x 60,000."""
    return bucket.per_minute * bucket.burst_seconds * 1000


def refill(tank: Tank | None, rate: int, capacity: int, now: int) -> int:
    """The level now, under the limit of this call.

    A new bucket is full. Between two calls the lower of their two rates and capacities counts: a raise gives nothing
    for the time before it, and replicas on different policies get the stricter. A lowered capacity clamps at once. A
    clock that went back refills nothing.
    """
    if tank is None:
        return capacity
    level, at, old_rate, old_capacity = tank
    slower = min(rate, old_rate)
    lower = min(capacity, old_capacity)
    if level < lower and now > at:
        # Clamped to the time to full, so that the product stays an exact double in Lua.
        elapsed = min(now - at, (lower - level) // slower + 1)
        level = min(level + slower * elapsed, lower)
    return min(level, capacity)


def correct(tank: Tank | None, rate: int, capacity: int, now: int, amount: int) -> Tank:
    """Give back (amount > 0) or charge (amount < 0) after the fact, at the limit the bucket was last asked under."""
    if tank is not None:
        rate, capacity = tank.rate, tank.capacity
    level = refill(tank, rate, capacity, now) + amount
    return Tank(max(FLOOR, min(level, capacity)), now, rate, capacity)


def wait_ms(level: int, amount: int, rate: int) -> int:
    """Milliseconds until the level reaches the amount, rounded up: a caller told less would come too early."""
    return max(0, -(-(amount - level) // rate))


def whole_units(level: int) -> int:
    """What may still be taken, in whole units: never below 0, and never a unit that is only partly there."""
    return max(0, level // UNIT)
