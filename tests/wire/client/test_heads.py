"""Heads of answers: what is kept, what is skipped, what is refused."""

import pytest

from gateway.core.http import Outgoing
from tests.wire.client.asking import SOON, Make, Start, failure, get, how, seen, whole
from tests.wire.scripted import answer, chunked, close, read_request, send, send_split, serve, stall


async def test_headers_keep_their_bytes_order_case_and_duplicates(make_client: Make, scripted: Start) -> None:
    """A head is handed on exactly as it came: order, case, duplicates, empty values, bytes outside ASCII."""
    upstream = await scripted(
        [
            read_request(),
            send(
                b"HTTP/1.1 200 Fine, \xe9\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nX-Empty:\r\nX-Latin: \xe9\xff\r\n"
                b"X-Inner:  two  blanks\r\nContent-Length: 2\r\n\r\nok"
            ),
        ]
    )
    got = await make_client().open(get(upstream.origin), SOON)

    assert (
        200,
        b"Fine, \xe9",
        [
            (b"Set-Cookie", b"a=1"),
            (b"set-cookie", b"b=2"),
            (b"X-Empty", b""),
            (b"X-Latin", b"\xe9\xff"),
            (b"X-Inner", b"two  blanks"),
            (b"Content-Length", b"2"),
        ],
        b"ok",
    ) == await seen(got)


@pytest.mark.parametrize(
    "wire",
    [
        answer(b"hello", b"200 OK", b"X: 1"),
        chunked(b"he", b"llo", headers=[b"X: 1"], trailers=[b"T: 2"]),
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + answer(b"hello", b"200 OK"),
    ],
    ids=["length", "chunked", "hints"],
)
async def test_an_answer_that_drips_byte_by_byte_reads_the_same(
    make_client: Make, scripted: Start, wire: bytes
) -> None:
    """Where segments end means nothing."""
    upstream = await scripted([read_request(), send_split(wire)], [read_request(), send(wire)])
    client = make_client(connections=2)
    slow, fast = [await client.open(get(upstream.origin), SOON) for _ in range(2)]

    assert await seen(fast) == await seen(slow)


