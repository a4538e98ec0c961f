"""Upstreams that outlive their client: for teams with `on_disconnect: drain`, so that the true usage is charged.

What a client leaves behind is handed to a task of its own, at most so many at once; over the cap it is cancelled and
charged by estimate like everywhere else. Either way there is exactly one settlement: whoever holds the exchange last.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from gateway.core.errors import GatewayError
from gateway.core.exchange import PENDING, Exchange
from gateway.core.http import Answer, Headers, UpstreamFailed
from gateway.relay import Tap, tap_of

MOST_DRAINS = 200

End = Callable[[Tap | None], None]


class Outlasting:
    """An answer whose reading is not lost when its reader is cancelled: the next `read` goes on with it."""

    def __init__(self, answer: Answer) -> None:
        self.status = answer.status
        self.reason = answer.reason
        self.headers: Headers = answer.headers
        self.reused = answer.reused
        self._answer = answer
        self._reading: asyncio.Task[bytes] | None = None

    async def read(self) -> bytes:
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._answer.read())
        chunk = await asyncio.shield(self._reading)
        self._reading = None
        return chunk

    def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        self._answer.close()


class Drains:
    """The upstreams that run on without a client."""

    def __init__(self, most: int = MOST_DRAINS) -> None:
        self._most = most
        self._sending: dict[str, asyncio.Task[Answer]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def running(self) -> int:
        return len(self._tasks)

    async def outlast(self, x: Exchange, send: Coroutine[Any, Any, Answer]) -> Answer:
        """Send so that a client that leaves before the head does not end it."""
        task = self._sending[x.id] = asyncio.create_task(send)
        try:
            answer = await asyncio.shield(task)
        except asyncio.CancelledError:
            raise  # perhaps in the moment the answer came: whoever ends the exchange finds it
        except BaseException:
            self._sending.pop(x.id, None)
            raise
        self._sending.pop(x.id, None)
        return Outlasting(answer)

    def take_over(self, x: Exchange, answer: Answer | None, tap: Tap | None, end: End) -> bool:
        """Go on for a client that left. False: there is nothing to go on with, or no room for it."""
        # What begins work is never given up: nobody else would learn what it began.
        if len(self._tasks) >= self._most and x.work is None:
            return False
        sending = self._sending.pop(x.id, None)
        if sending is None and not isinstance(answer, Outlasting):
            return False
        task = asyncio.create_task(self._drain(x, answer, sending, tap, end))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    def let_go(self, x: Exchange) -> None:
        """End a call that nobody waits for and nobody took over. What went out may have been charged."""
        sending = self._sending.pop(x.id, None)
        if sending is None:
            return
        if not sending.done():
            sending.cancel()
            sending.add_done_callback(_heard)
            under_way = bool(x.attempts) and x.attempts[-1].outcome == PENDING
        elif sending.cancelled() or sending.exception() is not None:
            return  # it has said on the exchange what may have been charged
        else:
            sending.result().close()
            under_way = True
        if under_way:
            x.unanswered = "cancelled"

    async def _drain(
        self,
        x: Exchange,
        answer: Answer | None,
        sending: asyncio.Task[Answer] | None,
        tap: Tap | None,
        end: End,
    ) -> None:
        x.body_ended = "cancelled"
        try:
            if answer is None:
                assert sending is not None
                answer = await sending
            tap = tap or tap_of(x, answer)
            while chunk := await answer.read():
                tap.feed(chunk)
            x.body_ended = "ok"
        except (UpstreamFailed, GatewayError):
            x.body_ended = "cut"
        finally:
            if answer is not None:
                answer.close()
            end(tap)

    async def stop(self, seconds: float) -> None:
        """Give what still runs so long, then cancel it: it is charged by what was seen."""
        if not self._tasks:
            return
        tasks = list(self._tasks)
        _, late = await asyncio.wait(tasks, timeout=seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _heard(sending: asyncio.Task[Answer]) -> None:
    """Nobody asks any more how it ended."""
    if not sending.cancelled():
        sending.exception()
