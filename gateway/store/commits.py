"""When the embedded store writes its file: soon after a settlement, many at once, in order, one at a time.

A batch that can't be written stays the next one's beginning, so nothing is written twice and nothing is lost. One
thread owns the file: it waits for disks, the loop never does.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from gateway.store.ledger import Observer, StoreDown
from gateway.store.spend import Batch, SpendFile

COMMIT_SECONDS = 0.05
COMMIT_EVENTS = 64
RETRY_SECONDS = 1.0

P = ParamSpec("P")
T = TypeVar("T")


class Commits:
    """The batch that is written next, and its way into the file.

    `before` sees to what must be on disk earlier and says up to which settlement the batch goes; `written` hears when
    that number is in the file.
    """

    def __init__(
        self, file: SpendFile, observer: Observer, *, before: Callable[[], int], written: Callable[[int], None]
    ) -> None:
        self.file = file
        self.batch = Batch()
        self.failing = False
        self._observer = observer
        self._before = before
        self._written = written
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spend")
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._lock = asyncio.Lock()

    async def in_thread(self, work: Callable[P, T], *args: P.args, **more: P.kwargs) -> T:
        """Do something with the file, after whatever is being done with it."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(*args, **more))

    def soon(self) -> None:
        if self.batch.events == COMMIT_EVENTS:
            self.at_once()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(COMMIT_SECONDS, self.at_once)

    def at_once(self) -> None:
        """Begin now, without waiting for it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        task = asyncio.get_running_loop().create_task(self.commit())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def surely(self) -> None:
        """Commit. Raises StoreDown when the file would not take it."""
        await self.commit()
        if self.failing:
            raise StoreDown("the spend file can't be written")

    async def commit(self) -> None:
        async with self._lock:
            upto, batch = self._before(), self.take()
            try:
                if batch:
                    await self.in_thread(self.file.write, batch)
            except sqlite3.Error as fault:
                batch.absorb(self.batch)
                self.batch = batch
                self._failed(fault)
                return
            if self.failing:
                self.failing = False
                self._observer.event("spend_back", {"path": str(self.file.path)})
            self._written(upto)
        if self.batch.events:
            self.soon()

    def take(self) -> Batch:
        batch, self.batch = self.batch, Batch()
        return batch

    async def last(self) -> None:
        """Write what is left."""
        if self._timer is not None:
            self._timer.cancel()
        await self.commit()

    async def close(self) -> None:
        """Let go of the file and its thread."""
        await self.in_thread(self.file.close)
        self._thread.shutdown()

    def _failed(self, fault: sqlite3.Error) -> None:
        if not self.failing:
            self.failing = True
            self._observer.event("spend_failing", {"path": str(self.file.path), "error": str(fault)})
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(RETRY_SECONDS, self.at_once)
