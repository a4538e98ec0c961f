"""The background work of one process: takes what is due, looks at it, books what it came to.

Rule: an item that is to be billed says so in the store before the ledger hears of it; then the ledger books, then the
item moves on. Whoever dies between two of these is followed by somebody who does the rest again, to the same effect.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from gateway.core.limits import Budget
from gateway.core.teams import Policy
from gateway.core.work import Found, Item, Look, Settle, Step, claim_of
from gateway.observe import Observer
from gateway.settling import batches, sessions
from gateway.settling.reading import Reader, Unreadable
from gateway.store.ledger import Ledger, StoreDown
from gateway.store.work import Leased, Work

LEASE_SECONDS = 30.0
MOST_TURNS = 4  # at once, in one process
LONGEST_FAILING = 600.0
TOLD_AT = 3  # failures in a row before a log line
COUNT_SECONDS = 30.0
MOST_KNOWN = 10_000

LOOKS: Mapping[str, Callable[[Item, Reader, Policy, float], Awaitable[Step]]] = {
    "batch": batches.look,
    "session": sessions.look,
    "dream": sessions.look,
    "run": sessions.look_at_run,
    "deployment": sessions.look_at_deployment,
    "new": sessions.look_at_new,
}


class Worker:
    """One of any number that share the list. `pace` scales every wait between looks."""

    def __init__(
        self,
        work: Work,
        ledger: Ledger,
        reader: Reader,
        policy: Callable[[], Policy],
        observer: Observer,
        *,
        pace: float = 1.0,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._work = work
        self._ledger = ledger
        self._reader = reader
        self._policy = policy
        self._observer = observer
        self._pace = pace
        self.lease_seconds = lease_seconds
        self._wake = asyncio.Event()
        self._turns: set[asyncio.Task[None]] = set()
        self._known: dict[str, Item] = {}  # what this process has looked at and not seen done
        self._told_lost = False

    def knows(self, item: Item) -> None:
        """This process has seen it; an old one is forgotten for it, when there are very many."""
        self._known.pop(item.id, None)
        if len(self._known) >= MOST_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[item.id] = item

    def wake(self) -> None:
        """Something is due now."""
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        counted = 0.0
        while True:
            # The store may be away for long; every turn is begun again by whoever finds it due.
            with contextlib.suppress(StoreDown):
                room = MOST_TURNS - len(self._turns)
                for leased in await self._work.lease(seconds=self.lease_seconds, most=room) if room else []:
                    self._begin(leased)
                if time.monotonic() - counted > COUNT_SECONDS * self._pace:
                    counted = time.monotonic()
                    self._observer.work_counted(await self._work.counts())
                    await self._look_for_lost()
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pace):
                    await self._wake.wait()

    async def stop(self, seconds: float) -> None:
        """Let turns under way end within so many seconds; what they leave, another takes up."""
        if self._turns:
            _, late = await asyncio.wait(self._turns, timeout=seconds)
            for turn in late:
                turn.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _begin(self, leased: Leased) -> None:
        turn = asyncio.create_task(self._guarded(leased))
        self._turns.add(turn)
        turn.add_done_callback(self._turns.discard)
        turn.add_done_callback(lambda done: self.wake())

    async def _guarded(self, leased: Leased) -> None:
        try:
            await self.turn(leased)
        except StoreDown:
            return  # its lease lapses
        except Exception as fault:  # noqa: BLE001  # one item must not stop the others
            self._observer.faulted(fault, leased.item.id)
            with contextlib.suppress(StoreDown):
                await self._failed(leased, leased.item, "fault")

    async def turn(self, leased: Leased) -> None:
        """One look at one item. Raises StoreDown."""
        keeping = asyncio.create_task(self._keep(leased))
        item = leased.item
        self.knows(item)
        try:
            if item.bills:
                # Somebody wrote them down and did not come to the end.
                item = await self._booked(item)
                if item.outcome:
                    await self._done(leased, item)
                    return
            try:
                step = await LOOKS[item.kind](item, self._reader, self._policy(), time.time())
            except Unreadable as failure:
                await self._failed(leased, item, failure.reason)
                return
            if item.tries:
                if item.tries >= TOLD_AT:
                    self._observer.work_back(item, time.time())
                item = msgspec.structs.replace(item, tries=0, failing=0.0)
            await self._take(leased, item, step)
        finally:
            keeping.cancel()

    async def _look_for_lost(self) -> None:
        """After a loss of data, say what of this process's work is on no list any more: its cost is not known here.

        It is not put back. Whether another process had settled it meanwhile is lost as well, and a batch that is
        charged twice is worse than one that a person looks up by its id.
        """
        if not self._ledger.health.data_lost:
            self._told_lost = False
            return
        if self._told_lost:
            return
        self._told_lost = True
        for item in list(self._known.values()):
            if await self._work.get(item.id) is None:
                self._observer.work_lost(item)
        self._known.clear()

    async def _take(self, leased: Leased, item: Item, step: Step) -> None:
        change = msgspec.structs.replace
        match step:
            case Settle():
                item = change(item, bills=step.bills, outcome=step.outcome, ended=step.ended)
                if not step.bills or await self._work.keep(leased, item, seconds=self.lease_seconds):
                    await self._done(leased, await self._booked(item))
            case Look():
                item = change(step.item, bills=step.bills, tries=0, failing=0.0)
                if not step.bills or await self._work.keep(leased, item, seconds=self.lease_seconds):
                    item = await self._booked(item)
                    await self._work.let(leased, item, due_in=step.seconds * self._pace)
            case Found(instead=True):
                (other,) = step.items
                await self._work.bind(item.id, other, due_in=0.0)
                self.wake()
            case Found():
                for other in step.items:
                    await self._work.add(change(other, held=False), due_in=0.0)
                await self._work.let(leased, change(step.item, tries=0), due_in=step.seconds * self._pace)

    async def _booked(self, item: Item) -> Item:
        """The item with its bills in the ledger. They stay on it where they are its last, for the log line."""
        for bill in item.bills:
            if bill.id == item.hold:
                await self._ledger.finish(bill.id, bill.settlement())
            else:
                await self._ledger.book(claim_of(item, bill, self._budgets(item)), bill.settlement())
        if item.outcome:
            return item
        for bill in item.bills:
            self._observer.work_booked(item, bill)
        return msgspec.structs.replace(item, bills=())

    def _budgets(self, item: Item) -> tuple[Budget, ...]:
        """The budgets that its team and its key have now; a team that is gone has none, and its rows stay."""
        team = self._policy().teams.get(item.team)
        if team is None:
            return ()
        return (*(budget for key in team.keys if key.name == item.key for budget in key.budgets), *team.budgets)

    async def _done(self, leased: Leased, item: Item) -> None:
        self._known.pop(item.id, None)
        if await self._work.done(leased):
            for bill in item.bills:
                self._observer.work_booked(item, bill)
            self._observer.work_done(item, time.time())

    async def _failed(self, leased: Leased, item: Item, reason: str) -> None:
        now = time.time()
        item = msgspec.structs.replace(item, tries=item.tries + 1, failing=item.failing or now)
        self._observer.work_failed(item, reason)
        if item.tries == TOLD_AT:
            self._observer.work_failing(item, reason)
        wait = min(LONGEST_FAILING, 2.0 ** min(item.tries, 12))
        await self._work.let(leased, item, due_in=wait * self._pace)

    async def _keep(self, leased: Leased) -> None:
        """Results may take longer to read than a lease lasts."""
        while True:
            await asyncio.sleep(self.lease_seconds / 3)
            with contextlib.suppress(StoreDown):
                if not await self._work.renew(leased, seconds=self.lease_seconds):
                    return
