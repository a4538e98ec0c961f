"""The store of one process: buckets in memory by the monotonic clock, budgets by the wall clock."""

import time
from collections.abc import Sequence

from gateway.core import book
from gateway.core.book import Said, State
from gateway.core.limits import Bucket, Budget, Claim, Period, Settlement, Verdict
from gateway.core.plan import Plan, charge_of, entry_of, plan_of
from gateway.core.verdicts import levels_of, standings_of, verdict_of
from gateway.store.ledger import Grain, Health, Holder, Observer, Peek, Row, Silent


def _now() -> int:
    return time.monotonic_ns() // 1_000_000


def _wall() -> int:
    return time.time_ns() // 1_000_000


class Embedded:
    """A `Ledger` in memory."""

    def __init__(self, *, observer: Observer | None = None) -> None:
        self._observer = observer or Silent()
        self._state = State()
        self._open: dict[str, Plan] = {}
        self._n = 0

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def reserve(self, claim: Claim) -> Verdict:
        wall = _wall()
        plan = plan_of(claim, wall)
        reply = book.reserve(self._state, claim.hold, plan, _now(), wall)
        if reply.said == Said.GRANTED:
            self._open[claim.hold] = plan
        return verdict_of(claim, plan, reply)

    def settle(self, hold: str, settlement: Settlement) -> str:
        plan = self._open.pop(hold, None)
        if plan is None:
            return ""
        self._n += 1
        wall = _wall()
        entry = entry_of(self._n, hold, wall, plan, settlement)
        book.charge(self._state, "embedded", charge_of(entry, wall), _now(), wall)
        return f"embedded/{self._n}"

    async def peek(self, buckets: Sequence[Bucket], budgets: Sequence[Budget]) -> Peek:
        wall = _wall()
        claim = Claim("", "", "", "", tuple((b, 0) for b in buckets), tuple((b, 0) for b in budgets))
        plan = plan_of(claim, wall)
        reply = book.reserve(self._state, "", plan, _now(), wall)
        return Peek(levels_of(buckets, plan, reply), standings_of(budgets, plan, reply))

    async def holders(self, team: str) -> list[Holder]:
        return [
            Holder(hold, held.plan.team, held.plan.key, held.plan.model, held.plan.kind, held.at / 1000)
            for hold, held in self._state.holds.items()
            if held.plan.team == team
        ]

    async def rows(self, grain: Grain, first: str, last: str, team: str | None = None) -> list[Row]:
        return []

    async def raise_budget(self, owner: str, per: Period, nano: int, until: float) -> None:
        self._state.raises[owner, per] = (nano, int(until * 1000))

    @property
    def health(self) -> Health:
        return Health("embedded", ok=True, holds_open=len(self._open))
