"""The store of one process: buckets in memory by the monotonic clock, budgets by the wall clock, spend in one file.

A hold is in the journal before its call leaves, a settlement before it is booked; the file follows within 50 ms. So
kill -9 loses nothing: at the next start the journal is applied again above the number that the file has, and a hold
without a settlement becomes a row marked `estimated`.
"""

import asyncio
import contextlib
import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from gateway.core import book, retries
from gateway.core.audit import Amendment, Purse, Snapshot
from gateway.core.book import Booked, Said
from gateway.core.buckets import Tank
from gateway.core.limits import Bucket, Budget, Claim, Period, Settlement, Verdict
from gateway.core.plan import Charge, Entry, Opened, Part, Plan, charge_of, entry_of, plan_of
from gateway.core.retries import Retry, RetryVerdict
from gateway.core.verdicts import crossings_of, levels_of, standings_of, verdict_of
from gateway.store import learned
from gateway.store.adopt import abandoned
from gateway.store.commits import Commits
from gateway.store.journal import Journal, Lock, prune
from gateway.store.ledger import Grain, Health, Holder, Observer, Peek, Row, Silent, StoreDown, StoreUnfit
from gateway.store.spend import SpendFile

SAVE_SECONDS = 1.0
PRUNE_EVERY = 3600  # saves


