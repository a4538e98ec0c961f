"""The list of work in Redis, beside the ledger: a hash of items and a sorted set of when each is due.

All of it stands under the installation's hash tag, and each change is one script, by the store's own clock.
"""

import secrets
from collections import Counter
from typing import Any

import msgspec

from gateway.core.work import Item
from gateway.store.batcher import Batcher
from gateway.store.cold import scan
from gateway.store.redis import RedisLedger
from gateway.store.scripts import WORK_LEASE, WORK_PUT, WORK_UPDATE, Script
from gateway.store.work import Counts, Leased

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Item).decode


class RedisWork:
    """A `Work` over the connection of a ledger, which is started and stopped on its own."""

    def __init__(self, ledger: RedisLedger) -> None:
        self._ledger = ledger
        self._names = ledger.keys.work

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def add(self, item: Item, *, due_in: float) -> None:
        await self._put("add", item.id, due_in, _encode(item))

    async def bind(self, old: str, item: Item, *, due_in: float) -> None:
        await self._put("bind", item.id, due_in, _encode(item), old)

    async def drop(self, id: str) -> None:
        await self._put("drop", id)

    async def nudge(self, id: str, *, due_in: float = 0.0) -> bool:
        return await self._put("nudge", id, due_in)

    async def get(self, id: str) -> Item | None:
        data = await self._batcher().call("HGET", self._names[0], id)
        return None if data is None else _decode(data)

    async def lease(self, *, seconds: float, most: int) -> list[Leased]:
        return await self._lease("", seconds, most)

    async def take(self, id: str, *, seconds: float) -> Leased | None:
        found = await self._lease(id, seconds, 1)
        return found[0] if found else None

    async def renew(self, leased: Leased, *, seconds: float) -> bool:
        return await self._update("renew", leased, seconds)

    async def keep(self, leased: Leased, item: Item, *, seconds: float) -> bool:
        return await self._update("keep", leased, seconds, item)

    async def let(self, leased: Leased, item: Item, *, due_in: float) -> bool:
        return await self._update("let", leased, due_in, item)

    async def done(self, leased: Leased) -> bool:
        return await self._update("done", leased, 0)

    async def counts(self) -> Counts:
        batcher = self._batcher()
        found = {id: _decode(data).kind async for id, data in scan(batcher, self._names[0])}
        first = await batcher.call("ZRANGE", self._names[1], 0, 0, "WITHSCORES", patient=True)
        overdue = max(0.0, self._ledger.now() - float(first[1])) / 1000 if first else 0.0
        return Counts(Counter(found.values()), overdue)

    async def _put(self, what: str, id: str, due_in: float = 0.0, data: bytes = b"", old: str = "") -> bool:
        args: list[bytes | str | int] = [what, id, round(due_in * 1000), data, old]
        # A request waits for these, so they have the store's timeout; what may have been done is done again harmlessly.
        return bool((await self._ask(WORK_PUT, args, patient=False))[0])

    async def _lease(self, id: str, seconds: float, most: int) -> list[Leased]:
        token = secrets.token_hex(8)
        found = await self._ask(WORK_LEASE, [token, round(seconds * 1000), most, id])
        return [Leased(_decode(data), token) for data in found]

    async def _update(self, what: str, leased: Leased, seconds: float, item: Item | None = None) -> bool:
        data = b"" if item is None else _encode(item)
        args: list[bytes | str | int] = [what, leased.item.id, leased.token, round(seconds * 1000), data]
        return bool((await self._ask(WORK_UPDATE, args))[0])

    async def _ask(self, script: Script, args: list[bytes | str | int], *, patient: bool = True) -> list[Any]:
        return await self._ledger.link().script(script, self._names, args, patient=patient)

    def _batcher(self) -> Batcher:
        batcher = self._ledger.link().batcher
        assert batcher is not None
        return batcher
