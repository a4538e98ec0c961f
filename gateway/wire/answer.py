"""An upstream's answer as its reader holds it: `Answer` of gateway.core.http on our own wire.

Rule: once the framing came to its end, or the exchange broke, the answer lets go of its connection; from then on it
lives on what it has. So a connection may serve the next exchange while this one's last bytes still wait to be read.
"""

import asyncio
import math
from typing import Protocol

from gateway.core.http import Fault, Headers, Stage, Timeouts, UpstreamFailed
from gateway.wire.parsing import Malformed, ParsedAnswer


class Wire(Protocol):
    """What an answer asks of its connection."""

    loop: asyncio.AbstractEventLoop
    read_ahead: int
    served: int

    def due_in(self, seconds: float) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def wake_sender(self) -> None: ...
    def finished(self, *, keep: bool) -> None: ...
    def drop(self) -> None: ...


class WireAnswer:
    """`read` is for one task at a time."""

    __slots__ = (
        "_broken",
        "_held",
        "_loop",
        "_waiter",
        "_wire",
        "headers",
        "parsed",
        "reason",
        "reused",
        "sending",
        "sent_from",
        "status",
        "timeouts",
    )

    def __init__(self, wire: Wire, method: str, timeouts: Timeouts, head_limit: int) -> None:
        self.parsed = ParsedAnswer(method, head_limit)
        self.status = 0
        self.reason = b""
        self.headers: Headers = []
        self.reused = wire.served > 0
        self.timeouts = timeouts
        self.sending = True
        self._loop = wire.loop
        self.sent_from = wire.loop.time()
        self._wire: Wire | None = wire
        # The parts of the exception and not the exception: one that is kept ties its raiser's frames (and the
        # request's body with them) into a cycle.
        self._broken: tuple[Stage, Fault, str, float] | None = None
        self._held = 0
        self._waiter: asyncio.Future[None] | None = None

    @property
    def over(self) -> bool:
        """No more of the request is wanted: the final head is here, or the exchange broke."""
        return self.parsed.head_done or self._broken is not None

    async def head(self) -> None:
        """Wait until the final head is complete."""
        while not self.parsed.head_done:
            if self._broken is not None:
                raise self._failure(self._broken)
            await self.wait()
        self._due_in(math.inf)
        parsed = self.parsed
        self.status, self.reason, self.headers = parsed.status, parsed.reason, parsed.headers

    async def read(self) -> bytes:
        parsed = self.parsed
        pieces = parsed.pieces
        while not pieces:
            if parsed.complete:
                return b""
            if self._broken is not None:
                raise self._failure(self._broken)
            self._due_in(self.timeouts.idle)
            try:
                await self.wait()
            except BaseException:
                self.close()
                raise
            self._due_in(math.inf)  # the reader's own time is not the upstream's silence
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        if self._held and self._wire is not None:
            self._held = 0
            self._wire.resume_reading()
        return data

    async def arrives(self, within: float) -> bool:
        """Whether `read` would have something to say, bytes, the end or a failure, within so many seconds."""
        parsed = self.parsed
        timer: asyncio.TimerHandle | None = None
        until = self._loop.time() + within
        try:
            while not (parsed.pieces or parsed.complete or self._broken):
                if self._loop.time() >= until:
                    return False
                if timer is None:
                    timer = self._loop.call_at(until, self.wake)
                await self.wait()
        except BaseException:
            self.close()
            raise
        finally:
            if timer is not None:
                timer.cancel()
        return True

    def close(self) -> None:
        wire = self._wire
        if wire is not None:
            self.broke("reset", "closed by its reader before the end")
            wire.drop()

    async def wait(self) -> None:
        """Until something changed: head, bytes, end, failure, or a sender that is done."""
        if self._wire is None:
            return
        if self._waiter is not None:
            raise RuntimeError("two tasks read one answer")
        waiter = self._waiter = self._loop.create_future()
        try:
            await waiter
        finally:
            self._waiter = None

    # Called by the connection and the sender.

    def received(self, wire: Wire, data: bytes) -> None:
        parsed = self.parsed
        try:
            parsed.feed(data)
        except Malformed as fault:
            self.broke("protocol", str(fault))
            wire.drop()
            return
        if parsed.complete:
            self._wire = None
            wire.finished(keep=parsed.keep_alive and not parsed.surplus and not self.sending)
        elif parsed.head_done:  # a head has its own limit, and nobody to take it piece by piece
            self._held += len(data)
            if self._held > wire.read_ahead:
                wire.pause_reading()
        if parsed.head_done:
            self.wake()
            if self.sending:
                wire.wake_sender()

    def ended(self, wire: Wire) -> None:
        """The upstream closed its side."""
        if self.parsed.feed_eof():
            self._wire = None
            wire.finished(keep=False)
            self.wake()
        else:
            self.broke("reset", "closed before the end" if self.parsed.started else "closed without an answer")
            wire.drop()

    def broke(self, fault: Fault, detail: str) -> None:
        """Only the first break counts."""
        wire = self._wire
        if wire is None:
            return
        self._broken = (self._stage, fault, detail, self._loop.time() - self.sent_from)
        self._wire = None
        self.parsed.abandon()
        self.wake()
        wire.wake_sender()

    def send_failed(self, detail: str) -> UpstreamFailed:
        """What our own side finds wrong with the request."""
        return self._failure(("send", "protocol", detail, self._loop.time() - self.sent_from))

    def sent(self) -> None:
        """The request left whole."""
        self.sending = False
        if not self.parsed.head_done:
            self._due_in(self.timeouts.first_byte)

    def wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _due_in(self, seconds: float) -> None:
        if self._wire is not None:
            self._wire.due_in(seconds)

    @property
    def _stage(self) -> Stage:
        if self.parsed.head_done:
            return "body"
        return "send" if self.sending else "head"

    def _failure(self, broken: tuple[Stage, Fault, str, float]) -> UpstreamFailed:
        stage, fault, detail, seconds = broken
        return UpstreamFailed(stage, fault, detail, reused=self.reused, answered=self.parsed.started, seconds=seconds)
