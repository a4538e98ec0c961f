"""One lane with its breaker and its window, and the calls that wait for room in the window.

Rule: `under_way` is the calls that entered and have not left. A waiter is handed its place by whoever makes room, in
order; one that gave up is passed over.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field

from gateway.core.overload.breaker import Admission, Breaker
from gateway.core.overload.waits import MOST_WAIT
from gateway.core.overload.window import Window

# A window is not a shut door: a call waits for others to end before it is refused.
PATIENCE = MOST_WAIT


@dataclass(slots=True)
class LaneState:
    breaker: Breaker = field(default_factory=Breaker)
    window: Window = field(default_factory=Window)
    headroom: dict[str, float] = field(default_factory=dict)
    look_again: float = 0.0  # when the limits in the answers' headers are read next
    _waiters: deque[asyncio.Future[None]] = field(default_factory=deque)

    async def enter(self, now: float, patience: float) -> Admission:
        """Come in, or learn for how long not to come again."""
        admission = self.breaker.admit(now)
        if admission.wait:
            return admission
        if self.window.has_room() and not self._waiters:
            self.window.under_way += 1
            return admission
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(min(patience, PATIENCE)):
                await waiter
        except TimeoutError:
            if not waiter.cancelled():  # served in the very turn in which its patience ended
                return admission
            return Admission(1.0)
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.leave()
            raise
        return admission

    def leave(self) -> None:
        self.window.under_way -= 1
        self.wake()

    def wake(self) -> None:
        """Let waiters in while there is room: after a call left, or after the window grew."""
        while self._waiters and self.window.has_room():
            waiter = self._waiters.popleft()
            if not waiter.done():
                self.window.under_way += 1
                waiter.set_result(None)

    @property
    def least_headroom(self) -> float:
        return min(self.headroom.values(), default=1.0)
