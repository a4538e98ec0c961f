"""Waiting for a limit instead of being refused by it (`max_wait_seconds`): one queue per bucket, in this process.

The head of a queue alone asks again, after the delay that its own refusal named; newcomers line up behind it. A request
that another bucket blocks meanwhile keeps its place. Across processes no order is promised.
"""

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field

from gateway.core.limits import Bucket, Claim, Granted, Refused, Verdict
from gateway.store.ledger import Ledger, StoreDown

# The clocks here and in the store tick apart: a retry that is a moment early is a round trip for nothing.
MARGIN_SECONDS = 0.002


@dataclass(eq=False, slots=True)
class _Waiter:
    claim: Claim
    until: float
    first: asyncio.Event = field(default_factory=asyncio.Event)
    last: Refused | None = None


class Waiting:
    """`admit` is `reserve` for those who may wait."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._queues: dict[tuple[str, str], deque[_Waiter]] = {}
        self._draining = asyncio.Event()

    @property
    def waiting(self) -> int:
        """How many requests wait now."""
        return sum(len(queue) for queue in self._queues.values())

    def drain(self) -> None:
        """Refuse everybody who waits, at once, and let nobody wait any more."""
        self._draining.set()
        for queue in self._queues.values():
            for waiter in queue:
                waiter.first.set()

    async def admit(self, claim: Claim, deadline: float) -> Verdict:
        """Reserve, waiting where the limit allows it, at most until `deadline` (of time.monotonic)."""
        now = time.monotonic()
        line = next((bucket for bucket, _ in claim.takes if _key(bucket) in self._queues and _waits(bucket)), None)
        refused = None
        if line is None or self._draining.is_set():
            verdict = await self._ledger.reserve(claim)
            if isinstance(verdict, Granted) or self._draining.is_set():
                return verdict
            refused, line = verdict, _waitable(verdict)
            if line is None:
                return verdict
        until = min(deadline, now + line.max_wait_seconds)
        if refused is not None and time.monotonic() + refused.retry_after_seconds > until:
            return refused  # waiting could not help
        return await self._wait(line, _Waiter(claim, until, last=refused))

    async def _wait(self, line: Bucket, waiter: _Waiter) -> Verdict:
        key = _key(line)
        queue = self._queues.setdefault(key, deque())
        queue.append(waiter)
        try:
            if queue[0] is not waiter:
                await _event(waiter.first, waiter.until)
                if queue[0] is not waiter or self._draining.is_set():
                    return waiter.last or await self._unasked(line, waiter, queue[0].last)
            return await self._at_the_head(waiter)
        finally:
            queue.remove(waiter)
            if queue:
                queue[0].first.set()
            elif self._queues.get(key) is queue:
                del self._queues[key]

    async def _at_the_head(self, waiter: _Waiter) -> Verdict:
        while True:
            if waiter.last is not None:
                delay = waiter.last.retry_after_seconds + MARGIN_SECONDS
                if time.monotonic() + delay > waiter.until:
                    return waiter.last
                await _event(self._draining, time.monotonic() + delay)
                if self._draining.is_set():
                    return waiter.last
            verdict = await self._ledger.reserve(waiter.claim)
            if isinstance(verdict, Granted) or _waitable(verdict) is None:
                return verdict
            waiter.last = verdict

    async def _unasked(self, line: Bucket, waiter: _Waiter, ahead: Refused | None) -> Refused:
        """The refusal of one whose turn never came. The levels are its own: the head may be another team's."""
        seconds = ahead.retry_after_seconds if ahead is not None else line.max_wait_seconds
        if self._draining.is_set():
            return Refused(line, seconds)
        try:
            found = await self._ledger.peek([bucket for bucket, _ in waiter.claim.takes], ())
        except StoreDown:
            return Refused(line, seconds)
        return Refused(line, seconds, found.levels)


def _key(bucket: Bucket) -> tuple[str, str]:
    return bucket.owner, bucket.field


def _waits(bucket: Bucket) -> bool:
    return bucket.max_wait_seconds > 0 and not bucket.shadow


def _waitable(refused: Refused) -> Bucket | None:
    """The bucket to wait for; None when the refusal is final: a budget, a reference, or a limit that does not wait."""
    by = refused.by
    return by if isinstance(by, Bucket) and _waits(by) and not refused.never else None


async def _event(event: asyncio.Event, until: float) -> None:
    """Wait for an event, or until a time of time.monotonic."""
    try:
        async with asyncio.timeout(max(0.0, until - time.monotonic())):
            await event.wait()
    except TimeoutError:
        return
