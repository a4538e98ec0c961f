"""The store of many processes: one Redis or Valkey, asked in one round trip per admission.

The process is a writer: it numbers, journals and sends its settlements in order. Its holds belong to its lease.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from gateway.core import retries
from gateway.core.book import Booked, Reply, Said
from gateway.core.limits import Bucket, Budget, Claim, Settlement, Verdict
from gateway.core.plan import Charge, Entry, Opened, Plan, charge_of, entry_of, plan_of
from gateway.core.retries import Retry, RetryVerdict
from gateway.core.verdicts import crossings_of, levels_of, standings_of, verdict_of
from gateway.store import cold, scripts
from gateway.store.address import Dialler, read_url
from gateway.store.asking import Asking, Open
from gateway.store.batcher import Batcher
from gateway.store.books_redis import RedisBooks
from gateway.store.journal import Journal
from gateway.store.keys import Keys
from gateway.store.learned import Learned
from gateway.store.ledger import Health, Observer, Peek, Silent, StoreDown, StoreUnfit
from gateway.store.link import Link
from gateway.store.memory import Memory
from gateway.store.outbox import Outbox
from gateway.store.sweep import SWEEP_SECONDS, Sweeper

LEASE_MS = 20_000
RENEWALS = 4  # within a lease
FIRST_TRY_SECONDS = 2.0
STOP_SECONDS = 5.0
CONFIRM_SECONDS = 5.0
CONFIRM_LOOK_SECONDS = 0.005


class RedisLedger(RedisBooks):
    """A `Ledger` on Redis. `state_dir` keeps the journals; several processes may share one."""

    def __init__(
        self,
        url: str,
        state_dir: Path,
        *,
        namespace: str = "gw",
        timeout_ms: int = 50,
        observer: Observer | None = None,
        lease_ms: int = LEASE_MS,
        sweep_seconds: float = SWEEP_SECONDS,
    ) -> None:
        self._observer = observer or Silent()
        self.keys = Keys(namespace)
        self._address = read_url(url)
        self._timeout = timeout_ms / 1000
        self._lease_ms = lease_ms
        self._sweep_seconds = sweep_seconds
        self._dir = state_dir
        self._memory = Memory(state_dir / f"store-{namespace}.json")
        self._writer = "w" + secrets.token_hex(8)
        self._learned = Learned(self.keys, self._writer)
        self._open: dict[str, Open] = {}
        self._n = 0
        self._lost = False
        self._suspect = False  # another epoch was seen; whether data was lost is being found out
        self._live = 1
        self._offset = time.time() * 1000 - time.monotonic() * 1000  # until the store has said its time
        self._turn_due = False
        self._stopped = False
        self._warnings: tuple[str, ...] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    # -- life

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        journals = self._dir / "journal"
        self._journal = Journal(journals, self._writer, observer=self._observer, retry=self._loop.call_later)
        try:
            self._journal.open()
        except OSError as fault:
            raise StoreUnfit(f"GATEWAY_STATE_DIR {self._dir} can't be written: {fault}.") from fault
        self._memory.load()
        self._live = self._memory.live
        self._link = Link(
            Dialler(self._address, self._timeout, self.keys.store),
            self._agree,
            renew_seconds=self._lease_ms / 1000 / RENEWALS,
            lost=self._cut,
        )
        self._asking = Asking(self._link, self.keys, self._memory, self._writer)
        self._outbox = Outbox(
            lambda entry: self._charge(self._writer, entry),
            self._journal,
            observer=self._observer,
            doubt=self._link.doubt,
            booked=self._booked,
            confirmed=self._journal.confirmed,
        )
        self._sweeper = Sweeper(
            self._link,
            self.keys,
            journals,
            observer=self._observer,
            now=self.now,
            charge=self._charge,
            booked=self._booked,
            epoch=lambda: self._memory.epoch,
        )
        self._tasks = [asyncio.create_task(self._link.run())]
        try:
            await self._link.first_try(FIRST_TRY_SECONDS)
        except StoreUnfit:
            await self._cancel()
            self._journal.close(confirmed=0)
            raise
        self._tasks.append(asyncio.create_task(self._sweeper.run(self._sweep_seconds)))

    async def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        self._end_turn()
        if self._link.ready:
            with contextlib.suppress(TimeoutError, StoreDown):
                async with asyncio.timeout(STOP_SECONDS):
                    await self._outbox.drained()
                    if not self._open and self._link.batcher is not None:
                        # Nothing is left to sweep: the others need not wait for this lease to lapse.
                        await self._link.batcher.call("ZREM", self.keys.leases, self._writer, patient=True)
        await self._cancel()
        # A hold that was admitted without the store is known to the journal alone.
        self._journal.close(confirmed=self._outbox.confirmed if self._outbox.unconfirmed == 0 else -1)

    async def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- the hot path

    def now(self) -> int:
        """The store's time in milliseconds, as well as it can be known here."""
        return int(time.monotonic() * 1000 + self._offset)

    async def reserve(self, claim: Claim) -> Verdict:
        if claim.refs:
            raise NotImplementedError("the registry of owned objects is not part of this store yet")
        began = time.monotonic()
        asked = self._open[claim.hold] = Open(plan_of(claim, self.now()))
        try:
            reply = await self._reserve(claim.hold, asked)
            if reply.said == Said.STALE:
                # The answer brought the store's time, which a second plan fits.
                asked.plan = plan_of(claim, self.now())
                reply = await self._reserve(claim.hold, asked)
            if reply.said not in {Said.GRANTED, Said.REFUSED, Said.BARRED}:
                asked.sent = False
                self._suspect = reply.said == Said.EPOCH
                self._link.doubt(f"reserve: {Said(reply.said).name}")
                raise StoreDown("this is not the store it was a moment ago")
        except StoreDown:
            self._observer.timed("reserve", time.monotonic() - began, failed=True)
            raise
        self._observer.timed("reserve", time.monotonic() - began, failed=False)
        if reply.said != Said.GRANTED:
            self._open.pop(claim.hold, None)
        return verdict_of(claim, asked.plan, reply)

    async def _reserve(self, hold: str, asked: Open) -> Reply:
        reply = await self._asking.reserve(hold, asked)
        self._offset = reply.now - time.monotonic() * 1000
        return reply

    async def retry(self, retry: Retry) -> RetryVerdict:
        began = time.monotonic()
        asked = retries.asked_of(retry)
        held = self._open.get(retry.hold)
        before = held.plan if held is not None else None
        try:
            tried = await self._asking.retry(retry, asked, held)
        except StoreDown:
            self._observer.timed("retry", time.monotonic() - began, failed=True)
            raise
        self._observer.timed("retry", time.monotonic() - began, failed=False)
        if held is not None and before is not None and tried.said != Said.GRANTED:
            held.plan = before
        return retries.verdict_of(retry, asked, tried)

    def settle(self, hold: str, settlement: Settlement) -> str:
        asked = self._open.pop(hold, None)
        if asked is None:
            return ""
        entry = entry_of(self._n + 1, hold, self.now(), asked.plan, settlement)
        if entry.zero and not asked.sent:
            return ""  # never sent and nothing used: there is nothing to take back
        self._n += 1
        self._journal.append(entry)
        self._outbox.put(entry, journalled=self._journal.ok)
        self._end_turn_soon()
        return f"{self._writer}/{self._n}"

    async def note(self, hold: str) -> None:
        if self._journal.full:
            raise StoreDown("the journal can't be written and its backlog in memory is full")
        asked = self._open.get(hold)
        if asked is not None:
            self._journal.append(Opened(hold, self.now(), asked.plan))
            self._journal.flush()  # before the call leaves

    async def recall(self, hold: str) -> bool:
        record = await self._batcher().call("HGET", self.keys.unleased, hold, patient=True)
        if record is None:
            return False
        asked = self._open[hold] = Open(cold.plan_in(record))
        asked.sent = True
        return True

    def leave(self, hold: str) -> None:
        self._open.pop(hold, None)

    async def finish(self, hold: str, settlement: Settlement) -> None:
        if await self.recall(hold):
            self.settle(hold, settlement)
        await self._confirmed()

    async def book(self, claim: Claim, settlement: Settlement) -> None:
        asked = self._open[claim.hold] = Open(plan_of(claim, self.now()))
        asked.sent = True  # perhaps by another process: the store knows
        self.settle(claim.hold, settlement)
        await self._confirmed()

    async def _confirmed(self) -> None:
        """Wait until the store has all that was settled so far. Others go on settling meanwhile."""
        upto, deadline = self._n, time.monotonic() + CONFIRM_SECONDS
        while self._outbox.confirmed < upto:
            if time.monotonic() > deadline:
                raise StoreDown(self._link.fault or "a settlement is not confirmed")
            await asyncio.sleep(CONFIRM_LOOK_SECONDS)

    def _end_turn_soon(self) -> None:
        if not self._turn_due:
            self._turn_due = True
            self._loop.call_soon(self._end_turn)

    def _end_turn(self) -> None:
        self._turn_due = False
        self._journal.flush()
        batcher = self._link.batcher
        if batcher is not None and not batcher.stalled:
            self._outbox.pump()

    def _charge(
        self, writer: str, entry: Entry | Charge, plan: Plan | None = None
    ) -> tuple[Charge, asyncio.Future[bytes]]:
        """Send one entry under a writer's name, or a sweep's charge."""
        if isinstance(entry, Entry):
            plan, it = entry.plan, charge_of(entry, self.now())
        else:
            assert plan is not None
            it = entry
        keys, batcher = self.keys, self._link.batcher
        if batcher is None:
            future: asyncio.Future[bytes] = self._loop.create_future()
            future.set_exception(StoreDown(self._link.fault))
            return it, future
        names = [
            keys.store,
            keys.mark(it.hold),
            keys.holds(writer, plan),
            keys.swept(writer),
            keys.writer(writer),
            keys.rows(it.day),
            keys.rows(it.month),
            *keys.owners(plan),
        ]
        data = msgspec.msgpack.encode(it)
        sha = scripts.CHARGE.sha
        return it, batcher.call("EVALSHA", sha, len(names), *names, self._memory.epoch, data, patient=True)

    def _booked(self, it: Charge, booked: Booked) -> None:
        for crossing in crossings_of(it, booked):
            self._observer.event("budget_threshold", crossing._asdict())

    # -- agreeing with the store

    def _cut(self) -> None:
        self._outbox.pause()

    async def _agree(self, batcher: Batcher, fresh: bool) -> None:  # noqa: FBT001  # the link's callback, by position
        """Renew the lease. On a fresh connection, or in doubt, also send what the store has not applied."""
        if self._warnings is None:
            self._warnings = await cold.warnings_of(batcher, self._observer)
        base = self._journal.first() - 1 if fresh else 0
        names = [self.keys.store, self.keys.leases, self.keys.suspects, self.keys.writer(self._writer)]
        memory = self._memory
        args: list[bytes | str | int] = [
            self._writer,
            memory.epoch,
            secrets.token_hex(8),
            self._lease_ms,
            base,
            memory.beat,
            scripts.LAYOUT,
        ]
        answer = await self._link.script(scripts.RENEW, names, args, patient=True)
        now, epoch, lost, applied, live, layout = answer
        if layout != scripts.LAYOUT:
            raise StoreUnfit(
                f"the store's keys have layout {layout}, this gateway writes {scripts.LAYOUT}. "
                "Use a matching release, or another GATEWAY_REDIS_NAMESPACE."
            )
        changed = memory.epoch not in {"", epoch}
        fell_back = applied < self._outbox.confirmed
        self._offset = now - time.monotonic() * 1000
        self._live = live
        memory.save(epoch=epoch, beat=now, live=live)
        self._suspect = False
        if bool(lost) != self._lost:
            self._lost = bool(lost)
            self._observer.event("store_data_lost" if lost else "store_data_accepted", {"epoch": epoch})
        if changed or fell_back:
            self._observer.event("settlements_sent_again", {"from": applied + 1, "to": self._n})
            self._sweeper.adopt_finished()
        if fresh or changed or fell_back:
            self._outbox.rewind(applied)
            # Settlements go before new reserves: the levels that those see include what was used meanwhile.
            await self._outbox.drained()
        elif batcher is self._link.batcher:
            self._outbox.pump()

    # -- looking

    async def peek(self, buckets: Sequence[Bucket], budgets: Sequence[Budget]) -> Peek:
        claim = Claim("", "", "", "", tuple((b, 0) for b in buckets), tuple((b, 0) for b in budgets))
        asked = Open(plan_of(claim, self.now()))
        reply = await self._reserve("", asked)
        if reply.said == Said.STALE:
            asked.plan = plan_of(claim, self.now())
            reply = await self._reserve("", asked)
        if reply.said != Said.REFUSED:
            raise StoreDown(f"the store answered {Said(reply.said).name}")
        return Peek(levels_of(buckets, asked.plan, reply), standings_of(budgets, asked.plan, reply))

    async def share(self, taken: Mapping[int, Mapping[str, float]], days: Sequence[int]) -> dict[int, dict[str, float]]:
        return await self._learned.share(self._batcher(), taken, days)

    @property
    def health(self) -> Health:
        oldest = self._outbox.oldest
        return Health(
            "redis",
            ok=self._link.ready,
            detail=self._link.fault,
            data_lost=self._lost or self._suspect,
            holds_open=len(self._open),
            unconfirmed=self._outbox.unconfirmed,
            lag_seconds=max(0.0, (self.now() - oldest.at) / 1000) if oldest else 0.0,
            journal_ok=self._journal.ok,
            live_processes=self._live,
            warnings=self._warnings or (),
        )
