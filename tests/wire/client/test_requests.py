"""Requests as they reach the upstream: every kind of body, answers that come early, bodies that break."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.core.http import Outgoing, Timeouts
from tests.wire.client.asking import SOON, Make, Start, Tls, failure, get, how, post, stream, whole
from tests.wire.scripted import (
    answer,
    close,
    half_close,
    read_exactly,
    read_head,
    read_request,
    reset,
    send,
    serve,
    stall,
    tell,
    until,
)

BIG = bytes(range(256)) * 40_000  # 10 MB: more than sockets and transports hold


async def test_the_exact_bytes_of_a_request(make_client: Make, scripted: Start) -> None:
    """Host first, the headers in their order and case, the framing last; the target untouched."""
    upstream = await scripted([serve(answer())])
    headers = [(b"X-Api-Key", b"made-up"), (b"anthropic-beta", b"a"), (b"anthropic-beta", b"b"), (b"x-latin", b"\xe9")]
    out = Outgoing("POST", upstream.origin, b"/v1/%6D?a=%2F&b=\xc3\xa9", headers, b'{"a": 1}')
    await whole(await make_client().open(out, SOON))

    assert (
        b"POST /v1/%%6D?a=%%2F&b=\xc3\xa9 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nX-Api-Key: made-up\r\nanthropic-beta: a\r\n"
        b"anthropic-beta: b\r\nx-latin: \xe9\r\nContent-Length: 8\r\n\r\n" % upstream.port,
        b'{"a": 1}',
    ) == (upstream.requests[0].head, upstream.requests[0].raw_body)


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize(
    "body",
    [b"", b"small", b"x" * 65_536, b"x" * 65_537, BIG, bytearray(BIG), memoryview(BIG)[7:]],
    ids=["empty", "small", "64 KB", "64 KB and one", "big", "bytearray", "memoryview"],
)
async def test_bodies_arrive_whole(make_client: Make, scripted: Start, tls: Tls, body: Any, secure: bool) -> None:
    """Any body in memory arrives as it is, and its connection serves again."""
    upstream = await scripted([serve(answer(b"ok"))], tls=tls.server if secure else None)
    client = make_client(tls=tls.client)
    got = [await whole(await client.open(post(upstream.origin, body), SOON)) for _ in range(2)]

    assert ([b"ok", b"ok"], 1) == (got, upstream.connections)
    assert [True, True] == [received.body == body for received in upstream.requests]


@pytest.mark.parametrize(
    ("pieces", "length", "raw"),
    [
        ([b"ab", b"", b"cde"], None, b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"),
        ([], None, b"0\r\n\r\n"),
        ([b"ab", b"", b"cde"], 5, b"abcde"),
        ([], 0, b""),
        ([b"x" * 300_000, b"y"], None, b"493e0\r\n" + b"x" * 300_000 + b"\r\n1\r\ny\r\n0\r\n\r\n"),
        ([b"x" * 300_000, b"y"], 300_001, b"x" * 300_000 + b"y"),
    ],
)
async def test_streamed_bodies(
    make_client: Make, scripted: Start, pieces: list[bytes], length: int | None, raw: bytes
) -> None:
    """A stream goes out in chunks, or plainly when its length is known; an empty piece ends nothing."""
    upstream = await scripted([serve(answer(b"ok"))])
    client = make_client()
    reused = []
    for _ in range(2):
        got = await client.open(post(upstream.origin, stream(*pieces), length), SOON)
        reused.append(got.reused)
        await whole(got)

    assert [raw, raw] == [received.raw_body for received in upstream.requests]
    assert [False, True] == reused


async def test_a_stream_is_sent_as_it_comes(make_client: Make, scripted: Start) -> None:
    """The first piece reaches the upstream before the second one exists."""
    first = asyncio.Event()
    upstream = await scripted([read_head(), read_exactly(len(b"1\r\na\r\n")), tell(first), stall()])

    async def body() -> AsyncIterator[bytes]:
        yield b"a"
        await first.wait()
        raise LookupError

    with pytest.raises(LookupError):
        await make_client().open(post(upstream.origin, body()), SOON)


async def test_a_big_stream_waits_for_the_upstream(make_client: Make, scripted: Start) -> None:
    """A body is pulled no faster than the upstream takes it."""
    go, pulled = asyncio.Event(), 0
    upstream = await scripted([read_head(), until(go), read_exactly(64 << 20), send(answer())], buffer=64 * 1024)

    async def body() -> AsyncIterator[bytes]:
        nonlocal pulled
        for _ in range(1024):
            pulled += 1
            yield b"x" * 65_536

    asked = asyncio.ensure_future(make_client().open(post(upstream.origin, body(), 64 << 20), SOON))
    before = -1
    async with asyncio.timeout(10):
        while pulled != before or not upstream.requests:
            before = pulled
            await asyncio.sleep(0.05)
    go.set()
    await whole(await asked)

    assert before < 256
    assert pulled == 1024


_EARLY = answer(b"too large", b"413 Content Too Large")


@pytest.mark.parametrize("after", [[], [close()], [half_close()], [reset()]], ids=["open", "close", "half", "reset"])
@pytest.mark.parametrize("kind", ["bytes", "chunked", "length", "silent"])
async def test_an_early_answer_stops_the_body(make_client: Make, scripted: Start, kind: str, after: list[Any]) -> None:
    """An answer before the body's end is handed on at once, no more is sent, and the connection is not used again."""
    arrived = asyncio.Event()
    upstream = await scripted([read_head(), send(_EARLY), until(arrived), *after, stall()], [serve(answer(b"second"))])
    pulled = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal pulled
        while True:
            pulled += 1
            yield b"x" * 65_536
            await asyncio.sleep(0)

    async def silent() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.Event().wait()

    body, length = {
        "bytes": (b"x" * (64 << 20), None),
        "chunked": (endless(), None),
        "length": (endless(), 1 << 40),
        "silent": (silent(), 10),
    }[kind]
    client = make_client()
    got = await client.open(post(upstream.origin, body, length), SOON)
    seen = pulled
    first = got.status, await whole(got)
    arrived.set()
    for _ in range(20):
        await asyncio.sleep(0)
    second = await client.open(get(upstream.origin), SOON)

    assert (413, b"too large") == first
    assert (b"second", False, 2, seen) == (await whole(second), second.reused, upstream.connections, pulled)


