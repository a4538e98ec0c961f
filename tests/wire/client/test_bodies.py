"""Bodies of answers: framings, endings, cuts, and readers that take their time."""

import asyncio
import gzip

import pytest

from gateway.core.http import Timeouts, UpstreamFailed
from tests.wire.client.asking import SOON, Make, Start, Tls, failure, get, how, read_until_failure, whole
from tests.wire.scripted import (
    answer,
    chunked,
    close,
    half_close,
    pour,
    read_request,
    reset,
    send,
    serve,
    stall,
    until,
)

_OPEN_ENDED = b"HTTP/1.1 200 OK\r\n\r\n"
_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_chunks_with_extensions_and_trailers(make_client: Make, scripted: Start) -> None:
    """Extensions and trailers are dropped with the framing, and nothing of a trailer shows up in the next answer."""
    wire = _CHUNKED + b'3;a=b;c="d"\r\nabc\r\nA\r\n0123456789\r\n000\r\nX-Trailer: 1\r\nSet-Cookie: t\r\n\r\n'
    upstream = await scripted([serve(wire)])
    client = make_client()
    for reused in (False, True):
        got = await client.open(get(upstream.origin), SOON)
        assert ([(b"Transfer-Encoding", b"chunked")], b"abc0123456789", reused) == (
            got.headers,
            await whole(got),
            got.reused,
        )


@pytest.mark.parametrize("end", [close(), half_close()], ids=["close", "half-close"])
async def test_a_body_without_a_length_ends_with_the_connection(
    make_client: Make, scripted: Start, end: object
) -> None:
    """Read until close, and never reused."""
    upstream = await scripted([read_request(), send(_OPEN_ENDED + b"a" * 100_000), end])
    client = make_client()
    for _ in range(2):
        got = await client.open(get(upstream.origin), SOON)
        assert (b"a" * 100_000, False) == (await whole(got), got.reused)
    await upstream.settled()


async def test_content_coding_is_left_alone(make_client: Make, scripted: Start) -> None:
    """A gzip body arrives as gzip."""
    body = gzip.compress(b"hello" * 100)
    upstream = await scripted([serve(answer(body, b"200 OK", b"Content-Encoding: gzip"))])

    assert body == await whole(await make_client().open(get(upstream.origin), SOON))


async def test_one_chunk_of_5_mb(make_client: Make, scripted: Start) -> None:
    """A single event of 5 MB in a single chunk passes."""
    body = bytes(range(256)) * 20_000
    upstream = await scripted([serve(chunked(body))])

    assert body == await whole(await make_client().open(get(upstream.origin), SOON))


async def test_pieces_arrive_as_they_are_sent(make_client: Make, scripted: Start) -> None:
    """A chunk is readable before the next one is sent: nothing is held back."""
    go = [asyncio.Event() for _ in range(3)]
    script = [read_request(), send(_CHUNKED)]
    for event in go:
        script += [send(b"6\r\nevent!\r\n"), until(event)]
    upstream = await scripted([*script, send(b"0\r\n\r\n")])
    got = await make_client().open(get(upstream.origin), SOON)
    pieces = []
    for event in go:
        pieces.append(await got.read())
        event.set()

    assert ([b"event!"] * 3, b"", b"") == (pieces, await got.read(), await got.read())


_CUTS = {
    "length, closed": ([send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), close()], "reset"),
    "length, half-closed": ([send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), half_close()], "reset"),
    "chunked, inside a chunk": ([send(_CHUNKED + b"a\r\nabc"), close()], "reset"),
    "chunked, between chunks": ([send(_CHUNKED + b"3\r\nabc\r\n"), close()], "reset"),
    "chunked, before the last line": ([send(_CHUNKED + b"3\r\nabc\r\n0\r\n"), close()], "reset"),
    "chunk size is no number": ([send(_CHUNKED + b"3\r\nabc\r\nzz\r\n")], "protocol"),
    "chunk is longer than it said": ([send(_CHUNKED + b"3\r\nabcdef\r\n0\r\n\r\n")], "protocol"),
    "chunk size of 18 digits": ([send(_CHUNKED + b"3\r\nabc\r\nffffffffffffffffff\r\n")], "protocol"),
    "bare LF after a chunk": ([send(_CHUNKED + b"3\r\nabc\n0\r\n\r\n")], "protocol"),
    "framing in a trailer": ([send(_CHUNKED + b"3\r\nabc\r\n0\r\nContent-Length: 5\r\n\r\n")], "protocol"),
    "plain text in chunked": ([send(_CHUNKED + b"3\r\nabc\r\n<html>")], "protocol"),
}


@pytest.mark.parametrize("case", _CUTS)
async def test_a_cut_body_is_a_failure_after_the_bytes_that_came(make_client: Make, scripted: Start, case: str) -> None:
    """A reader gets what arrived and then stage "body": a cut never looks like an end."""
    steps, fault = _CUTS[case]
    upstream = await scripted([read_request(), *steps])
    got = await make_client().open(get(upstream.origin), SOON)

    came, failed = await read_until_failure(got)

    assert (b"abc", ("body", fault, False, True)) == (came, how(failed))
    assert ("body", fault, False, True) == how(await failure(got.read())), "and so it stays"
    await upstream.settled()


