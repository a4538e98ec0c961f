"""What is our own client's alone: the sockets it makes, and what it leaves to the garbage collector."""

import asyncio
import gc
import socket
from collections.abc import Callable
from typing import Any

import pytest

from gateway.core.http import Origin, Outgoing, UpstreamFailed
from gateway.wire.connection import Connection
from gateway.wire.dial import dial
from tests.wire.client.asking import SOON, Make, Start, get, post, stream, whole
from tests.wire.scripted import answer, chunked, close, read_request, send, serve


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
            await whole(await client.open(ask(upstream.origin), SOON))
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
