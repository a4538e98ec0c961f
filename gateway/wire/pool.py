"""The connections to one origin: which is used next, how many there may be, who waits.

Rule: `_count` is the connections that live or are being made, and never exceeds `limit`. A waiter is served in order;
what it is given is either a connection or the right to make one, and a waiter that was cancelled passes it on.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway.core.http import UpstreamFailed
from gateway.wire.connection import Connection


@dataclass(frozen=True, slots=True)
class PoolLimits:
    connections: int = 1000  # per origin
    idle_seconds: float = 15.0  # below the 60-75 s of usual servers and load balancers: we close first
    age_seconds: float = 300.0  # a new connection asks DNS again
    head_bytes: int = 512 * 1024
    read_ahead: int = 128 * 1024  # of an answer's body nobody has read yet


Dial = Callable[[Callable[[], Connection]], Awaitable[Connection]]


class Pool:
    def __init__(self, limits: PoolLimits, dial: Dial) -> None:
        self._limits = limits
        self._dial = dial
        self._loop = asyncio.get_running_loop()
        self._idle: dict[Connection, None] = {}  # in the order of release; the newest is used first
        self._alive: set[Connection] = set()
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._count = 0
        self._closed = False

    async def acquire(self, within: float) -> Connection:
        """A connection ready to serve. The wait for a place, DNS, TCP, TLS and a proxy all count against `within`."""
        found = self._idle_one()
        if found is not None:
            return found
        doing = "waiting for a free connection"
        try:
            async with asyncio.timeout(within):
                while self._count >= self._limits.connections:
                    waited = await self._turn()
                    if waited is None:
                        break
                    if waited.usable(self._oldest()):
                        return waited
                    waited.drop()  # it died or grew old between its release and our turn
                else:
                    self._count += 1
                doing = "connecting"
                try:
                    return await self._make()
                except BaseException:
                    self._free_place()
                    raise
        except TimeoutError:
            raise UpstreamFailed("connect", "timeout", f"{within:g} s over while {doing}") from None

    def close(self) -> None:
        self._closed = True
        for connection in list(self._alive):
            connection.drop()
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(_closed())

    async def _make(self) -> Connection:
        self._refuse_when_closed()
        connection = await self._dial(self._new)
        try:
            self._refuse_when_closed()
        except UpstreamFailed:
            connection.drop()
            raise
        if not connection.alive:
            raise UpstreamFailed("connect", "reset", "closed as soon as it was made")
        self._alive.add(connection)
        return connection

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise _closed()

    def _new(self) -> Connection:
        limits = self._limits
        return Connection(
            self._loop,
            read_ahead=limits.read_ahead,
            idle_seconds=limits.idle_seconds,
            on_idle=self._release,
            on_gone=self._gone,
        )

    def _idle_one(self) -> Connection | None:
        idle = self._idle
        while idle:
            connection, _ = idle.popitem()
            if connection.usable(self._oldest()):
                return connection
            connection.drop()
        return None

    def _oldest(self) -> float:
        return self._loop.time() - self._limits.age_seconds

    async def _turn(self) -> Connection | None:
        waiter: asyncio.Future[Connection | None] = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                self._waiters.remove(waiter)
            else:  # served and cancelled in the same turn of the loop
                given = waiter.result()
                if given is None:
                    self._free_place()
                elif given.alive:
                    self._release(given)
            raise

    def _release(self, connection: Connection) -> None:
        if self._closed or not connection.usable(self._oldest()):
            connection.drop()
            return
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.set_result(connection)
        else:
            self._idle[connection] = None

    def _gone(self, connection: Connection) -> None:
        self._idle.pop(connection, None)
        if connection in self._alive:  # else its making failed, and `acquire` gives the place back
            self._alive.discard(connection)
            self._free_place()

    def _free_place(self) -> None:
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.set_result(None)  # the place passes on: the count stays
        else:
            self._count -= 1

    def _next_waiter(self) -> "asyncio.Future[Connection | None] | None":
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                return waiter
        return None


def _closed() -> UpstreamFailed:
    return UpstreamFailed("connect", "reset", "the client is closed")
