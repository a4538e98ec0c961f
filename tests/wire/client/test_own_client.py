"""What is our own client's alone: the sockets it makes, and what it leaves to the garbage collector."""

import asyncio
import gc
import socket
from collections.abc import Callable
from typing import Any

import pytest

from gateway.core.http import Client, Origin, Outgoing, UpstreamFailed
from gateway.wire.connection import Connection
from gateway.wire.dial import dial
from tests.wire.client.asking import SOON, Make, Start, get, post, stream, whole
from tests.wire.scripted import answer, chunked, close, read_request, send, serve, stall, stop_reading, until


async def test_sockets_are_tuned(scripted: Start) -> None:
    """No delay for small writes; probes after 60 s, every 60 s, 5 times, keep a silent stream in NAT tables."""
    upstream = await scripted([serve(answer())])
    made = await dial(upstream.origin, None, None, _connection)
    raw = made._transport.get_extra_info("socket") if made._transport is not None else None
    assert raw is not None
    tcp = [socket.TCP_NODELAY, *(getattr(socket, f"TCP_KEEP{name}", None) for name in ("IDLE", "INTVL", "CNT"))]
    options = [raw.getsockopt(socket.IPPROTO_TCP, option) for option in tcp if option is not None]
    alive = raw.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    made.drop()

    assert (True, [True, 60, 60, 5][: len(options)]) == (bool(alive), [bool(options[0]), *options[1:]])


def _connection() -> Connection:
    def nothing(connection: Connection) -> None:
        pass

    return Connection(asyncio.get_running_loop(), read_ahead=65536, idle_seconds=15.0, on_idle=nothing, on_gone=nothing)


async def test_a_name_with_several_addresses(make_client: Make, scripted: Start) -> None:
    """Every address of a name is tried: `localhost` is found on IPv4 although it may mean ::1 first."""
    upstream = await scripted([serve(answer(b"ok"))])
    got = await make_client().open(get(Origin("http", "localhost", upstream.port)), SOON)

    assert b"ok" == await whole(got)


_EXCHANGES: dict[str, tuple[list[Any], Callable[[Origin], Outgoing]]] = {
    "plain": ([serve(answer(b"ok"))], get),
    "chunked": ([serve(chunked(b"a", b"b"))], get),
    "big": ([serve(answer(b"ok"))], lambda origin: post(origin, b"x" * 300_000)),
    "stream": ([serve(answer(b"ok"))], lambda origin: post(origin, stream(b"x" * 300_000))),
    "cut": ([read_request(), send(chunked(b"abc")[:-5]), close()], get),
    "unanswered": ([read_request(), close()], get),
    "malformed": ([read_request(), send(b"nonsense\r\n")], get),
}


@pytest.mark.parametrize("kind", _EXCHANGES)
async def test_exchanges_leave_no_cycles(make_client: Make, scripted: Start, kind: str) -> None:
    """What an exchange held (a body of 30 MB, say) is free when it ends, not when the cyclic collector comes by."""
    script, ask = _EXCHANGES[kind]
    upstream = await scripted(script)
    client = make_client()

    async def exchange() -> None:
        try:
            await _exchange(client, ask(upstream.origin))
        except UpstreamFailed:
            assert kind in ("cut", "unanswered", "malformed")

    await exchange()
    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            await exchange()
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        ours = {type(thing).__name__ for thing in gc.garbage if type(thing).__module__.startswith("gateway.")}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()

    assert set() == ours


async def test_a_connection_that_ended_while_idle_is_forgotten(make_client: Make, scripted: Start) -> None:
    """The pool keeps nothing of connections that are gone, also when no later request looks for one."""
    go = asyncio.Event()
    upstream = await scripted([read_request(), send(answer(b"ok")), until(go), close()])
    client = make_client()
    await asyncio.gather(*[_exchange(client, get(upstream.origin)) for _ in range(3)])
    kept = _connections()
    go.set()
    await upstream.settled()
    gc.collect()

    assert (3, 0) == (kept, _connections())


async def _exchange(client: Client, out: Outgoing) -> bytes:
    return await whole(await client.open(out, SOON))


async def test_a_body_that_is_still_leaving_is_not_sent(make_client: Make, scripted: Start) -> None:
    """What waits in the transport when the answer is whole has not been taken: no next request may queue behind it."""
    go = asyncio.Event()
    upstream = await scripted(
        [read_request(), send(answer(b"ok")), stop_reading(), until(go), send(answer(b"early")), stall()],
        [serve(answer(b"ok"))],
        buffer=4096,
    )
    client = make_client()
    await _exchange(client, get(upstream.origin))
    (connection,) = (thing for thing in gc.get_objects() if type(thing) is Connection and thing.alive)
    assert connection._transport is not None
    connection._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    asked = asyncio.ensure_future(client.open(post(upstream.origin, b"x" * (1 << 18)), SOON))
    await asyncio.sleep(0)
    go.set()
    early = await asked
    after = await client.open(get(upstream.origin), SOON)

    assert (True, b"early", False, b"ok") == (early.reused, await whole(early), after.reused, await whole(after))


def _connections() -> int:
    return sum(type(thing) is Connection for thing in gc.get_objects())
