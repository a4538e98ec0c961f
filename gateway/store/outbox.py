"""The settlements of one writer on their way to the store: in order, each applied once, none given up.

The store keeps the highest number applied and refuses a gap, so after any doubt the sender asks for that number and
goes on from there. Recent entries are kept in memory until they are confirmed; when the store stays away longer than
memory should grow, the rest is read back from the journal.
"""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

import msgspec

from gateway.core.book import Booked, Said
from gateway.core.plan import Charge, Entry, blank_entry
from gateway.store.batcher import ReplyError
from gateway.store.ledger import Observer

IN_FLIGHT = 256  # enough to fill a round trip, few enough that a reserve behind them is not late
IN_MEMORY = 10_000


class Source(Protocol):
    """Where entries can be read again: a journal, own or adopted."""

    def after(self, n: int) -> Iterator[Entry]: ...


class Outbox:
    """`put` queues, `pump` sends what may go, `rewind` starts again after a number."""

    def __init__(
        self,
        send: Callable[[Entry], tuple[Charge, asyncio.Future[bytes]]],
        source: Source,
        *,
        observer: Observer,
        doubt: Callable[[str], None],
        booked: Callable[[Charge, Booked], None],
        confirmed: Callable[[int], None] = lambda n: None,
    ) -> None:
        self._send = send
        self._source = source
        self._observer = observer
        self._doubt = doubt  # told when the store and the sender no longer agree
        self._booked = booked
        self._tell_confirmed = confirmed
        self._recent: dict[int, Entry] = {}
        self._replay: Iterator[Entry] | None = None
        self._replay_at = 0
        self._next = 1
        self._in_flight = 0
        self._generation = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.last = 0  # the highest number queued
        self.confirmed = 0  # the highest number that the store has said it applied
        self.open = False

    @property
    def unconfirmed(self) -> int:
        return max(0, self.last - self.confirmed)

    @property
    def oldest(self) -> Entry | None:
        """The oldest unconfirmed entry, if it is in memory."""
        return self._recent.get(self.confirmed + 1)

    def put(self, entry: Entry, *, journalled: bool) -> None:
        self.last = entry.n
        if len(self._recent) < IN_MEMORY or not journalled:
            self._recent[entry.n] = entry

    def pump(self) -> None:
        """Send what may be sent. Called once per loop turn and after each answer."""
        while self.open and self._next <= self.last and self._in_flight < IN_FLIGHT:
            n = self._next
            self._next += 1
            self._in_flight += 1
            self._idle.clear()
            it, future = self._send(self._entry(n))
            future.add_done_callback(partial(self._answered, self._generation, it))

    def pause(self) -> None:
        """Send nothing more; answers to what is under way no longer count."""
        self.open = False
        self._generation += 1
        self._in_flight = 0
        self._idle.set()

    def rewind(self, applied: int) -> None:
        """The store has applied everything up to a number, and nothing above it."""
        self.pause()
        for n in range(self.confirmed + 1, min(applied, self.last) + 1):
            self._recent.pop(n, None)
        # Lower than before: the store fell back, and what it had confirmed is sent again.
        self.confirmed = min(applied, self.last)
        self._next = applied + 1
        self._replay = None
        self.open = True
        self._tell_confirmed(self.confirmed)

    async def drained(self) -> None:
        """Wait until everything that is queued by now is confirmed. Returns early in doubt: see `open`.

        By now: under load there is always more, and waiting for an empty queue might never end.
        """
        upto = self.last
        self.pump()
        while self.open and self.confirmed < upto:
            self._idle.clear()
            if self._in_flight == 0:
                self.pump()
            await self._idle.wait()

    def _entry(self, n: int) -> Entry:
        entry = self._recent.get(n)
        if entry is not None:
            return entry
        if self._replay is None or self._replay_at != n:
            self._replay = self._source.after(n - 1)
        entry = next(self._replay, None)
        if entry is None or entry.n != n:
            # Neither in memory nor on disk. The numbers after it must not wait for ever.
            self._observer.event("settlement_unreadable", {"number": n})
            self._replay = None
            return blank_entry(n)
        self._replay_at = n + 1
        return entry

    def _answered(self, generation: int, it: Charge, done: asyncio.Future[bytes]) -> None:
        fault = None if done.cancelled() else done.exception()
        if generation != self._generation:
            return
        self._in_flight -= 1
        if fault is not None or done.cancelled():
            self.pause()
            if isinstance(fault, ReplyError):  # a lost connection is dialled again, and that ends in a rewind
                self._doubt(str(fault))
            return
        booked = Booked.of(msgspec.msgpack.decode(done.result()))
        if booked.said not in {Said.DONE, Said.SKIPPED}:
            self.pause()
            self._doubt(f"settlement {it.n}: {Said(booked.said).name}, {booked.applied} applied")
            return
        self.confirmed = max(self.confirmed, it.n)
        self._recent.pop(it.n, None)
        if self._in_flight < IN_FLIGHT // 2:
            self.pump()
        if self.confirmed >= self.last or self._in_flight == 0:
            self._idle.set()
            self._tell_confirmed(self.confirmed)
        if booked.said == Said.DONE:
            self._booked(it, booked)
