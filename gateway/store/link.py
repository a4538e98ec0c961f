"""Keeps one connection to the store up and agreed with it: dial, load the scripts, agree, renew; then again.

`agree` is the ledger's: it renews the lease and learns epoch and numbers. It runs on every new connection before the
link is ready, every few seconds, and whenever somebody calls `doubt`.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from gateway.store.address import Dialler
from gateway.store.batcher import Batcher, ReplyError
from gateway.store.ledger import StoreDown, StoreUnfit
from gateway.store.scripts import ALL, Script

BACKOFF_SECONDS = (0.02, 1.0)
DIAL_SECONDS = 3.0
AGREE_SECONDS = 30.0  # a long backlog of settlements is sent within an agreement

Agree = Callable[[Batcher, bool], Awaitable[None]]


class Link:
    """The way to the store. `ready` says whether new reserves may take it."""

    def __init__(self, dialler: Dialler, agree: Agree, *, renew_seconds: float, lost: Callable[[], None]) -> None:
        self._dialler = dialler
        self._agree = agree
        self._renew_seconds = renew_seconds
        self._lost = lost
        self._wake = asyncio.Event()
        self._doubtful = False
        self._first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.batcher: Batcher | None = None
        self.ready = False
        self.fault = "not connected yet"

    async def first_try(self, seconds: float) -> None:
        """Wait for the first connection to succeed or fail. Raises StoreUnfit; a store that is away raises nothing."""
        await asyncio.wait([self._first], timeout=seconds)
        if self._first.done():
            self._first.result()

    async def run(self) -> None:
        """Until cancelled."""
        backoff = BACKOFF_SECONDS[0]
        while True:
            try:
                async with asyncio.timeout(DIAL_SECONDS):
                    self.batcher = await self._dialler.dial(self._gone)
                await self._load()
                await self._agreed(self.batcher, fresh=True)
                backoff = BACKOFF_SECONDS[0]
                await self._keep(self.batcher)
            except (StoreDown, ReplyError, TimeoutError) as fault:
                self.fault = str(fault) or "no answer in time"
                self._tried(None)
            except StoreUnfit as unfit:
                # At the start this is told; later the old settings go on being tried, without the store.
                self.fault = str(unfit)
                self._tried(unfit)
            finally:
                self._down()
            await asyncio.sleep(backoff * random.uniform(0.5, 1))  # noqa: S311  # spreads reconnects, hides nothing
            backoff = min(backoff * 2, BACKOFF_SECONDS[1])

    def doubt(self, reason: str) -> None:
        """Something the store said does not fit what we know of it: agree again before the next reserve."""
        self.fault = reason
        self.ready = False
        self._doubtful = True
        self._wake.set()

    def renew_now(self) -> None:
        """Something was changed that every process learns with its next renewal; this one need not wait for it."""
        self._wake.set()

    def distrust(self, reason: str) -> None:
        """This server can't serve us: leave it and look for the right one."""
        if self.batcher is not None:
            self.batcher.close(reason)

    async def script(self, script: Script, keys: list[bytes], args: list[bytes | str | int], **how: bool) -> list[Any]:
        """Run a script by its digest, and by its text where the server has forgotten it. Raises StoreDown."""
        batcher = self.batcher
        if batcher is None:
            raise StoreDown(self.fault)
        try:
            try:
                reply = await batcher.call("EVALSHA", script.sha, len(keys), *keys, *args, **how)
            except ReplyError as error:
                if error.code != "NOSCRIPT":
                    raise
                reply = await batcher.call("EVAL", script.text, len(keys), *keys, *args, **how)
        except ReplyError as error:
            self.distrust(str(error))
            raise StoreDown(str(error)) from error
        answer: list[Any] = msgspec.msgpack.decode(reply)
        return answer

    async def _load(self) -> None:
        assert self.batcher is not None
        for script in ALL:
            await self.batcher.call("SCRIPT", "LOAD", script.text, patient=True)

    async def _agreed(self, batcher: Batcher, *, fresh: bool) -> None:
        async with asyncio.timeout(AGREE_SECONDS):
            await self._agree(batcher, fresh)
        if not self._doubtful:
            self.ready = True
            self.fault = ""
            self._tried(None)

    async def _keep(self, batcher: Batcher) -> None:
        while not batcher.closed:
            if not self._doubtful:
                self._wake.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._renew_seconds):
                        await self._wake.wait()
            doubtful, self._doubtful = self._doubtful, False
            if doubtful:
                await asyncio.sleep(BACKOFF_SECONDS[0])  # a doubt that comes back at once must not spin
                await self._load()
            await self._agreed(batcher, fresh=doubtful)
        raise StoreDown(batcher.closed)

    def _gone(self, reason: str) -> None:
        self.ready = False
        self.fault = reason
        self._wake.set()
        self._lost()

    def _down(self) -> None:
        self.ready = False
        self._doubtful = False
        if self.batcher is not None:
            self.batcher.close(self.fault or "closed")
            self.batcher = None

    def _tried(self, fault: StoreUnfit | None) -> None:
        if self._first.done():
            return
        if fault is None:
            self._first.set_result(None)
        else:
            self._first.set_exception(fault)