@pytest.mark.parametrize("head", [_OPEN_ENDED, _CHUNKED + b"64\r\n", answer(b"x" * 99)[:-99]])
async def test_a_reset_in_the_body_is_a_failure(make_client: Make, scripted: Start, head: bytes) -> None:
    """RST is no end either, not even of a body without a length."""
    read = asyncio.Event()
    upstream = await scripted([read_request(), send(head + b"abc"), until(read), reset()])
    got = await make_client().open(get(upstream.origin), SOON)
    first = await got.read()
    read.set()

    assert (b"abc", ("body", "reset", False, True)) == (first, how(await failure(got.read())))


async def test_silence_in_the_body_is_a_timeout(make_client: Make, scripted: Start) -> None:
    """Longer than `idle` without a byte: stage "body", fault "timeout"; the connection is closed."""
    upstream = await scripted([read_request(), send(_CHUNKED + b"3\r\nabc\r\n"), stall()])
    client = make_client()
    got = await client.open(get(upstream.origin), Timeouts(5.0, 5.0, idle=0.05))

    came, failed = await read_until_failure(got)

    assert (b"abc", ("body", "timeout", False, True)) == (came, how(failed))
    assert failed.seconds > 0.04


async def test_a_slow_reader_is_not_a_silent_upstream(make_client: Make, scripted: Start) -> None:
    """Time between two reads is the reader's own: neither `first_byte` nor `idle` runs meanwhile."""
    go = asyncio.Event()
    upstream = await scripted(
        [read_request(), send(_CHUNKED + b"3\r\nabc\r\n"), until(go), send(b"3\r\ndef\r\n0\r\n\r\n")]
    )
    got = await make_client().open(get(upstream.origin), Timeouts(5.0, first_byte=0.3, idle=0.3))
    await asyncio.sleep(0.6)
    first = await got.read()
    await asyncio.sleep(0.6)
    go.set()

    assert b"abcdef" == first + await whole(got)


async def test_what_came_before_the_cut_is_still_readable_after_it(make_client: Make, scripted: Start) -> None:
    """A reader that comes late finds the bytes first and the failure behind them."""
    upstream = await scripted([read_request(), send(_CHUNKED + b"3\r\nabc\r\n"), close()])
    got = await make_client().open(get(upstream.origin), SOON)
    await upstream.settled()

    assert (b"abc", "body") == ((result := await read_until_failure(got))[0], result[1].stage)


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
async def test_a_slow_reader_holds_the_upstream_back(
    make_client: Make, scripted: Start, tls: Tls, secure: bool
) -> None:
    """While nobody reads, 64 MB stay with the upstream; once somebody does, every byte arrives."""
    total = 64 * 1024 * 1024
    upstream = await scripted(
        [read_request(), send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total), pour(total)],
        tls=tls.server if secure else None,
        buffer=64 * 1024,
    )
    got = await make_client(tls=tls.client).open(get(upstream.origin), SOON)
    wire, before = upstream.wires[0], -1
    async with asyncio.timeout(10):
        while wire.poured != before:  # until it no longer moves
            before = wire.poured
            await asyncio.sleep(0.05)
    held = before
    read = 0
    while piece := await got.read():
        read += len(piece)

    assert held < 12 * 1024 * 1024, f"{held} bytes are on their way to a reader that does not read"
    assert (total, total) == (wire.poured, read)


async def test_an_abandoned_answer_closes_its_connection(make_client: Make, scripted: Start) -> None:
    """`close` before the end ends the connection at once, also while the upstream pours."""
    upstream = await scripted([read_request(), send(_OPEN_ENDED), pour(1 << 30)])
    client = make_client()
    got = await client.open(get(upstream.origin), SOON)
    assert await got.read()
    got.close()
    got.close()
    await upstream.settled()

    with pytest.raises(UpstreamFailed, match="closed by its reader"):
        await whole(got)


async def test_close_after_the_end_gives_the_connection_back(make_client: Make, scripted: Start) -> None:
    """Reading to the end is what makes a connection reusable; `close` then changes nothing."""
    upstream = await scripted([serve(answer(b"abc"))])
    client = make_client()
    reused = []
    for _ in range(3):
        got = await client.open(get(upstream.origin), SOON)
        await whole(got)
        got.close()
        reused.append(got.reused)

    assert ([False, True, True], 1) == (reused, upstream.connections)


async def test_the_same_answer_has_one_reader(make_client: Make, scripted: Start) -> None:
    """Two tasks in `read` at once is a mistake that is said aloud."""
    upstream = await scripted([read_request(), send(_OPEN_ENDED), stall()])
    got = await make_client().open(get(upstream.origin), SOON)
    first = asyncio.ensure_future(got.read())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="two tasks"):
        await got.read()
    with pytest.raises(UpstreamFailed):
        await first