async def test_an_early_answer_may_still_have_a_long_body(make_client: Make, scripted: Start) -> None:
    """The body of an early answer is read like any other."""
    go = asyncio.Event()
    upstream = await scripted(
        [
            read_head(),
            send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 200000\r\n\r\n"),
            until(go),
            send(b"e" * 200_000),
            stall(),
        ]
    )
    got = await make_client().open(post(upstream.origin, b"x" * (64 << 20)), SOON)
    go.set()

    assert (401, b"e" * 200_000) == (got.status, await whole(got))


@pytest.mark.parametrize(
    ("pieces", "length", "said"),
    [([b"abc"], 4, "shorter"), ([], 1, "shorter"), ([b"abc", b"de"], 4, "longer"), ([b"abcd", b"e"], 4, "longer")],
)
async def test_a_stream_that_belies_its_length_fails(
    make_client: Make, scripted: Start, pieces: list[bytes], length: int, said: str
) -> None:
    """A body shorter or longer than declared fails in stage "send", and the pool stays clean."""
    upstream = await scripted([read_head(), stall()], [serve(answer(b"ok"))])
    client = make_client(connections=1)

    failed = await failure(client.open(post(upstream.origin, stream(*pieces), length), SOON))

    assert (("send", "protocol", False, False), True) == (how(failed), said in failed.detail)
    assert b"ok" == await whole(await client.open(get(upstream.origin), SOON))


async def test_a_body_that_fails_fails_as_itself(make_client: Make, scripted: Start) -> None:
    """What the body raises comes out of `open` unchanged, and the half-sent request's connection is closed."""
    upstream = await scripted([read_head()], [serve(answer(b"ok"))])
    client = make_client(connections=1)

    async def body() -> AsyncIterator[bytes]:
        yield b"abc"
        raise ZeroDivisionError("the client left")

    with pytest.raises(ZeroDivisionError, match="the client left"):
        await client.open(post(upstream.origin, body()), SOON)
    assert b"ok" == await whole(await client.open(get(upstream.origin), SOON))


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_upstream_that_takes_nothing_is_a_timeout(make_client: Make, scripted: Start, streamed: bool) -> None:
    """A body that cannot be sent for `idle` seconds fails in stage "send"."""
    upstream = await scripted([read_head(), stall()], buffer=4096)
    body = stream(*[b"x" * 65_536] * 1024) if streamed else b"x" * (64 << 20)

    failed = await failure(make_client().open(post(upstream.origin, body), Timeouts(5.0, 5.0, idle=0.1)))

    assert ("send", "timeout", False, False) == how(failed)
    assert "took no bytes" in failed.detail


async def test_a_body_that_gives_nothing_is_a_timeout(make_client: Make, scripted: Start) -> None:
    """A stream that pauses longer than `idle` fails, and its text does not blame the upstream."""
    upstream = await scripted([read_head(), stall()])

    async def body() -> AsyncIterator[bytes]:
        yield b"abc"
        await asyncio.Event().wait()

    failed = await failure(make_client().open(post(upstream.origin, body()), Timeouts(5.0, 5.0, idle=0.05)))

    assert ("send", "timeout", False, False) == how(failed)
    assert "request's own body" in failed.detail


async def test_a_long_upload_is_no_silence(make_client: Make, scripted: Start) -> None:
    """`first_byte` counts from the request's last byte, so an upload may take longer than it."""
    upstream = await scripted([read_request(), send(answer(b"ok"))])

    async def body() -> AsyncIterator[bytes]:
        for _ in range(12):
            yield b"x"
            await asyncio.sleep(0.05)

    got = await make_client().open(post(upstream.origin, body()), Timeouts(5.0, first_byte=0.4, idle=5.0))

    assert b"ok" == await whole(got)


async def test_an_unsafe_request_never_leaves(make_client: Make, scripted: Start) -> None:
    """A request that cannot be written safely is a ValueError before any connection is made."""
    upstream = await scripted([stall()])
    with pytest.raises(ValueError, match="X-Bad"):
        await make_client().open(Outgoing("GET", upstream.origin, b"/", [(b"X-Bad", b"a\r\nb")]), SOON)

    assert 0 == upstream.connections
