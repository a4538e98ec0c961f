"""What dead processes left behind: their holds in the store, and their journals on this machine.

Every process looks; the store lets one look at a time and calls a process dead only after two looks. A hold that is
swept is booked at its estimate and kept, so that a settlement that comes late after all books the difference.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from gateway.core.book import Booked, Said
from gateway.core.plan import Charge, Entry, Plan, sweep_of
from gateway.store import scripts
from gateway.store.adopt import Abandoned, abandoned
from gateway.store.batcher import ReplyError
from gateway.store.cold import held_at, plan_in, scan
from gateway.store.journal import prune
from gateway.store.keys import Keys
from gateway.store.ledger import Observer, StoreDown
from gateway.store.link import Link
from gateway.store.outbox import Outbox

SWEEP_SECONDS = 10.0

Send = Callable[[str, Entry | Charge, Plan | None], tuple[Charge, asyncio.Future[bytes]]]


class Sweeper:
    """The background work of one process on the shared store."""

    def __init__(
        self,
        link: Link,
        keys: Keys,
        journals: Path,
        *,
        observer: Observer,
        now: Callable[[], int],
        charge: Send,
        booked: Callable[[Charge, Booked], None],
        epoch: Callable[[], str],
    ) -> None:
        self._link = link
        self._keys = keys
        self._journals = journals
        self._observer = observer
        self._now = now
        self._charge = charge
        self._booked = booked
        self._epoch = epoch
        self._finished_too = False

    def adopt_finished(self) -> None:
        """The store lost data: at the next look, journals whose work was done are gone through again."""
        self._finished_too = True

    async def run(self, seconds: float) -> None:
        """Until cancelled."""
        while True:
            if self._link.ready:
                # The store may go at any moment; what was begun is begun again at the next look.
                with contextlib.suppress(StoreDown, ReplyError, OSError):
                    await self._adopt()
                    for writer in await self._dead(seconds):
                        await self._sweep(writer)
                    prune(self._journals, time.time())
            await asyncio.sleep(seconds)

    async def _dead(self, seconds: float) -> list[str]:
        names = [self._keys.store, self._keys.leases, self._keys.suspects]
        gap = round(seconds * 1000) - 100  # our own timer is not that exact
        answer = await self._link.script(scripts.SUSPECT, names, [self._epoch(), gap], patient=True)
        return [str(writer) for writer in answer[1:]]

    async def _sweep(self, writer: str) -> None:
        batcher = self._link.batcher
        if batcher is None:
            return
        count = 0
        async for hold, record in scan(batcher, self._keys.holds(writer)):
            plan = plan_in(record)
            it = sweep_of(hold.decode(), held_at(record), plan, self._now())
            _, future = self._charge(writer, it, plan)
            booked = Booked.of(msgspec.msgpack.decode(await future))
            if booked.said == Said.DONE:
                count += 1
                self._booked(it, booked)
        keys = [self._keys.leases, self._keys.suspects, self._keys.holds(writer)]
        await batcher.call("EVALSHA", scripts.RETIRE.sha, len(keys), *keys, writer, patient=True)
        self._observer.event("process_dead", {"writer": writer, "holds_estimated": count})

    async def _adopt(self) -> None:
        finished, self._finished_too = self._finished_too, False
        for left in abandoned(self._journals, self._observer, finished=finished):
            sent = -1
            try:
                left.settle_open()
                sent = await self._send(left)
            finally:
                if sent >= 0:
                    left.done()
                else:
                    left.leave()
                    self._finished_too |= finished
            if sent:
                self._observer.event("journal_adopted", {"writer": left.writer, "settlements": sent})

    async def _send(self, left: Abandoned) -> int:
        """How many settlements were sent, -1 when it could not be finished."""
        batcher = self._link.batcher
        if batcher is None:
            return -1
        key = self._keys.writer(left.writer)
        await batcher.call("HSETNX", key, "n", left.first() - 1, patient=True)
        applied = int(await batcher.call("HGET", key, "n", patient=True))
        box = Outbox(
            lambda entry: self._charge(left.writer, entry, None),
            left,
            observer=self._observer,
            doubt=lambda reason: None,
            booked=self._booked,
        )
        for entry in left.after(applied):
            box.last = entry.n
        box.last = max(box.last, applied)
        box.rewind(applied)
        await box.drained()
        return box.confirmed - applied if box.confirmed == box.last else -1
