"""One connection to an upstream: transport, flow control, deadlines.

Rule: a connection carries one exchange at a time and goes back to its pool only when the request was sent whole, the
answer ended by its own framing, and not one byte came after it. Anything else closes it at once. Every deadline of a
connection (send, head, body, idle) is one number and one lazy timer, so an exchange usually sets no timer at all.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from typing import cast

from gateway.core.http import UpstreamFailed
from gateway.wire.answer import WireAnswer

SLICE = 256 * 1024  # of a big request body per write: what a transport may hold as a copy
ALONG = 64 * 1024  # up to here a body travels in one write with the head


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

    def begin(
        self,
        head: bytes,
        body: bytes | bytearray | memoryview | None,
        answer: WireAnswer,
    ) -> None:
        """Start an exchange: the head leaves, and a small body with it in the same write."""
        transport = self._transport
        assert transport is not None
        assert self._answer is None, "a connection carries one exchange at a time"
        self._answer = answer
        self.served += 1
        self._deadline = math.inf
        transport.write(b"".join((head, body)) if body else head)

    async def send_bytes(self, body: memoryview, answer: WireAnswer) -> None:
        for start in range(0, body.nbytes, SLICE):
            if answer.over:
                return  # an early answer, or a broken exchange: the rest is not wanted
            await self._write(body[start : start + SLICE], answer)
        if not answer.over:
            answer.sent()

    async def send_stream(self, body: AsyncIterator[bytes], length: int | None, answer: WireAnswer) -> None:
        left = length
        self.due_in(answer.timeouts.idle)
        async for piece in body:
            if answer.over:
                return
            if not piece:
                continue
            if left is None:
                await self._write(b"%x\r\n%b\r\n" % (len(piece), piece), answer)
            else:
                left -= len(piece)
                if left < 0:
                    raise self._wrong_length(answer, "longer")
                await self._write(piece, answer)
            self.due_in(answer.timeouts.idle)
        if answer.over:
            return
        if left:
            raise self._wrong_length(answer, "shorter")
        if left is None:
            await self._write(b"0\r\n\r\n", answer)
        if not answer.over:
            answer.sent()

    def _wrong_length(self, answer: WireAnswer, how: str) -> UpstreamFailed:
        seconds = self.loop.time() - answer.sent_from
        return UpstreamFailed(
            "send",
            "protocol",
            f"the request's body is {how} than its length",
            reused=answer.reused,
            seconds=seconds,
        )

    async def _write(self, data: bytes | memoryview, answer: WireAnswer) -> None:
        assert self._transport is not None
        self._transport.write(data)
        if self._writable or answer.over:
            return
        self.due_in(answer.timeouts.idle)
        self._sender = self.loop.create_future()
        try:
            await self._sender
        finally:
            self._sender = None

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
        self.resume_reading()  # an idle connection must see its end
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
            answer.broke(
                "timeout",
                "the upstream was silent" if self._writable else "the upstream took no bytes",
            )
        self.drop()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:
            self.drop()  # an idle connection that speaks is out of step
        else:
            answer.received(data)

    def eof_received(self) -> None:
        answer = self._answer
        if answer is None:
            self.drop()
        else:
            answer.ended()

    def connection_lost(self, exc: Exception | None) -> None:
        answer = self._answer
        if answer is not None:
            answer.broke("reset", type(exc).__name__ if exc is not None else "closed")
        self.drop()

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self.wake_sender()
