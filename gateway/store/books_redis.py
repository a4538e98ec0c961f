"""The books of the Redis store: reading them, auditing them and putting them right, at leisure.

Nothing here is on the way of a request, and nothing here needs to know what this process holds.
"""

import struct
from collections.abc import Sequence

from gateway.core.audit import Amendment, Purse, Snapshot
from gateway.core.limits import Period
from gateway.store import cold
from gateway.store.batcher import Batcher
from gateway.store.keys import Keys
from gateway.store.ledger import Grain, Holder, Row, StoreDown
from gateway.store.link import Link


class RedisBooks:
    """The half of a `Ledger` on Redis that operators ask. Whoever extends it opens `_link`."""

    keys: Keys
    _link: Link

    def link(self) -> Link:
        """The way to the store while it is open, also for the list of work. Raises StoreDown."""
        if self._link.batcher is None or not self._link.ready:
            raise StoreDown(self._link.fault)
        return self._link

    def _batcher(self) -> Batcher:
        batcher = self.link().batcher
        assert batcher is not None
        return batcher

    async def holders(self, team: str) -> list[Holder]:
        return await cold.holders(self._batcher(), self.keys, team)

    async def rows(self, grain: Grain, first: str, last: str, team: str | None = None) -> list[Row]:
        return await cold.rows(self._batcher(), self.keys, grain, first, last, team)

    async def raise_budget(self, owner: str, per: Period, nano: int, until: float) -> None:
        packed = struct.pack("<dd", nano, until * 1000)
        await self._batcher().call("HSET", self.keys.owner(owner), f"raise|{per}", packed, patient=True)

    # -- auditing

    async def snapshot(self, periods: Sequence[str], purses: Sequence[Purse], writers: Sequence[str]) -> Snapshot:
        return await cold.snapshot(self._batcher(), self.keys, periods, purses, writers)

    async def amend(self, missing: Amendment) -> None:
        await cold.amend(self._batcher(), self.keys, missing)
        self._link.renew_now()

    async def accept_empty(self) -> None:
        await self.amend(Amendment({}, {}, {}))