async def test_interim_answers_are_skipped(make_client: Make, scripted: Start) -> None:
    """100, 102 and several 103 leave no trace in the final head."""
    upstream = await scripted(
        [
            read_request(),
            send(b"HTTP/1.1 100 Continue\r\nX: 100\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"),
            send(b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"),
            send(b"HTTP/1.1 103 Early Hints\r\nLink: b\r\n\r\n" + answer(b"x", b"201 Created")),
        ]
    )
    got = await make_client().open(get(upstream.origin), SOON)

    assert (201, b"Created", [(b"Content-Length", b"1")], b"x") == await seen(got)


@pytest.mark.parametrize(
    ("method", "wire"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
    ],
)
async def test_answers_without_a_body_end_with_their_head(
    make_client: Make, scripted: Start, method: str, wire: bytes
) -> None:
    """HEAD, 204 and 304 have no body whatever their headers say, and the connection serves again."""
    upstream = await scripted([serve(wire)])
    client = make_client()
    bodies, reused = [], []
    for _ in range(3):
        got = await client.open(Outgoing(method, upstream.origin, b"/"), SOON)
        reused.append(got.reused)
        bodies.append(await whole(got))

    assert ([b"", b"", b""], [False, True, True], 1) == (bodies, reused, upstream.connections)


async def test_a_body_after_head_is_not_the_next_answer(make_client: Make, scripted: Start) -> None:
    """An upstream that answers HEAD with a body cannot slip it under the next request."""
    upstream = await scripted([serve(answer(b"HTTP/1.1 418 No\r\nContent-Length: 0\r\n\r\n"))])
    client = make_client()
    for _ in range(2):
        got = await client.open(Outgoing("HEAD", upstream.origin, b"/"), SOON)
        assert (200, b"", False) == (got.status, await whole(got), got.reused)

    assert upstream.connections == 2


async def test_large_heads_pass(make_client: Make, scripted: Start) -> None:
    """One value of 64 KB, and 256 KB of head in all, are taken."""
    value = bytes(range(0x21, 0x7F)) * 700
    lines = [b"X-Big-%d: %b" % (number, value[: 64 * 1024]) for number in range(4)]
    upstream = await scripted([serve(answer(b"ok", b"200 OK", *lines))])
    client = make_client()
    for _ in range(2):
        got = await client.open(get(upstream.origin), SOON)
        assert ([value[: 64 * 1024]] * 4, b"ok") == ([v for _, v in got.headers[1:]], await whole(got))

    assert upstream.connections == 1


@pytest.mark.parametrize("shape", ["one value", "many lines", "one name", "interim", "reason", "blank lines"])
async def test_endless_heads_are_refused(make_client: Make, scripted: Start, shape: str) -> None:
    """A head above the limit is a protocol failure, however it grows."""
    wire = {
        "one value": b"HTTP/1.1 200 OK\r\nX: " + b"v" * 900_000,
        "many lines": b"HTTP/1.1 200 OK\r\n" + b"X: v\r\n" * 150_000,
        "one name": b"HTTP/1.1 200 OK\r\n" + b"n" * 900_000,
        "interim": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 35_000,
        "reason": b"HTTP/1.1 200 " + b"r" * 900_000,
        "blank lines": b"\r\n" * 450_000,
    }[shape]
    upstream = await scripted([read_request(), send(wire), stall()])

    failed = await failure(make_client(head_bytes=300_000).open(get(upstream.origin), SOON))

    assert ("head", "protocol", False, True) == how(failed)
    assert "300000" in failed.detail


# What strict llhttp and our own checks say of heads that a lenient reader would take. None of these may pass: each is
# read differently by some other party on the way, which is how answers get smuggled.
_BAD_HEADS = {
    "length and chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    "two equal lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nabcd",
    "list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 4, 4\r\n\r\nabcd",
    "signed length": b"HTTP/1.1 200 OK\r\nContent-Length: +4\r\n\r\nabcd",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\nabcd",
    "empty length": b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nabcd",
    "length of 23 digits": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nabcd",
    "unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabcd",
    "two codings": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked not last": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "almost chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "empty coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: \r\n\r\n0\r\n\r\n",
    "folded line": b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "bare LF after a value": b"HTTP/1.1 200 OK\r\nA: b\nContent-Length: 0\r\n\r\n",
    "bare CR": b"HTTP/1.1 200 OK\r\nA: b\rc\r\nContent-Length: 0\r\n\r\n",
    "blank before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
    "NUL in a value": b"HTTP/1.1 200 OK\r\nA: a\0b\r\nContent-Length: 0\r\n\r\n",
    "line without a colon": b"HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 0\r\n\r\n",
    "not HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "TLS alert": b"\x15\x03\x01\x00\x02\x02\x0a",
    "a request": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/2.0 in the status line": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "status of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "status 099": b"HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n",
    "status 600": b"HTTP/1.1 600 High\r\nContent-Length: 0\r\n\r\n",
    "no status": b"HTTP/1.1 OK\r\nContent-Length: 0\r\n\r\n",
    "switching protocols": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "switching, no upgrade": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "interim with a body": b"HTTP/1.1 150 Odd\r\nContent-Length: 5\r\n\r\nhello",
}


@pytest.mark.parametrize("split", [False, True], ids=["at once", "dripped"])
@pytest.mark.parametrize("case", _BAD_HEADS)
async def test_ambiguous_heads_are_refused(make_client: Make, scripted: Start, case: str, split: bool) -> None:
    """Conflicting or malformed framing is a protocol failure before any of it is handed on."""
    step = send_split if split else send
    upstream = await scripted([read_request(), step(_BAD_HEADS[case])])
    client = make_client()

    assert ("head", "protocol", False, True) == how(await failure(client.open(get(upstream.origin), SOON)))
    await upstream.settled()


async def test_an_offer_to_upgrade_is_no_upgrade(make_client: Make, scripted: Start) -> None:
    """Apache and nginx advertise h2c on ordinary answers; those are ordinary answers."""
    upstream = await scripted(
        [serve(answer(b"abc", b"200 OK", b"Upgrade: h2,h2c", b"Connection: Upgrade, Keep-Alive"))]
    )
    got = await make_client().open(get(upstream.origin), SOON)

    assert (200, b"abc") == (got.status, await whole(got))


@pytest.mark.parametrize(
    ("wire", "reason"),
    [(b"HTTP/1.1 200\r\n", b""), (b"HTTP/1.1 200 \r\n", b""), (b"\r\nHTTP/1.1 200 OK\r\n", b"OK")],
)
async def test_harmless_oddities_pass(make_client: Make, scripted: Start, wire: bytes, reason: bytes) -> None:
    """A missing reason phrase, and a blank line before the status line (RFC 9112 2.2), are taken."""
    upstream = await scripted([read_request(), send(wire + b"Content-Length: 1\r\n\r\nx")])

    assert (200, reason, [(b"Content-Length", b"1")], b"x") == await seen(
        await make_client().open(get(upstream.origin), SOON)
    )


async def test_http_1_0_ends_with_its_connection(make_client: Make, scripted: Start) -> None:
    """An HTTP/1.0 answer without a length lasts until the close, and its connection is not used again."""
    upstream = await scripted([read_request(), send(b"HTTP/1.0 200 OK\r\n\r\nold"), close()])
    client = make_client()
    for _ in range(2):
        got = await client.open(get(upstream.origin), SOON)
        assert (b"old", False) == (await whole(got), got.reused)
