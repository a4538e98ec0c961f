"""The listener by itself: what a client sees when the handler above it fails."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from gateway.core.errors import GatewayError
from gateway.wire.incoming import Incoming
from gateway.wire.server import Server
from tests.raw import RawClient, request


@dataclass
class Listening:
    port: int = 0
    faults: list[str] = field(default_factory=list)


@asynccontextmanager
async def listening(handle: Callable[[Incoming], Awaitable[None]]) -> AsyncIterator[Listening]:
    state = Listening()

    def raw_error(error: GatewayError) -> bytes:
        return b"HTTP/1.1 %d -\r\ncontent-length: 0\r\n\r\n" % error.row.status

    server = Server(handle, raw_error=raw_error, faulted=lambda fault: state.faults.append(type(fault).__name__))
    state.port = await server.start("127.0.0.1", 0)
    yield state
    await server.stop()


@pytest.mark.parametrize("fault", [RuntimeError, TimeoutError])
async def test_handler_that_fails_before_its_answer(fault: type[Exception]) -> None:
    """A bug before the answer began is a 500 of ours and one report, whatever kind of exception it is."""

    async def handle(incoming: Incoming) -> None:
        raise fault("planted")

    async with listening(handle) as server, RawClient(server.port) as client:
        got = await client.ask("GET", "/")
        closed = await client.closed()

    assert (got.status, closed, server.faults) == (500, True, [fault.__name__])


async def test_handler_that_fails_in_its_answer() -> None:
    """A bug within an answer cuts it: a second head in the middle of a body would be read as the body."""

    async def handle(incoming: Incoming) -> None:
        incoming.begin(200, [], length=10, stream=False)
        await incoming.write(b"half ")
        raise RuntimeError("planted")

    async with listening(handle) as server, RawClient(server.port) as client:
        got = await client.ask("GET", "/")

    assert (got.status, got.body, got.ended, server.faults) == (200, b"half ", False, ["RuntimeError"])


async def test_request_behind_one_that_fails() -> None:
    """What was sent behind a request that failed is not handled: its client can't tell whose answer it reads."""
    seen: list[str] = []

    async def handle(incoming: Incoming) -> None:
        seen.append(incoming.target)
        raise RuntimeError("planted")

    async with listening(handle) as server, RawClient(server.port) as client:
        client.send(request("GET", "/1") + request("GET", "/2"))
        await client.answer("GET")
        closed = await client.closed()

    assert (seen, closed) == (["/1"], True)