class Embedded:
    """A `Ledger` in one state directory."""

    def __init__(
        self,
        state_dir: Path,
        *,
        observer: Observer | None = None,
        monotonic: Callable[[], int] = lambda: time.monotonic_ns() // 1_000_000,
        wall: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._dir = state_dir
        self._observer = observer or Silent()
        self._now = monotonic
        self._wall = wall
        self._writer = "e" + secrets.token_hex(8)
        self._lock = Lock(state_dir, "embedded")
        self._file = SpendFile(state_dir / "spend.sqlite")
        self._commits = Commits(self._file, self._observer, before=self._journalled, written=self._in_file)
        self._state = book.State()
        self._open: dict[str, Plan] = {}
        self._once: dict[str, int] = {}  # ids that were booked and must not be again
        self._n = 0
        self._confirmed = 0
        self._saved_at = -(1 << 62)
        self._stopped = False
        self._turn: asyncio.Future[bool] | None = None
        self._ticking: asyncio.Task[None] | None = None

    # -- life

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            self._dir.mkdir(parents=True, exist_ok=True)
            if not self._lock.take():
                raise StoreUnfit(
                    f"{self._dir} is in use by another gateway. The embedded store serves one process: "
                    "stop the other one, give this one its own GATEWAY_STATE_DIR, or set GATEWAY_REDIS_URL."
                )
            await self._commits.in_thread(self._load)
            self._journal = Journal(
                self._dir / "journal", self._writer, observer=self._observer, retry=self._loop.call_later
            )
            self._journal.open()
            self._adopt()
            await self._commits.commit()
            if self._commits.failing:
                raise OSError("the spend file took no write")
        except (OSError, sqlite3.OperationalError) as fault:
            raise StoreUnfit(f"GATEWAY_STATE_DIR {self._dir} can't be written: {fault}.") from fault
        self._ticking = asyncio.create_task(self._tick())

    def _load(self) -> None:
        created = self._file.open()
        epoch = self._dir / "epoch"
        lost = created and epoch.exists()
        if not epoch.exists():
            epoch.write_text(secrets.token_hex(8) + "\n")
        self._state, levels = self._file.load()
        now, wall = self._now(), self._wall()
        self._once = self._file.once(wall)
        for key, (level, at, rate, capacity) in levels.items():
            # Refilled by the wall clock over the downtime; a wall clock that went back refills nothing.
            self._state.tanks[key] = Tank(level, now - max(0, wall - at), rate, capacity)
        if lost:
            self._state.lost = 1
            self._commits.batch.facts["lost"] = 1
            self._observer.event("store_data_lost", {"store": "embedded", "path": str(self._file.path)})

    def _adopt(self) -> None:
        """Take in the journals of earlier processes: what the file has not applied, and holds that nobody settled."""
        directory = self._dir / "journal"
        for left in abandoned(directory, self._observer, finished=bool(self._state.lost)):
            holds, unleased = left.settle_open()
            entries = 0
            for line in unleased:
                self._keep_open(line)
            applied = self._state.applied.get(left.writer)
            if applied is None:
                applied = self._state.applied[left.writer] = left.first() - 1
            for entry in left.after(applied):
                self._apply(left.writer, _money_only(entry))
                entries += 1
            self._file.write(self._commits.take())
            left.done()
            if entries:
                facts = {"writer": left.writer, "settlements": entries, "holds_estimated": holds}
                self._observer.event("journal_adopted", facts)
        prune(directory, time.time())

    def _keep_open(self, line: Opened) -> None:
        """A hold that outlives its process is this process's now."""
        self._state.holds[line.hold] = book.Held(line.at, 0, line.plan)
        self._open[line.hold] = line.plan
        self._journal.append(line)
        for part in line.plan.parts:
            for spend in part.spends:
                key = (part.owner, spend.per)
                self._state.held[key] = self._state.held.get(key, 0) + spend.amount

    async def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        if self._ticking is not None:
            self._ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticking
        self._end_turn()
        self._note_levels()
        await self._commits.last()
        # A hold that nobody settled keeps its journal: the next start makes it an estimated row.
        self._journal.close(confirmed=-1 if self._open else self._confirmed)
        await self._commits.close()
        self._lock.release()

    # -- the hot path

    async def reserve(self, claim: Claim) -> Verdict:
        if self._journal.full:
            raise StoreDown("the journal can't be written and its backlog in memory is full")
        wall = self._wall()
        plan = plan_of(claim, wall)
        reply = book.reserve(self._state, claim.hold, plan, self._now(), wall)
        if reply.said == Said.GRANTED:
            self._open[claim.hold] = plan
            self._journal.append(Opened(claim.hold, wall, plan))
            written = await asyncio.shield(self._written())
            if not written and claim.store_down == "closed":
                self.settle(claim.hold, Settlement())
                raise StoreDown("the journal can't be written")
        return verdict_of(claim, plan, reply)

    def settle(self, hold: str, settlement: Settlement) -> str:
        plan = self._open.pop(hold, None)
        if plan is None:
            return ""
        self._n += 1
        entry = entry_of(self._n, hold, self._wall(), plan, settlement)
        self._journal.append(entry)
        self._written()
        self._apply(self._writer, entry)
        self._commits.soon()
        return f"{self._writer}/{self._n}"

    async def retry(self, retry: Retry) -> RetryVerdict:
        asked = retries.asked_of(retry)
        tried = retries.retry(self._state, retry.hold, asked, self._now())
        if retry.leaves and tried.said == Said.GRANTED:
            plan = self._open[retry.hold] = retries.moved(self._open[retry.hold], asked)
            self._journal.append(Opened(retry.hold, self._wall(), plan))
            await asyncio.shield(self._written())
        return retries.verdict_of(retry, asked, tried)

    async def note(self, hold: str) -> None:
        """Every hold of this store is in its journal already; one that it would not take can't be written anywhere."""
        if hold not in self._open:
            raise StoreDown("the journal can't be written and its backlog in memory is full")

    async def recall(self, hold: str) -> bool:
        return hold in self._open

    def leave(self, hold: str) -> None:
        """Nothing to do: there is no other process that could settle it."""

    async def finish(self, hold: str, settlement: Settlement) -> None:
        self.settle(hold, settlement)
        await self._commits.surely()

    async def book(self, claim: Claim, settlement: Settlement) -> None:
        if claim.hold not in self._once:
            self._open[claim.hold] = plan_of(claim, self._wall())
            self.settle(claim.hold, settlement)
        await self._commits.surely()

    def _apply(self, writer: str, entry: Entry) -> None:
        wall = self._wall()
        it = charge_of(entry, wall)
        booked = book.charge(self._state, writer, it, self._now(), wall)
        if booked.said != Said.DONE:
            return
        self._collect(writer, it, booked)
        for crossing in crossings_of(it, booked):
            self._observer.event("budget_threshold", crossing._asdict())

    def _collect(self, writer: str, it: Charge, booked: Booked) -> None:
        """Move what a charge changed into the batch that is written next."""
        batch, state = self._commits.batch, self._state
        batch.events += 1
        batch.applied[writer] = booked.applied
        for key, amount in state.rows.items():
            batch.rows[key] = batch.rows.get(key, 0) + amount
        state.rows.clear()
        state.marks.pop(it.hold, None)  # no reserve comes late in one process
        if it.once:
            self._once[it.hold] = batch.once[it.hold] = self._wall() + book.ONCE_MS
        for count in it.counts:
            owner = it.parts[count.part - 1].owner
            batch.spent[owner, count.per] = state.spent[owner, count.per]

    # -- once per loop turn, per commit and per second

    def _written(self) -> asyncio.Future[bool]:
        """Resolved at the end of this loop turn, with one write(2) for all that the turn appended."""
        if self._turn is None:
            self._turn = self._loop.create_future()
            self._loop.call_soon(self._end_turn)
        return self._turn

    def _end_turn(self) -> None:
        written = self._journal.flush()
        turn, self._turn = self._turn, None
        if turn is not None and not turn.done():
            turn.set_result(written)

    def _journalled(self) -> int:
        """The journal is never behind the file."""
        self._end_turn()
        return self._n

    def _in_file(self, upto: int) -> None:
        self._confirmed = upto
        self._journal.confirmed(upto)

    async def _tick(self) -> None:
        saves = 0
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            self._note_levels()
            if self._commits.batch:
                self._commits.at_once()
            saves += 1
            if saves % PRUNE_EVERY == 1:
                prune(self._dir / "journal", time.time())
                with contextlib.suppress(sqlite3.Error):
                    await self._commits.in_thread(self._file.prune, self._wall())

    def _note_levels(self) -> None:
        now, wall = self._now(), self._wall()
        for key, tank in self._state.tanks.items():
            if tank.at >= self._saved_at:
                self._commits.batch.levels[key] = (tank.level, wall - (now - tank.at), tank.rate, tank.capacity)
        self._saved_at = now

    # -- looking

    async def peek(self, buckets: Sequence[Bucket], budgets: Sequence[Budget]) -> Peek:
        wall = self._wall()
        claim = Claim("", "", "", "", tuple((b, 0) for b in buckets), tuple((b, 0) for b in budgets))
        plan = plan_of(claim, wall)
        reply = book.reserve(self._state, "", plan, self._now(), wall)
        return Peek(levels_of(buckets, plan, reply), standings_of(budgets, plan, reply))

    async def holders(self, team: str) -> list[Holder]:
        return [
            Holder(hold, held.plan.team, held.plan.key, held.plan.model, held.plan.kind, held.at / 1000)
            for hold, held in self._state.holds.items()
            if held.plan.team == team
        ]

    async def rows(self, grain: Grain, first: str, last: str, team: str | None = None) -> list[Row]:
        await self._commits.commit()
        return await self._commits.in_thread(self._file.rows, grain, first, last, team)

    async def raise_budget(self, owner: str, per: Period, nano: int, until: float) -> None:
        raised = (nano, int(until * 1000))
        self._state.raises[owner, per] = self._commits.batch.raises[owner, per] = raised
        self._commits.at_once()

    # -- auditing

    async def snapshot(self, periods: Sequence[str], purses: Sequence[Purse], writers: Sequence[str]) -> Snapshot:
        await self._commits.commit()
        return await self._commits.in_thread(self._file.snapshot, periods, purses, writers)

    async def amend(self, missing: Amendment) -> None:
        state, batch = self._state, self._commits.batch
        for cell, amount in missing.cells.items():
            batch.rows[cell] = batch.rows.get(cell, 0) + amount
        for (owner, per, number), nano in missing.spent.items():
            spent = state.spent.get((owner, per), book.Spent(0, 0, 0)).add(number, nano)
            state.spent[owner, per] = batch.spent[owner, per] = spent
        for writer, n in missing.applied.items():
            state.applied.setdefault(writer, n)
            batch.applied[writer] = state.applied[writer]
        await self.accept_empty()

    async def accept_empty(self) -> None:
        self._state.lost = 0
        self._commits.batch.facts["lost"] = 0
        await self._commits.commit()

    async def share(self, taken: Mapping[int, Mapping[str, float]], days: Sequence[int]) -> dict[int, dict[str, float]]:
        try:
            return await self._commits.in_thread(learned.share, self._file.db, taken, days)
        except sqlite3.Error as fault:
            raise StoreDown(f"the spend file can't be written: {fault}") from fault

    @property
    def health(self) -> Health:
        failing = self._commits.failing or not self._journal.ok
        return Health(
            "embedded",
            ok=not failing,
            detail="the state directory can't be written" if failing else "",
            data_lost=bool(self._state.lost),
            holds_open=len(self._open),
            unconfirmed=self._n - self._confirmed,
            journal_ok=self._journal.ok,
        )


def _money_only(entry: Entry) -> Entry:
    """For levels that were saved with what the call had taken: charging them again would count it twice."""
    parts = [Part(part.owner, [], part.spends) for part in entry.plan.parts]
    return msgspec.structs.replace(entry, plan=msgspec.structs.replace(entry.plan, parts=parts))
