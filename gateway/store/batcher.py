"""One connection to Redis on which all calls of a loop turn share one round trip.

Replies come in the order of the calls, so a caller that gives up leaves its place behind and disturbs nobody. A call
that waits longer than the timeout fails for its caller alone; the connection is given up only when nothing has come for
long. A driver's connection pool was measured at ten times the cost per call, and its retries would hide an outage.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import hiredis

from gateway.store.ledger import StoreDown

# Without any answer for so long, the way to the store is taken for broken and dialled again.
DEAD_SECONDS = 5.0

Reply = Any  # bytes, int, None or a list of these
Command = tuple[bytes | str | int, ...]


class ReplyError(Exception):
    """Redis refused a command; `code` is the first word: NOSCRIPT, MOVED, READONLY, OOM …"""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = text.partition(" ")[0]


class _Call:
    __slots__ = ("future", "patient", "sent")

    def __init__(self, future: asyncio.Future[Reply], sent: float, *, patient: bool) -> None:
        self.future = future
        self.sent = sent
        self.patient = patient


class Batcher(asyncio.Protocol):
    """A pipelined connection. `lost` is called once, with the reason, when it is gone."""

    def __init__(self, timeout: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self.lost: Callable[[str], None] = lambda reason: None
        self._reader = hiredis.Reader(replyError=ReplyError)
        self._out: list[bytes] = []
        self._pending: deque[_Call] = deque()
        self._watch: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._heard = time.monotonic()
        self.closed = ""  # why, once it is

    # -- calls

    def call(self, *command: bytes | str | int, patient: bool = False) -> asyncio.Future[Reply]:
        """Queue a command for this turn. The future fails with StoreDown or ReplyError; `patient` means no timeout."""
        future: asyncio.Future[Reply] = self._loop.create_future()
        if self.closed:
            future.set_exception(StoreDown(self.closed))
            return future
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(hiredis.pack_command(command))  # type: ignore[arg-type]  # its stub says tuples of one
        self._pending.append(_Call(future, self._loop.time(), patient=patient))
        if self._watch is None:
            self._watch = self._loop.call_later(self._timeout, self._look)
        return future

    @property
    def stalled(self) -> bool:
        """An answer is overdue: whoever asks now would only wait."""
        return bool(self._pending) and self._loop.time() - self._pending[0].sent > self._timeout

    @property
    def waiting(self) -> int:
        return len(self._pending)

    def close(self, reason: str = "closed") -> None:
        self._end(reason)
        if self._transport is not None:
            self._transport.abort()

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None and out and not self.closed:
            self._transport.write(b"".join(out))

    def _look(self) -> None:
        """Fail those who have waited too long, in one timer for all of them."""
        self._watch = None
        now = self._loop.time()
        if self._pending and now - max(self._pending[0].sent, self._heard) > DEAD_SECONDS:
            self.close(f"no answer for {DEAD_SECONDS:g} s")
            return
        wait = self._timeout
        for call in self._pending:
            left = call.sent + self._timeout - now
            if left > 0:
                wait = left
                break
            if not call.patient and not call.future.done():
                call.future.set_exception(StoreDown(f"no answer within {self._timeout * 1000:g} ms"))
        if self._pending:
            self._watch = self._loop.call_later(wait, self._look)

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._heard = self._loop.time()

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                call = self._pending.popleft()
                if call.future.done():
                    continue
                if isinstance(reply, ReplyError):
                    call.future.set_exception(reply)
                else:
                    call.future.set_result(reply)
        except (hiredis.ProtocolError, IndexError) as fault:
            self.close(f"not a Redis server, or an answer that nobody asked for: {fault}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(f"connection lost: {exc}" if exc else "the store closed the connection")

    def _end(self, reason: str) -> None:
        if self.closed:
            return
        self.closed = reason
        if self._watch is not None:
            self._watch.cancel()
        pending, self._pending = self._pending, deque()
        for call in pending:
            if not call.future.done():
                call.future.set_exception(StoreDown(reason))
        self.lost(reason)
