"""Failures on the way to an answer: each has its stage and its fault, and leaves no connection behind."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from gateway.core.http import Client, Origin, Outgoing, Timeouts
from tests.wire.client.asking import SOON, Make, Start, Tls, failure, get, how, post, stream, whole
from tests.wire.scripted import (
    Scripted,
    answer,
    chunked,
    close,
    pour,
    read_head,
    read_request,
    reset,
    send,
    serve,
    stall,
)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of ours on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port that leaves connection attempts unanswered: its queue is full, so the kernel drops them."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(listener.getsockname())
        yield listener.getsockname()[1]


async def test_nobody_listens(make_client: Make, closed_port: int) -> None:
    """Refused connections say where."""
    failed = await failure(make_client().open(get(Origin("http", "127.0.0.1", closed_port)), SOON))

    assert ("connect", "refused", False, False) == how(failed)
    assert f"127.0.0.1 port {closed_port}: Connect call failed" in failed.detail or "refused" in failed.detail.lower()


async def test_the_host_has_no_address(make_client: Make) -> None:
    """A name that does not resolve is "dns". (One of 304 characters fails without anyone being asked.)"""
    failed = await failure(make_client().open(get(Origin("http", "a." * 150 + "test", 80)), SOON))

    assert ("connect", "dns", False, False) == how(failed)


async def test_connecting_takes_too_long(make_client: Make, deaf_port: int) -> None:
    """An upstream that does not answer the TCP handshake is a timeout of stage "connect"."""
    client = make_client(connections=1)
    for _ in range(2):  # the second finds the place free again
        failed = await failure(client.open(get(Origin("http", "127.0.0.1", deaf_port)), Timeouts(connect=0.05)))
        assert ("connect", "timeout", False, False) == how(failed)
        assert "connecting" in failed.detail


@pytest.mark.parametrize(
    ("sent", "answered"),
    [(b"", False), (b"HTTP/1.1 200 OK\r\nX:", True), (b"HTTP/1.1 103 Early Hints\r\n\r\n", True)],
    ids=["nothing", "half a head", "hints"],
)
@pytest.mark.parametrize("body", [None, b"x" * 300_000, "stream"])
async def test_no_head_in_time(make_client: Make, scripted: Start, sent: bytes, answered: bool, body: Any) -> None:
    """Until the final head is complete `first_byte` counts: stage "head", fault "timeout"."""
    upstream = await scripted([read_request(), send(sent), stall()])
    body = stream(b"abc") if body == "stream" else body
    client = make_client()

    failed = await failure(client.open(post(upstream.origin, body), Timeouts(5.0, first_byte=0.15, idle=5.0)))

    assert ("head", "timeout", False, answered) == how(failed)
    assert failed.seconds > 0.14


_WHOLE = {"length": answer(b"hello"), "chunked": chunked(b"he", b"llo", trailers=[b"T: 1"])}


@pytest.mark.parametrize("end", [close, reset])
@pytest.mark.parametrize("framing", _WHOLE)
async def test_an_answer_cut_at_any_byte_is_a_failure(
    make_client: Make, scripted: Start, framing: str, end: Callable[[], Any]
) -> None:
    """Whichever byte is the last before a close or a reset, the exchange fails: in its head or in its body."""
    wire = _WHOLE[framing]
    upstream = await scripted(*[[read_request(), send(wire[:cut]), end()] for cut in range(len(wire))])
    client = make_client()
    for cut in range(len(wire)):
        stages = ("body", "head") if end is reset else ("body",) if cut >= wire.index(b"\r\n\r\n") + 4 else ("head",)
        failed = await failure(_exchange(client, upstream))
        assert (True, "reset") == (failed.stage in stages, failed.fault), wire[:cut]
    await upstream.settled()


async def _exchange(client: Client, upstream: Scripted) -> bytes:
    return await whole(await client.open(get(upstream.origin), SOON))


async def _endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 65_536


async def _silent() -> AsyncIterator[bytes]:
    yield b"x"
    await asyncio.Event().wait()


# Where a caller can be when it is cancelled: the script that keeps it there, and what it asks.
_WAITS: dict[str, tuple[list[Any], Callable[[Origin], Outgoing]]] = {
    "head": ([read_request(), stall()], get),
    "half a head": ([read_request(), send(b"HTTP/1.1 200 OK\r\nX:"), stall()], get),
    "sending bytes": ([read_head(), stall()], lambda origin: post(origin, b"x" * (64 << 20))),
    "sending a stream": ([read_head(), stall()], lambda origin: post(origin, _endless())),
    "waiting for a stream": ([read_head(), stall()], lambda origin: post(origin, _silent(), 10)),
    "body": ([read_request(), send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"), stall()], get),
    "body, chunked": ([read_request(), send(chunked(b"abc")[:-5]), stall()], get),
    "body, poured": ([read_request(), send(b"HTTP/1.1 200 OK\r\n\r\n"), pour(1 << 40)], get),
}


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("where", _WAITS)
async def test_cancelling_closes_the_connection_and_leaks_nothing(
    make_client: Make, scripted: Start, tls: Tls, where: str, secure: bool
) -> None:
    """A cancelled caller's connection is gone at once, and its place is free for the next."""
    script, ask = _WAITS[where]
    upstream = await scripted(script, [serve(answer(b"ok"))], tls=tls.server if secure else None)
    client = make_client(connections=1, tls=tls.client)

    async def asked() -> None:
        await whole(await client.open(ask(upstream.origin), SOON))

    task = asyncio.ensure_future(asked())
    await upstream.asked()
    await asyncio.sleep(0.02)  # into the wait itself; earlier or later must do no harm either
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert b"ok" == await whole(await client.open(get(upstream.origin), SOON))
    await client.close()
    await upstream.settled()


