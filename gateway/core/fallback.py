"""What a process may still admit while the store is away: its share of what was last seen, and no more.

A share is not a smaller limit but a dearer claim: with n live processes every unit counts n times against the whole
bucket. So nothing is rounded, and k of n processes cut off for T admit together at most (k/n)(capacity + rate x T).
A local level persists over outages and never starts above the last one seen: a store that flaps grants nothing new.
A request or slot that is more than a share (10 per minute, 20 processes) is refused for the length of the outage.
"""

from dataclasses import replace

import msgspec

from gateway.core import book
from gateway.core.book import State
from gateway.core.buckets import Tank, capacity_of, refill
from gateway.core.limits import UNIT, Budget, Claim, Granted, Refused, Settlement, Verdict
from gateway.core.plan import FOR_GOOD, SHADOW, SLOTS, Charge, Count, Plan, plan_of
from gateway.core.verdicts import verdict_of

# A claim beyond the share waits for the store, and when that comes back nobody knows.
AWAY_SECONDS = 5.0
_NEVER = 1 << 62
_WRITER = "local"


class Fallback:
    """The local buckets and budgets of one process. `now` is a monotonic clock, `wall` the time of day, both in ms."""

    def __init__(self) -> None:
        self._state = State()
        self._seen: dict[tuple[str, str], tuple[int, int]] = {}  # bucket: level and when
        self._room: dict[tuple[str, str], tuple[int, float]] = {}  # budget: what was left, and when its period ends
        self._unspent: dict[tuple[str, str], int] = {}  # the same with what calls under way held
        self._touched: set[tuple[str, str]] = set()
        self._shares: dict[str, int] = {}  # open hold: how many times its units count
        self._live = 1
        self._n = 0
        self.lost = False  # the store lost its data: what blocking budgets spent is not known

    def see(self, verdict: Verdict, now: int) -> None:
        """Remember what the store says is left."""
        for level in verdict.levels:
            self._seen[level.bucket.owner, level.bucket.field] = (level.remaining * UNIT, now)
        for at in verdict.standings:
            key = (at.budget.owner, at.budget.per)
            self._room[key] = (at.ceiling_nano - at.spent_nano - at.held_nano, at.resets)
            self._unspent[key] = at.ceiling_nano - at.spent_nano
            # The store's own count includes it by now: settlements go before reserves.
            self._state.spent.pop(key, None)

    def begin(self, live: int) -> None:
        """An outage begins, with so many processes alive when the store was last heard."""
        self._live = max(1, live)
        self._touched.clear()

    def reserve(self, claim: Claim, now: int, wall: int) -> Verdict:
        """Hold all of a claim locally, or nothing."""
        for bucket, _ in claim.takes:
            self._start(bucket.owner, bucket.field, bucket.per_minute, capacity_of(bucket), now)
        plan = self._dearer(plan_of(claim, wall), wall)
        self._state.lost = int(self.lost)
        verdict = verdict_of(claim, plan, book.reserve(self._state, claim.hold, plan, now, wall))
        # Standings are of the share, which means nothing to a team; levels are divided to what it may still take.
        levels = tuple(replace(level, remaining=level.remaining // self._live) for level in verdict.levels)
        match verdict:
            case Granted():
                self._shares[claim.hold] = self._live
                return replace(verdict, levels=levels, standings=())
            case Refused():
                wait = max(verdict.retry_after_seconds, AWAY_SECONDS) if verdict.never else verdict.retry_after_seconds
                told = replace(verdict, levels=levels, standings=(), retry_after_seconds=wait, never=False, close=False)
                # Beyond the share is not over the budget: the team must not be told to stay away until the period ends.
                return (
                    replace(told, retry_after_seconds=AWAY_SECONDS, held=True) if self._affords(claim, told) else told
                )

    def _affords(self, claim: Claim, refused: Refused) -> bool:
        """Whether the budget that refused had money for the claim when the store was last heard."""
        budget = refused.by
        if not isinstance(budget, Budget) or refused.unavailable:
            return False
        amount = sum(nano for one, nano in claim.spends if one == budget)
        return amount <= self._unspent.get((budget.owner, budget.per), budget.ceiling_nano)

    def settle(self, hold: str, settlement: Settlement, now: int) -> None:
        """Correct the share by what was really used. A hold of the store's is not known here, and left alone."""
        shares = self._shares.pop(hold, None)
        if shares is None:
            return
        self._n += 1
        plan = self._state.holds[hold].plan
        tokens = (settlement.input + settlement.output, settlement.input, settlement.output)
        counts = [
            Count(number, spend.per, spend.number, 0)
            for number, part in enumerate(plan.parts, 1)
            for spend in part.spends
        ]
        it = Charge(
            n=self._n,
            hold=hold,
            closes=_NEVER,
            late=0,
            zero=0,
            estimated=0,
            actual=[count * UNIT * shares for count in tokens],
            nano=settlement.nano * shares,
            row="",
            amounts=[],
            parts=plan.parts,
            counts=counts,
            day="",
            month="",
        )
        book.charge(self._state, _WRITER, it, now, 0)

    def _start(self, owner: str, field: str, rate: int, capacity: int, now: int) -> None:
        """The first claim on a bucket in this outage: from its local level, but no higher than the last one seen."""
        key = (owner, field)
        if key in self._touched:
            return
        self._touched.add(key)
        level = refill(self._state.tanks.get(key), rate, capacity, now)
        if key in self._seen:
            seen, at = self._seen[key]
            level = min(level, seen + rate * max(0, now - at))
        self._state.tanks[key] = Tank(level, now, rate, capacity)

    def _dearer(self, plan: Plan, wall: int) -> Plan:
        for part in plan.parts:
            for take in part.takes:
                take.amount *= self._live
                if take.code & ~SHADOW not in {FOR_GOOD, SLOTS}:
                    # Tokens are estimates anyway: as with the store, what exceeds the bucket becomes its debt.
                    take.amount = min(take.amount, take.capacity)
            for spend in part.spends:
                spend.amount *= self._live
                room, resets = self._room.get((part.owner, spend.per), (spend.ceiling, _NEVER))
                spend.ceiling = room if wall < resets * 1000 else spend.ceiling
        return msgspec.structs.replace(plan)
