"""What requests wait for at the Redis store: each question is one round trip, or StoreDown at once.

Whatever was asked is written on the claim before it is sent: an answer that never comes must find its settlement.
"""

import msgspec

from gateway.core import retries
from gateway.core.book import Reply, Said
from gateway.core.plan import Plan
from gateway.core.retries import Asked, Retry, Tried
from gateway.store import scripts
from gateway.store.keys import Keys
from gateway.store.ledger import StoreDown
from gateway.store.link import Link
from gateway.store.memory import Memory


class Open:
    """A claim that was asked for and not yet settled."""

    __slots__ = ("plan", "sent")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.sent = False  # the store may hold it, whatever was or was not answered


class Asking:
    """The scripts that admit a claim and one more attempt, for one writer."""

    def __init__(self, link: Link, keys: Keys, memory: Memory, writer: str) -> None:
        self._link = link
        self._keys = keys
        self._memory = memory
        self._writer = writer

    async def reserve(self, hold: str, asked: Open) -> Reply:
        keys, plan = self._keys, asked.plan
        self._see_that_it_answers()
        asked.sent = True
        names = [keys.store, keys.mark(hold), keys.holds(self._writer, plan), *keys.owners(plan)]
        args: list[bytes | str | int] = [self._memory.epoch, hold, msgspec.msgpack.encode(plan)]
        return Reply.of(await self._link.script(scripts.RESERVE, names, args), plan)

    async def retry(self, retry: Retry, asked: Asked, held: Open | None) -> Tried:
        keys = self._keys
        self._see_that_it_answers()
        plan = b""
        if retry.leaves:
            if held is None:
                return Tried(Said.BARRED)
            # From here on the store may hold the one or the other; the settlement leaves it to the store.
            held.plan = retries.moved(held.plan, asked)
            plan = msgspec.msgpack.encode(held.plan)
        names = [keys.store, keys.holds(self._writer), *map(keys.owner, asked.owners)]
        part = msgspec.msgpack.encode(asked.part)
        args: list[bytes | str | int] = [self._memory.epoch, retry.hold, asked.cost, part, asked.leaves, plan]
        tried = Tried.of(await self._link.script(scripts.RETRY, names, args))
        if tried.said == Said.EPOCH:
            self._link.doubt("retry: EPOCH")
            raise StoreDown("this is not the store it was a moment ago")
        return tried

    def _see_that_it_answers(self) -> None:
        link = self._link
        if not link.ready or link.batcher is None or link.batcher.stalled:
            raise StoreDown(link.fault or "an answer is overdue")
