"""What happens when the store is slow or gone: a wrapper around any ledger.

Each claim carries its team's policy. `open`: the process admits its share of what it last saw, and the journal knows of
it. `closed`: StoreDown, which the client sees as 529. An outage is told when it begins and when it is over.
"""

import time
from collections.abc import Callable, Mapping, Sequence

from gateway.core.fallback import Fallback
from gateway.core.limits import Bucket, Budget, Claim, Period, Refused, Settlement, Verdict
from gateway.core.retries import Retry, RetryVerdict
from gateway.store.ledger import Grain, Health, Holder, Ledger, Observer, Peek, Row, Silent, StoreDown

# An outage is over when the store has answered for so long: one that flaps is one outage, with one line at each end.
QUIET_SECONDS = 1.0
_NOTHING = Settlement()


class Guarded:
    """A `Ledger` that goes on when its store does not."""

    def __init__(
        self,
        inner: Ledger,
        *,
        observer: Observer | None = None,
        monotonic: Callable[[], int] = lambda: time.monotonic_ns() // 1_000_000,
    ) -> None:
        self._inner = inner
        self._observer = observer or Silent()
        self._now = monotonic
        self._fallback = Fallback()
        self._down_since: int | None = None
        self._failed_at = 0
        self._admitted = 0
        self._refused = 0

    async def start(self) -> None:
        await self._inner.start()

    async def stop(self) -> None:
        await self._inner.stop()

    async def reserve(self, claim: Claim) -> Verdict:
        try:
            verdict = await self._inner.reserve(claim)
        except StoreDown as down:
            return await self._without(claim, down)
        now = self._now()
        self._fallback.see(verdict, now)
        if self._down_since is not None and now - self._failed_at > QUIET_SECONDS * 1000:
            self._over(now)
        return verdict

    def settle(self, hold: str, settlement: Settlement) -> str:
        self._fallback.settle(hold, settlement, self._now())
        return self._inner.settle(hold, settlement)

    async def _without(self, claim: Claim, down: StoreDown) -> Verdict:
        now = self._failed_at = self._now()
        if self._down_since is None:
            health = self._inner.health
            self._down_since, self._admitted, self._refused = now, 0, 0
            self._fallback.begin(health.live_processes)
            self._observer.event("store_down", {"reason": str(down), "live_processes": health.live_processes})
        if claim.store_down == "closed":
            self._refused += 1
            # The reserve may still arrive: its id is settled, so that it holds nothing.
            self._inner.settle(claim.hold, _NOTHING)
            raise down
        self._fallback.lost = self._inner.health.data_lost
        verdict = self._fallback.reserve(claim, now, time.time_ns() // 1_000_000)
        if isinstance(verdict, Refused):
            self._refused += 1
            self._inner.settle(claim.hold, _NOTHING)
            return verdict
        try:
            await self._inner.note(claim.hold)
        except StoreDown:
            self._refused += 1
            self.settle(claim.hold, _NOTHING)
            raise
        self._admitted += 1
        return verdict

    def _over(self, now: int) -> None:
        assert self._down_since is not None
        facts = {
            "seconds": (now - self._down_since) / 1000,
            "admitted_locally": self._admitted,
            "refused": self._refused,
        }
        self._down_since = None
        self._observer.event("store_back", facts)

    async def retry(self, retry: Retry) -> RetryVerdict:
        """Without the store nobody knows what the other processes repeat: then nothing is repeated."""
        return await self._inner.retry(retry)

    async def note(self, hold: str) -> None:
        await self._inner.note(hold)

    async def recall(self, hold: str) -> bool:
        return await self._inner.recall(hold)

    def leave(self, hold: str) -> None:
        self._inner.leave(hold)

    async def finish(self, hold: str, settlement: Settlement) -> None:
        await self._inner.finish(hold, settlement)

    async def book(self, claim: Claim, settlement: Settlement) -> None:
        await self._inner.book(claim, settlement)

    async def peek(self, buckets: Sequence[Bucket], budgets: Sequence[Budget]) -> Peek:
        return await self._inner.peek(buckets, budgets)

    async def holders(self, team: str) -> list[Holder]:
        return await self._inner.holders(team)

    async def rows(self, grain: Grain, first: str, last: str, team: str | None = None) -> list[Row]:
        return await self._inner.rows(grain, first, last, team)

    async def raise_budget(self, owner: str, per: Period, nano: int, until: float) -> None:
        await self._inner.raise_budget(owner, per, nano, until)

    async def share(self, taken: Mapping[int, Mapping[str, float]], days: Sequence[int]) -> dict[int, dict[str, float]]:
        return await self._inner.share(taken, days)

    @property
    def health(self) -> Health:
        return self._inner.health
