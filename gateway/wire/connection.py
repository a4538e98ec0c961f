"""One connection to an upstream: transport, flow control, deadlines.

Rule: a connection carries one exchange at a time and goes back to its pool only when the request was sent whole, the
answer ended by its own framing, and not one byte came after it. Anything else closes it at once. Every deadline of a
connection (send, head, body, idle) is one number and one lazy timer, so an exchange usually sets no timer at all.
"""

import asyncio
import math
import ssl
from collections.abc import AsyncIterator, Callable
from typing import cast

from gateway.core.http import Fault
from gateway.wire.answer import WireAnswer

SLICE = 256 * 1024  # of a big request body per write: a transport copies what the kernel does not take at once
ALONG = 64 * 1024  # up to here a copy is cheaper than a second write


class Connection(asyncio.Protocol):
    """`on_idle` is called when it may serve again, `on_gone` exactly once when it never will."""

    __slots__ = (
        "_answer",
        "_deadline",
        "_on_gone",
        "_on_idle",
        "_paused",
        "_sender",
        "_timer",
        "_timer_at",
        "_transport",
        "_writable",
        "alive",
        "born",
        "idle_seconds",
        "loop",
        "read_ahead",
        "served",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        read_ahead: int,
        idle_seconds: float,
        on_idle: "Callable[[Connection], None]",
        on_gone: "Callable[[Connection], None]",
    ) -> None:
        self.loop = loop
        self.read_ahead = read_ahead
        self.idle_seconds = idle_seconds
        self.born = loop.time()
        self.served = 0
        self.alive = True
        self._on_idle = on_idle
        self._on_gone = on_gone
        self._transport: asyncio.Transport | None = None
        self._answer: WireAnswer | None = None
        self._writable = True
        self._paused = False
        self._sender: asyncio.Future[None] | None = None
        self._deadline = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf

    # The exchange.

    def begin(self, first: bytes, answer: WireAnswer) -> None:
        """Start an exchange: `first` is the head, with a small body behind it to leave in the same write."""
        transport = self._transport
        if transport is None or self._answer is not None:
            raise RuntimeError("a connection carries one exchange at a time, and none before it is made")
        self._answer = answer
        self.served += 1
        self._deadline = math.inf
        transport.write(first)

    async def send_bytes(self, body: memoryview, answer: WireAnswer) -> None:
        await self._write(body, answer)
        if not answer.over:
            answer.sent()

    async def send_stream(self, body: AsyncIterator[bytes], length: int | None, answer: WireAnswer) -> None:
        """The iterator stays its owner's to close; what it raises passes. UpstreamFailed when it breaks `length`."""
        left = length
        if left == 0:
            answer.sent()
        while True:
            if answer.sending:
                self.due_in(answer.timeouts.idle)
            # A body that never waits must not keep the loop either: answer and loss are noticed only there.
            await asyncio.sleep(0)
            piece = await anext(body, None)
            if piece is None or answer.over:
                break
            if not piece:
                continue
            if left is None:
                await self._write_chunk(piece, answer)
                continue
            left -= len(piece)
            if left < 0:
                raise answer.send_failed("the request's body is longer than its length")
            await self._write(piece, answer)
            if left == 0 and not answer.over:
                answer.sent()  # not after the iterator's end: the answer may come before that
        if answer.over or not answer.sending:
            return
        if left is not None:
            raise answer.send_failed("the request's body is shorter than its length")
        await self._write(b"0\r\n\r\n", answer)
        if not answer.over:
            answer.sent()

    async def _write_chunk(self, piece: bytes, answer: WireAnswer) -> None:
        if len(piece) <= SLICE:
            await self._write(b"%x\r\n%b\r\n" % (len(piece), piece), answer)
        else:
            await self._write(b"%x\r\n" % len(piece), answer)
            await self._write(piece, answer)
            await self._write(b"\r\n", answer)

    async def _write(self, data: bytes | memoryview, answer: WireAnswer) -> None:
        """Write in slices, each after the one before has left; stop at an early answer or when the exchange broke."""
        view = data if len(data) <= SLICE else memoryview(data)
        for start in range(0, len(view), SLICE):
            if start:
                await asyncio.sleep(0)  # an upstream that takes everything at once must not keep the loop
            while not self._writable and not answer.over:
                self.due_in(answer.timeouts.idle)
                self._sender = self.loop.create_future()
                try:
                    await self._sender
                finally:
                    self._sender = None
            transport = self._transport
            if answer.over or transport is None:
                return
            transport.write(view if view is data else view[start : start + SLICE])

    def finished(self, *, keep: bool) -> None:
        """The exchange is over by its own framing."""
        transport = self._transport
        self._answer = None
        if not self.alive or transport is None:
            return
        # Bytes of the request still in the transport: the upstream answered without having read them.
        if not keep or transport.is_closing() or transport.get_write_buffer_size():
            self.drop()
            return
        self.resume_reading()  # a loop may deliver once more after a pause; an idle connection must see its end
        self.due_in(self.idle_seconds)
        self._on_idle(self)

    def usable(self, oldest_born: float) -> bool:
        transport = self._transport
        return self.alive and self.born > oldest_born and transport is not None and not transport.is_closing()

    def drop(self) -> None:
        """Close now, whatever flows. Not a graceful TLS end: that would keep the socket for a peer's answer."""
        if not self.alive:
            return
        self.alive = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        answer, self._answer = self._answer, None
        if self._transport is not None:
            self._transport.abort()
        if answer is not None:
            answer.broke("reset", "the client was closed")
        self._on_gone(self)

    # Flow.

    def pause_reading(self) -> None:
        transport = self._transport
        if not self._paused and transport is not None and not transport.is_closing():
            self._paused = True
            transport.pause_reading()

    def resume_reading(self) -> None:
        transport = self._transport
        if self._paused and transport is not None and not transport.is_closing():
            self._paused = False
            transport.resume_reading()

    def wake_sender(self) -> None:
        sender = self._sender
        if sender is not None and not sender.done():
            sender.set_result(None)

    # Deadlines.

    def due_in(self, seconds: float) -> None:
        """Something must happen within `seconds`. The timer is set only when the one that runs would come too late."""
        if seconds == math.inf:
            self._deadline = math.inf
            return
        self._deadline = deadline = self.loop.time() + seconds
        if deadline < self._timer_at or self._timer is None:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = deadline
            self._timer = self.loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._timer_at = math.inf
        if self._deadline == math.inf or not self.alive:
            return
        left = self._deadline - self.loop.time()
        if left > 0.0:
            self.due_in(left)
            return
        answer = self._answer
        if answer is not None:
            if not self._writable:
                answer.broke("timeout", "the upstream took no bytes")
            elif answer.sending:
                answer.broke("timeout", "the request's own body gave no bytes")
            else:
                answer.broke("timeout", "the upstream was silent")
        self.drop()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:
            self.drop()  # an idle connection that speaks is out of step
        else:
            answer.received(self, data)

    def eof_received(self) -> None:
        answer = self._answer
        if answer is None or self._transport is None:
            self.drop()
        elif _said_goodbye(self._transport):
            answer.ended(self)
        else:
            answer.broke("reset", "TCP ended before TLS did")
            self.drop()

    def connection_lost(self, exc: Exception | None) -> None:
        answer = self._answer
        if answer is not None:
            answer.broke(_fault(exc), type(exc).__name__ if exc is not None else "closed")
        self.drop()
        self._transport = None

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self.wake_sender()


def _fault(error: Exception | None) -> Fault:
    if isinstance(error, ssl.SSLError):
        return "tls"
    # The kernel's own: keep-alive probes or retransmissions without an answer.
    return "timeout" if isinstance(error, TimeoutError) else "reset"


def _said_goodbye(transport: asyncio.Transport) -> bool:
    """Whether the peer ended its TLS too. Event loops report both ends alike, but only TLS's own is the peer's word:
    anyone on the way can end TCP, and so cut a body that has no length."""
    tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    if tls is None:
        return True
    try:
        return tls.read(1) == b""
    except ssl.SSLZeroReturnError:
        return True
    except ssl.SSLError:
        return False
