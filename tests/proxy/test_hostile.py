"""Requests by someone who means harm: every answer has our shape, nothing hangs, nothing is carried over to another."""

import asyncio
import contextlib
import json
import logging
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.proxy.conftest import ASK, KEY, Running, Start, starting
from tests.raw import RawClient, request
from tests.sink import Sink

CRLF = b"\r\n"
MODEL = "GET /v1/models/claude-haiku-4-5"  # a request that reaches the upstream, as the sink names it
NEXT = request("GET", "/v1/models/claude-haiku-4-5", key=KEY)
DECLARED = b"Content-Length: %d" % len(ASK)
CHUNKED = b"Transfer-Encoding: chunked"
SMUGGLED = request("DELETE", "/v1/files/smuggled", key=KEY)


def raw(line: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    """A request as written, with a Host and a sound key."""
    return CRLF.join([line, b"Host: gateway.test", b"x-api-key: " + KEY.encode(), *headers, b"", b""]) + body


def post(*headers: bytes, body: bytes = b"", path: bytes = b"/v1/messages", version: bytes = b"1.1") -> bytes:
    return raw(b"POST %b HTTP/%b" % (path, version), *headers, body=body)


def chunks(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + end


def hello(*headers: bytes, line: bytes = b"GET /api/hello HTTP/1.1") -> bytes:
    return raw(line, *headers)


async def rest(client: RawClient) -> bytes:
    """All there is until the gateway closes."""
    return await asyncio.wait_for(client.reader.read(), 10)


REFUSED_HEADS = {
    "two-lengths": (post(DECLARED, DECLARED, body=ASK), 400),
    "two-lengths-that-differ": (post(b"Content-Length: 1", DECLARED, body=ASK), 400),
    "length-list": (post(b"Content-Length: 5, 5", body=b"12345"), 400),
    "length-plus": (post(b"Content-Length: +5", body=b"12345"), 400),
    "length-minus": (post(b"Content-Length: -5", body=b"12345"), 400),
    "length-hex": (post(b"Content-Length: 0x5", body=b"12345"), 400),
    "length-empty": (post(b"Content-Length:", body=b"12345"), 400),
    "length-of-2**64": (post(b"Content-Length: 18446744073709551616"), 400),
    "length-of-2**64-1": (post(b"Content-Length: 18446744073709551615"), 400),
    "length-name-with-blank": (post(b"Content-Length : 5", body=b"12345"), 400),
    "length-and-chunked": (post(CHUNKED, b"Content-Length: 5", body=chunks(b"hello")), 400),
    "chunked-twice": (post(CHUNKED, CHUNKED, body=chunks(b"hello")), 400),
    "chunked-after-gzip": (post(b"Transfer-Encoding: gzip, chunked", body=chunks(b"hello")), 400),
    "chunked-before-gzip": (post(b"Transfer-Encoding: chunked, gzip", body=chunks(b"hello")), 400),
    "identity-coding": (post(b"Transfer-Encoding: identity", body=chunks(b"hello")), 400),
    "misspelt-coding": (post(b"Transfer-Encoding: xchunked", body=chunks(b"hello")), 400),
    "folded-coding": (post(b"Transfer-Encoding:\r\n chunked", body=chunks(b"hello")), 400),
    "chunked-in-http-1.0": (post(CHUNKED, version=b"1.0", body=chunks(b"hello")), 400),
    "two-hosts": (hello(b"Host: other.test"), 400),
    "no-host": (b"GET /api/hello HTTP/1.1\r\n\r\n", 400),
    "http-0.9": (b"GET /api/hello\r\n\r\n", 400),
    "http-1.2": (hello(line=b"GET /api/hello HTTP/1.2"), 400),
    "http-2": (hello(line=b"GET /api/hello HTTP/2.0"), 400),
    "http-2-preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "tls": (bytes.fromhex("16030100fa010000f60303") + b"x" * 50, 400),
    "lone-lf": (hello().replace(CRLF, b"\n"), 400),
    "lone-cr": (hello(b"a: b\rc: d"), 400),
    "folded": (hello(b"a: b\r\n c"), 400),
    "nul": (hello(b"a: b\0c"), 400),
    "control": (hello(b"a: b\x01c"), 400),
    "no-name": (hello(b": b"), 400),
    "no-colon": (hello(b"abc"), 400),
    "odd-name": (hello(b"a(b): c"), 400),
    "unknown-method": (hello(line=b"FROBNICATE /api/hello HTTP/1.1"), 400),
    "lower-method": (hello(line=b"get /api/hello HTTP/1.1"), 400),
    "blank-in-target": (hello(line=b"GET /api/hello?a b HTTP/1.1"), 400),
    "control-in-target": (hello(line=b"GET /v1/files?a=\x01 HTTP/1.1"), 400),
    "bytes-in-target": (hello(line=b"GET /v1/files?a=\xff HTTP/1.1"), 400),
    "fragment": (hello(line=b"GET /v1/files?a=1#b HTTP/1.1"), 400),
    "no-path": (hello(line=b"GET files HTTP/1.1"), 400),
    "half-an-address": (hello(line=b"GET http://[ HTTP/1.1"), 400),
    "many-headers": (hello(*(b"x-%d: 1" % n for n in range(600))), 400),
    "one-long-header": (hello(b"x: " + b"v" * 300_000), 431),
    "long-target": (hello(line=b"GET /v1/files?a=%b HTTP/1.1" % (b"v" * 300_000)), 431),
    "bad-chunk-size": (post(CHUNKED, body=b"zz\r\nhello\r\n"), 400),
    "negative-chunk-size": (post(CHUNKED, body=b"-5\r\nhello\r\n"), 400),
    "hex-prefix-chunk-size": (post(CHUNKED, body=b"0x5\r\nhello\r\n"), 400),
    "endless-chunk-size": (post(CHUNKED, body=b"f" * 17 + b"\r\nhello\r\n"), 400),
    "chunk-too-long": (post(CHUNKED, body=b"5\r\nhello!\r\n0\r\n\r\n"), 400),
    "chunks-with-lf": (post(CHUNKED, body=b"5\nhello\n0\n\n"), 400),
    "lf-in-chunk-extension": (post(CHUNKED, body=b"5;a\nb\r\nhello\r\n0\r\n\r\n"), 400),
    "length-in-trailers": (post(CHUNKED, body=chunks(b"hello", end=b"0\r\nContent-Length: 5\r\n\r\n")), 400),
}


@pytest.mark.parametrize(("sent", "status"), REFUSED_HEADS.values(), ids=list(REFUSED_HEADS))
async def test_framing_that_two_parsers_could_read_differently(start: Start, sent: bytes, status: int) -> None:
    """What is not plainly one HTTP/1.1 request is refused in our shape, once, and ends its connection, cut or whole."""
    async with Sink() as upstream:
        gateway = await start(upstream.url)
        ids = []
        for first in (len(sent), len(sent) // 2):
            async with gateway.client() as client:
                client.send(sent[:first])
                await asyncio.sleep(0.01 if first < len(sent) else 0)
                client.send(sent[first:] + SMUGGLED)
                got = await client.answer()

                assert got.error[:2] == (status, "invalid_request_error")
                assert got.value(b"connection") == b"close"
                assert got.value(b"x-gateway-request-id") == got.value(b"request-id")
                assert await rest(client) == b""
            ids.append(got.value(b"request-id").decode())
        lines = await gateway.requests(2)

    assert [line["request_id"] for line in lines] == ids
    assert upstream.taken == []


ODD_BUT_SOUND = {
    "old-line-ends-first": (b"\r\n\r\n" + hello(), 200),
    "absolute-target": (hello(line=b"GET http://gateway.test/api/hello HTTP/1.1"), 404),
    "other-scheme": (hello(line=b"GET ftp://gateway.test/api/hello HTTP/1.1"), 404),
    "asterisk": (hello(line=b"OPTIONS * HTTP/1.1"), 404),
    "two-slashes": (hello(line=b"GET //evil.test/v1/files HTTP/1.1"), 404),
    "known-method-of-others": (hello(line=b"PROPFIND /v1/messages HTTP/1.1"), 405),
    "unknown-expectation": (post(b"Expect: the-best", DECLARED, body=ASK), 200),
    "expectation-without-body": (post(b"Expect: 100-continue", body=b""), 400),
    "hop-by-hop-length": (post(b"Connection: content-length", DECLARED, body=ASK), 200),
    "blank-line-in-body": (post(b"Content-Length: 4", body=b"\r\n\r\n"), 400),
}


@pytest.mark.parametrize(("sent", "status"), ODD_BUT_SOUND.values(), ids=list(ODD_BUT_SOUND))
async def test_odd_requests_leave_their_connection_sound(start: Start, sent: bytes, status: int) -> None:
    """A request that is odd but plain gets its answer, and the next one on the connection is read as itself."""
    async with Sink() as upstream:
        gateway = await start(upstream.url)
        async with gateway.client() as client:
            client.send(sent + NEXT)
            got, then = await client.answer(), await client.answer()

    assert (got.status, got.interim, then.status) == (status, [], 200)
    assert upstream.taken[-1].line == MODEL


@pytest.mark.parametrize(
    "sent",
    [
        hello(b"Connection: upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"),
        hello(b"Connection: upgrade", b"Upgrade: tcp"),
        hello(b"Connection: upgrade, http2-settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"),
        post(b"Connection: upgrade", b"Upgrade: h2c", DECLARED, body=ASK),
        raw(b"CONNECT api.anthropic.com:443 HTTP/1.1"),
    ],
    ids=["websocket", "tcp", "h2c", "h2c-with-body", "connect"],
)
async def test_upgrades_are_not_made(start: Start, sent: bytes) -> None:
    """Nobody gets another protocol: the request is answered as HTTP/1.1, and what came behind it is not read."""
    async with Sink() as upstream:
        gateway = await start(upstream.url)
        async with gateway.client() as client:
            client.send(sent + SMUGGLED)
            got = await client.answer()
            after = await rest(client)

    assert got.status in (200, 404)
    assert (got.value(b"connection"), after) == (b"close", b"")
    assert "smuggled" not in str(upstream.taken)


def unread(line: bytes, *headers: bytes, key: str = KEY) -> tuple[bytes, bytes]:
    """A request that is refused before its body is read, and that body: a request by itself."""
    return CRLF.join([line, b"Host: gateway.test", b"x-api-key: " + key.encode(), *headers]) + CRLF, SMUGGLED


REFUSED_UNREAD = {
    "unknown-key": (*unread(b"POST /v1/messages HTTP/1.1", key="gwk_unknown"), 401),
    "unknown-path": (*unread(b"POST /v1/nothing HTTP/1.1"), 404),
    "odd-path": (*unread(b"POST /v1/../admin HTTP/1.1"), 404),
    "wrong-method": (*unread(b"PUT /v1/messages HTTP/1.1"), 405),
    "no-body-taken": (*unread(b"GET /v1/models/claude-haiku-4-5 HTTP/1.1"), 400),
    "unknown-coding": (*unread(b"POST /v1/messages HTTP/1.1", b"Content-Encoding: br"), 400),
    "broken-coding": (*unread(b"POST /v1/messages HTTP/1.1", b"Content-Encoding: gzip"), 400),
    "no-json": (*unread(b"POST /v1/messages HTTP/1.1"), 400),
    "foreign-model": (*unread(b"DELETE /v1/models/claude-unknown HTTP/1.1"), 405),
    "not-even-asked": (*unread(b"POST /api/hello HTTP/1.1"), 405),
    "answered-here": (*unread(b"GET /api/hello HTTP/1.1"), 200),
    "answered-to-nobody": (*unread(b"HEAD /api/hello HTTP/1.1"), 200),
}
FRAMINGS = {
    "length": lambda body: b"Content-Length: %d\r\n\r\n%b" % (len(body), body),
    "chunks": lambda body: b"Transfer-Encoding: chunked\r\n\r\n%b" % chunks(body),
    "waiting": lambda body: b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body),
}


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize(("head", "body", "status"), REFUSED_UNREAD.values(), ids=list(REFUSED_UNREAD))
async def test_next_request_is_never_read_out_of_an_old_body(
    start: Start, head: bytes, body: bytes, status: int, framing: str
) -> None:
    """After a refusal the connection closes or goes on behind the body: the body's bytes are never a request."""
    sent = head + FRAMINGS[framing](body) + NEXT
    begun = sent.index(b"\r\n\r\n") + 4
    count, taken = 0, []
    async with Sink() as upstream:
        gateway = await start(upstream.url, models=("claude-haiku-*",))
        for cuts in ([], [begun], [begun, begun + len(body) // 2]):  # at once, the body later, the body in two
            async with gateway.client() as client:
                for begin, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
                    client.send(sent[begin:end])
                    await asyncio.sleep(0.01)
                got = await client.answer("HEAD" if head.startswith(b"HEAD") else "POST")
                closing = got.values(b"connection") == [b"close"]
                then = await rest(client) if closing else (await client.answer("GET")).body
            count += 1 if closing else 2
            taken += [] if closing else [MODEL]

            assert got.status == status
            assert (then == b"") == closing
            assert len(await gateway.requests(count)) == count

    assert [one.line for one in upstream.taken] == taken


@pytest.mark.parametrize("together", [True, False])
async def test_trailers_are_no_headers_of_the_next_request(start: Start, together: bool) -> None:
    """What ends a chunked body never becomes part of another request, as it does in the parser by itself."""
    trailers = b"0\r\nanthropic-beta: planted\r\nx-api-key: gwk_planted\r\n\r\n"
    sent = post(CHUNKED, body=chunks(ASK, end=trailers))
    async with Sink() as upstream:
        gateway = await start(upstream.url)
        async with gateway.client() as client:
            client.send(sent + NEXT if together else sent)
            got = await client.answer()
            if not together:
                client.send(NEXT)
            after = await rest(client)

    assert (got.status, got.value(b"connection"), after) == (200, b"close", b"")
    assert [taken.headers.get("anthropic-beta") for taken in upstream.taken] == [None]


async def test_refusal_after_a_continue_is_an_answer(start: Start) -> None:
    """`100 Continue` begins no answer: what is refused after it is told so, as a whole."""
    gateway = await start("http://127.0.0.1:9")
    async with gateway.client() as client:
        client.send(post(b"Expect: 100-continue", b"Content-Length: 3"))
        await asyncio.sleep(0.05)
        client.send(b"{{{")
        got = await client.answer()
        client.send(NEXT)
        then = await client.answer("GET")

    assert (got.interim, got.error[:2]) == ([100], (400, "invalid_request_error"))
    assert then.status == 502


async def test_old_client_is_not_told_to_continue(start: Start) -> None:
    """HTTP/1.0 knows no interim answers."""
    async with Sink() as upstream:
        gateway = await start(upstream.url)
        async with gateway.client() as client:
            client.send(post(b"Expect: 100-continue", DECLARED, version=b"1.0", body=ASK))
            got = await client.answer()

    assert (got.status, got.interim) == (200, [])


@pytest.mark.parametrize("path", [b"/v1/messages", b"/v1/files"])
async def test_framing_that_breaks_in_the_body(start: Start, path: bytes) -> None:
    """A body whose framing breaks is refused when it breaks, not when its idle timeout is over."""
    async with Sink() as upstream:
        gateway = await start(upstream.url, settings={"body_idle_seconds": 600})
        async with gateway.client() as client:
            client.send(post(CHUNKED, path=path) + b"5\r\nhello\r\n")
            await asyncio.sleep(0.05)
            client.send(b"zz\r\n" + SMUGGLED)
            got = await client.answer()
            after = await rest(client)

    assert got.error == (400, "invalid_request_error", "The request body's framing is broken.")
    assert after == b""
    assert "smuggled" not in str(upstream.taken)


async def test_garbage_behind_a_running_request(start: Start) -> None:
    """Bytes that are no request do not harm the one before them, and are refused after it."""
    async with Sink() as upstream:
        gateway = await start(upstream.url)
        async with gateway.client() as client:
            client.send(post(b"x-sink: silence=0.2", DECLARED, body=ASK))
            await asyncio.sleep(0.05)
            client.send(b"\x00\x01planted\r\n\r\n")
            first, second = await client.answer(), await client.answer()

    assert (first.status, second.status) == (200, 400)


@pytest.mark.parametrize(
    ("begin", "more", "status"),
    [
        (b"GET /api/hello HTTP/1.1\r\nHost: a\r\n", b"x-%07d: " + b"v" * 100_000 + CRLF, 431),
        (post(CHUNKED) + b"5\r\nhello\r\n0\r\n", b"x-%07d: " + b"v" * 100_000 + CRLF, None),
        (post(CHUNKED) + b"5;a=", b"%07d" + b"v" * 100_000, None),
        (hello() + b"GET /api/hello HTTP/1.1\r\nHost: a\r\n", b"x-%07d: " + b"v" * 100_000 + CRLF, 431),
    ],
    ids=["head", "trailers", "chunk-extension", "second-head"],
)
async def test_bytes_that_lead_nowhere(start: Start, begin: bytes, more: bytes, status: int | None) -> None:
    """Heads, trailers and chunk extensions are bounded as a whole, not line by line: they are memory before any key."""
    gateway = await start("http://127.0.0.1:9", settings={"head_seconds": 600, "body_idle_seconds": 600})
    async with gateway.client() as client:
        client.send(begin)
        reading, sent = asyncio.create_task(client.reader.read()), 0
        with contextlib.suppress(ConnectionError):
            while sent < 64 << 20 and not reading.done():
                client.send(more % sent)
                sent += len(more)
                await client.writer.drain()
                await asyncio.sleep(0)
        got = answers(await asyncio.wait_for(reading, 10)) if status is not None else []
        reading.cancel()
        await asyncio.wait([reading])

    assert sent < 16 << 20
    assert status is None or got[-1][0] == status


async def test_head_that_begins_behind_a_request(start: Start) -> None:
    """A head is timed also when it began while the request before it was running."""
    async with Sink() as upstream:
        gateway = await start(upstream.url, settings={"head_seconds": 0.3})
        async with gateway.client() as client:
            client.send(post(b"x-sink: silence=0.2", DECLARED, body=ASK))
            await asyncio.sleep(0.05)
            client.send(b"GET /v1/mod")
            first, second = await client.answer(), await client.answer()

    assert (first.status, second.error[:2]) == (200, (408, "timeout_error"))


async def test_blank_lines_are_no_head(start: Start) -> None:
    """A client that ends its body with a line of its own keeps its connection."""
    async with Sink() as upstream:
        gateway = await start(upstream.url, settings={"head_seconds": 0.1})
        async with gateway.client() as client:
            for _ in range(2):
                client.send(post(DECLARED))
                await asyncio.sleep(0.02)
                client.send(ASK)
                assert (await client.answer()).status == 200
                client.send(CRLF)
                await asyncio.sleep(0.4)
            client.send(NEXT)
            got = await client.answer("GET")

    assert got.status == 200


async def test_refusal_reaches_a_client_that_is_still_sending(start: Start) -> None:
    """A refused client that goes on sending gets its answer, and no reset in its place."""
    gateway = await start("http://127.0.0.1:9")
    async with gateway.client() as client:
        client.send(hello(b"a: b\0c"))
        for _ in range(20):
            client.send(b"x" * 100_000)
            await asyncio.sleep(0.005)
        got = await client.answer()

    assert got.error[:2] == (400, "invalid_request_error")


LINES = st.builds(
    b"%b %b HTTP/%b".__mod__,
    st.tuples(
        st.sampled_from([b"POST", b"GET", b"DELETE", b"PUT", b"OPTIONS", b"CONNECT", b"PATCH", b"get", b"P\0ST", b""]),
        st.sampled_from(
            [
                b"/v1/messages", b"/v1/messages", b"/v1/files", b"/v1/files/planted", b"/api/hello", b"/v1/skills",
                b"/v1/models/claude-haiku-4-5", b"/v1/messages/batches", b"/", b"*", b"", b"http://planted/v1/files",
                b"/v1/messages?planted=%00", b"//planted", b"/v1/%2e%2e/planted", b"/v1/files/..", b"/\xffplanted",
                b"/#planted",
            ]
        ),
        st.sampled_from([b"1.1", b"1.1", b"1.1", b"1.1", b"1.0", b"0.9", b"2.0", b"1.7", b""]),
    ),
)  # fmt: skip
HEADERS = st.lists(
    st.sampled_from(
        [
            b"x-api-key: " + KEY.encode(), b"x-api-key: " + KEY.encode(), b"x-api-key: gwk_planted",
            b"Authorization: Bearer " + KEY.encode(), b"Authorization: Bearer planted", b"Cookie: planted=1",
            b"Host: planted.test", b"Content-Length: 5", b"Content-Length: 91", b"Content-Length: 0", CHUNKED, CHUNKED,
            b"Content-Length: 99999999999", b"Transfer-Encoding: gzip, chunked", b"Expect: 100-continue",
            b"Content-Encoding: gzip", b"Content-Encoding: br", b"Connection: close", b"Connection: keep-alive",
            b"Connection: upgrade", b"Upgrade: websocket", b"Upgrade: h2c", b"x-planted: \x01", b"x-planted:\x00",
            b" folded: planted", b"x-planted: " + b"planted" * 1000, b"anthropic-version: 2023-06-01",
            b"content-type: multipart/form-data; boundary=planted", b"x-planted: \xff\xfe", b"Trailer: planted",
        ]
    ),
    max_size=7,
)  # fmt: skip
BODIES = st.sampled_from(
    [
        b"", b"", ASK, chunks(ASK), chunks(b"planted"), chunks(ASK[:9], ASK[9:], end=b"0\r\nx-planted: 1\r\n\r\n"),
        b"5\r\nplanted\r\n", b"planted", b'{"planted": ', SMUGGLED, chunks(SMUGGLED), b"fffffffffffffffff\r\n",
    ]
)  # fmt: skip
REQUESTS = st.builds(
    lambda line, host, headers, body: CRLF.join([line, *host, *headers, b"", b""]) + body,
    LINES,
    st.sampled_from([[b"Host: gateway.test"], [b"Host: gateway.test"], [b"Host: gateway.test"], []]),
    HEADERS,
    BODIES,
)


@st.composite
def attacks(draw: st.DrawFn) -> list[bytes]:
    """A few requests behind each other, some bytes of them changed, cut into segments."""
    sent = bytearray(b"".join(draw(st.lists(REQUESTS, min_size=1, max_size=3))))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(sent)))
        change = draw(st.sampled_from([b"", b"\r", b"\n", b"\r\n", b"\0", b" ", b":", b"0", b"\xff", b"planted"]))
        sent[at : at + draw(st.integers(0, 2))] = change
    cuts = sorted(draw(st.lists(st.integers(0, len(sent)), max_size=3)))
    return [bytes(sent[a:b]) for a, b in zip([0, *cuts], [*cuts, len(sent)], strict=True)]


# Whatever state the bytes before it left the connection in, one of the two is a whole request, or the body stops.
LAST = b"\r\n\r\nGET /api/hello HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n"


async def attack(gateway: Running, segments: Sequence[bytes]) -> bytes:
    """Send the segments and then what ends every sound connection; all that came until the gateway closed."""
    said = b""
    try:
        async with gateway.client() as client:
            for segment in segments:
                client.send(segment)
                await asyncio.sleep(0.002 if len(segment) % 3 == 0 else 0)
            client.send(LAST)
            await asyncio.sleep(0.005)
            client.send(LAST)
            while piece := await asyncio.wait_for(client.reader.read(65536), 10):
                said += piece
    except ConnectionError:
        pass
    return said


def answers(said: bytes) -> list[tuple[int, dict[bytes, bytes], bytes]]:
    """Every final answer in a byte stream, which must hold nothing but answers; the last may be cut."""
    found = []
    while said:
        head, mark, said = said.partition(b"\r\n\r\n")
        first, *lines = head.split(CRLF)
        version, status, _ = first.split(b" ", 2)
        assert version == b"HTTP/1.1", head
        assert mark
        if status == b"100":
            continue
        headers = {name.lower(): value for name, _, value in (line.partition(b": ") for line in lines)}
        size = int(headers[b"content-length"])
        found.append((int(status), headers, said[:size]))
        said = said[size:]
    return found


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(st.lists(attacks(), min_size=8, max_size=24))
def test_anything_at_all(
    tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture, several: list[list[bytes]]
) -> None:
    """Whatever bytes come: no hang, no fault of ours, our shape, nothing quoted in a log, nothing sent unlogged."""
    caplog.clear()
    asyncio.run(anything(tmp_path_factory, caplog, several))


async def anything(
    tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture, several: list[list[bytes]]
) -> None:
    faults: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(str(context)))
    short = {"head_seconds": 0.15, "body_idle_seconds": 0.15}
    async with Sink() as upstream, starting(tmp_path_factory.mktemp("state")) as start:
        gateway = await start(upstream.url, settings=short)
        came = await asyncio.gather(*(attack(gateway, segments) for segments in several))
        got = [answer for said in came for answer in answers(said)]
        async with asyncio.timeout(10):
            while gateway.app.server.running:
                await asyncio.sleep(0.01)
        lines = [line for line in gateway.lines if line["event"] == "request"]

    for status, headers, body in got:
        assert headers[b"x-gateway-request-id"]
        assert headers[b"request-id"]
        assert status < 500, body
        if status >= 400:
            error = msgspec.json.decode(body)
            assert error["type"] == "error"
            assert error["request_id"].encode() == headers[b"request-id"]
            assert b"gwk_" not in body
    logged = {line["request_id"] for line in lines}
    assert {headers[b"x-gateway-request-id"].decode() for _, headers, _ in got} <= logged
    assert len(upstream.taken) == sum(1 for line in lines if line.get("attempts"))
    assert [line for line in gateway.lines if line["event"] != "request"] == []
    assert "planted" not in json.dumps(gateway.lines)
    assert KEY not in json.dumps(gateway.lines)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert faults == []
