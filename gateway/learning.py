"""What this process learned goes to the others once a minute, and what they learned comes back.

A share that failed is made again as it was, then what came up meanwhile: the store adds each once. Learning is never
worth a request: whatever fails here is told once, and the estimates stay what this process knows.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from gateway.core.day_sums import KEPT_DAYS, SECONDS_PER_DAY, DaySums
from gateway.store.ledger import Ledger, StoreDown

SHARE_SECONDS = 60.0
STOP_SECONDS = 2.0


class Told(Protocol):
    def event(self, name: str, facts: Mapping[str, object]) -> None: ...

    def faulted(self, fault: BaseException | None, request_id: str | None = None) -> None: ...


class Sharing:
    """Shares one process's sums, at the start, each minute and at the end."""

    def __init__(
        self,
        sums: DaySums,
        ledger: Ledger,
        *,
        told: Told,
        seconds: float = SHARE_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sums = sums
        self._ledger = ledger
        self._told = told
        self._seconds = seconds
        self._clock = clock
        self._failing: set[str] = set()  # kinds of failure that were told since the last success
        self._read_on = -1  # the day on which all days were read; later ones change today and yesterday only
        self._over = asyncio.Event()
        self._one = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Share a last time, if that goes quickly."""
        self._over.set()
        if self._task is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await self._task  # not cancelled while a share is under way: whether it was added would be unknown
                await self.share()

    async def share(self) -> None:
        """Add and read once. Never raises."""
        async with self._one:
            again = bool(self._failing)
            try:
                await self._share()
                if again:
                    await self._share()  # what came up since the one that had to be repeated
            except StoreDown as down:
                if self._new("StoreDown"):
                    self._told.event("learning_not_shared", {"reason": str(down)})
            except Exception as fault:  # noqa: BLE001  # a bug here must not end the learning, nor the stop of the process
                if self._new(type(fault).__name__):
                    self._told.faulted(fault)
            else:
                self._failing.clear()

    async def _share(self) -> None:
        today = int(self._clock() // SECONDS_PER_DAY)
        first = today - 1 if self._read_on == today else today - KEPT_DAYS + 1
        stored = await self._ledger.share(self._sums.take(), range(first, today + 1))
        self._sums.confirm()
        for day, fields in stored.items():
            self._sums.refresh(day, fields)
        self._read_on = today

    def _new(self, kind: str) -> bool:
        known = kind in self._failing
        self._failing.add(kind)
        return not known

    async def _run(self) -> None:
        while not self._over.is_set():
            await self.share()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._seconds):
                    await self._over.wait()