@pytest.mark.parametrize("kind", ["get", "bytes", "stream"])
async def test_cancelling_at_any_turn_of_the_loop(make_client: Make, scripted: Start, kind: str) -> None:
    """However far an exchange came when it is cancelled, the only place of the pool is free afterwards."""
    upstream = await scripted([serve(answer(b"ok"))])
    client = make_client(connections=1)
    bodies = {"get": lambda: None, "bytes": lambda: b"x" * 300_000, "stream": lambda: stream(b"a" * 70_000, b"b")}
    finished = 0
    for turns in range(120):
        task = asyncio.ensure_future(_asked(client, post(upstream.origin, bodies[kind]())))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            finished += await task == b"ok"
    last = await whole(await client.open(get(upstream.origin), SOON))
    await client.close()
    await upstream.settled()

    assert b"ok" == last
    assert finished > 0, "no exchange came to its end: the turns do not reach far enough"


async def _asked(client: Client, out: Outgoing) -> bytes:
    return await whole(await client.open(out, SOON))


async def test_cancelling_while_connecting(make_client: Make, deaf_port: int) -> None:
    """A caller cancelled in the TCP handshake leaves its place."""
    client = make_client(connections=1)
    origin = Origin("http", "127.0.0.1", deaf_port)
    for _ in range(3):
        task = asyncio.ensure_future(client.open(get(origin), SOON))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    failed = await failure(client.open(get(origin), Timeouts(connect=0.05)))

    assert "connecting" in failed.detail, "the place was free"


async def test_messages_hold_no_secret(make_client: Make, scripted: Start) -> None:
    """What a failure says can be logged: no header value, no body, nothing of what the upstream sent."""
    secrets = (b"made-up", b"prompt-text", b"upstream-text")
    scripts = [
        [read_request(), send(b"HTTP/1.1 200 OK\r\nContent-Length: upstream-text\r\n\r\n")],
        [read_request(), send(b"upstream-text")],
        [read_request(), close()],
        [read_request(), reset()],
        [read_request(), stall()],
    ]
    upstream = await scripted(*scripts)
    client = make_client()
    for _ in scripts:
        failed = await failure(client.open(post(upstream.origin, b"prompt-text"), Timeouts(5.0, 0.1, 5.0)))
        said = f"{failed!r} {failed} {vars(failed)}".encode()
        assert [] == [secret for secret in secrets if secret in said]
