"""However a request ends, the end is honest: for the client, for Claude and in the one log line."""

import asyncio

import pytest

from gateway.core.errors import error_event
from tests.proxy.conftest import ASK, KEY, Running, Start
from tests.raw import request
from tests.wire.scripted import (
    Scripted,
    Step,
    close,
    half_close,
    pause,
    pour,
    read_eof,
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

STREAM = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nrequest-id: req_7\r\ntransfer-encoding: chunked\r\n\r\n"
)
START = (
    b'event: message_start\ndata: {"type":"message_start","message":{"model":"claude-opus-5",'
    b'"usage":{"input_tokens":11,"output_tokens":1}}}\n\n'
)
DELTA = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":"Hello there, this is forty bytes of it!"}}\n\n'
)
FINE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def test_client_that_leaves_before_the_first_token(start: Start) -> None:
    """The upstream connection is closed at once when the client leaves a call that was not answered yet."""
    arrived, left = asyncio.Event(), asyncio.Event()
    async with Scripted([read_request(), tell(arrived), read_eof(), tell(left)]) as upstream:
        gateway = await start(upstream.url)
        async with gateway.client() as client:
            client.send(request("POST", "/v1/messages", body=ASK, key=KEY))
            await arrived.wait()
            client.abort()
        await asyncio.wait_for(left.wait(), 5)
        line = (await gateway.requests(1))[0]

    assert (line["ended"], line["status"]) == ("client_gone", 499)


async def test_client_that_half_closes_counts_as_gone(start: Start) -> None:
    """A client that closes its half can't be told from one that left; its stream would cost money."""
    left = asyncio.Event()
    async with Scripted([read_request(), send(STREAM + chunk(START)), read_eof(), tell(left)]) as upstream:
        gateway = await start(upstream.url)
        async with gateway.client() as client:
            client.send(request("POST", "/v1/messages", body=ASK, key=KEY))
            await client.head()
            assert await client.chunk() == START
            client.writer.write_eof()
            await asyncio.wait_for(left.wait(), 5)
        line = (await gateway.requests(1))[0]

    assert line["ended"] == "client_gone"
    assert (line["input_tokens"], line["estimated"]) == (11, "cancelled")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (START, START),
        (START + DELTA[:25], START + DELTA[:25] + b"\n"),
        (START + DELTA[:-2], START + DELTA[:-2] + b"\n"),
        (START + DELTA[:-1], START + DELTA[:-1]),
        (b"", b""),
    ],
    ids=["border", "in-a-line", "at-a-line-end", "after-a-line", "nothing-yet"],
)
@pytest.mark.parametrize("death", [close(), reset()], ids=["eof", "reset"])
async def test_upstream_that_dies_in_a_stream(start: Start, sent: bytes, kept: bytes, death: Step) -> None:
    """The client gets an error event, and no broken event before it."""
    script = [read_request(), send(STREAM + (chunk(sent) if sent else b"")), pause(0.05), death]
    async with Scripted(script) as upstream:
        gateway = await start(upstream.url)
        got = await gateway.ask("POST", "/v1/messages", body=ASK)
        line = (await gateway.requests(1))[0]

    said = error_event("api_error", "The connection to Claude broke in the middle of its answer. Retry.", "req_7")
    assert got.ended
    assert kept + said == got.body
    assert (line["ended"], line["status"]) == ("cut", 200)


@pytest.mark.parametrize(
    "head",
    [b'content-length: 100\r\n\r\n{"id":', b"transfer-encoding: chunked\r\n\r\n" + chunk(b'{"id":')],
    ids=["length", "chunked"],
)
async def test_upstream_that_dies_in_a_json_body(start: Start, head: bytes) -> None:
    """A cut JSON body ends without an end mark, so that no client takes it for whole."""
    async with Scripted([read_request(), send(b"HTTP/1.1 200 OK\r\n" + head), pause(0.05), close()]) as upstream:
        gateway = await start(upstream.url)
        got = await gateway.ask("POST", "/v1/messages", body=ASK)
        line = (await gateway.requests(1))[0]

    assert (got.ended, got.body) == (False, b'{"id":')
    assert line["ended"] == "cut"


@pytest.mark.parametrize(
    ("script", "status", "kind"),
    [
        ([read_request(), close()], 502, "api_error"),
        ([read_request(), reset()], 502, "api_error"),
        ([read_request(), half_close(), stall()], 502, "api_error"),
        ([read_request(), send(b"garbage\r\n\r\n"), stall()], 502, "api_error"),
        ([read_request(), stall()], 504, "timeout_error"),
    ],
    ids=["close", "reset", "half-close", "garbage", "silence"],
)
async def test_upstream_that_never_answers(start: Start, script: list[Step], status: int, kind: str) -> None:
    """Each way not to answer has its own API-shaped error, and is worth a repeat by the client."""
    async with Scripted(script) as upstream:
        gateway = await start(upstream.url, settings={"first_byte_seconds": 0.3})
        got = await gateway.ask("POST", "/v1/messages", body=ASK)
        line = (await gateway.requests(1))[0]

    assert got.error[:2] == (status, kind)
    assert (line["ended"], line["status"]) == ("upstream_failed", status)
    assert (got.value(b"x-should-retry"), got.value(b"retry-after")) == (b"true", b"1")


async def test_upstream_that_can_not_be_reached(start: Start) -> None:
    """A refused connection is a 502 that says so."""
    async with Scripted([]) as upstream:
        url = upstream.url
    gateway = await start(url)
    got = await gateway.ask("POST", "/v1/messages", body=ASK)

    assert got.error == (502, "api_error", "Claude could not be reached. Retry in a moment.")


async def test_stream_that_stalls(start: Start) -> None:
    """A stream that falls silent for the idle timeout ends with a timeout event."""
    async with Scripted([read_request(), send(STREAM + chunk(START)), stall()]) as upstream:
        gateway = await start(upstream.url, settings={"idle_seconds": 0.3})
        got = await gateway.ask("POST", "/v1/messages", body=ASK)

    assert got.body.startswith(START + b'event: error\ndata: {"type":"error","error":{"type":"timeout_error"')


async def test_head_that_never_ends(start: Start) -> None:
    """A client that begins a head and stops is told so and dropped; an idle one is left alone."""
    gateway = await start("http://127.0.0.1:9", settings={"head_seconds": 0.2})
    async with gateway.client() as slow, gateway.client() as idle:
        slow.send(b"GET /api/hello HTTP/1.1\r\nHost: a\r\n")
        got = await slow.answer("GET")
        idle.send(request("GET", "/api/hello"))

        assert got.error[:2] == (408, "timeout_error")
        assert await slow.closed()
        assert (await idle.answer("GET")).status == 200


async def test_body_that_never_ends(start: Start) -> None:
    """A body that stops coming is a 400 with Claude's own code, and the connection closes."""
    gateway = await start("http://127.0.0.1:9", settings={"body_idle_seconds": 0.2})
    async with gateway.client() as client:
        client.send(request("POST", "/v1/messages", [(b"Content-Length", b"100")], key=KEY) + b'{"model"')
        got = await client.answer()

    assert got.error[0] == 400
    assert got.json["error"]["details"]["error_code"] == "request_body_timeout"
    assert got.value(b"connection") == b"close"


async def test_upload_passes_while_it_comes(start: Start) -> None:
    """A file is never held: its first bytes reach Claude before its last ones leave the client."""
    arrived = asyncio.Event()
    fine = [read_head(), tell(arrived), read_exactly(3 << 20), send(FINE)]
    async with Scripted(fine) as upstream:
        gateway = await start(upstream.url)
        async with gateway.client() as client:
            head = [(b"Content-Length", b"%d" % (3 << 20)), (b"Content-Type", b"multipart/form-data; boundary=x")]
            client.send(request("POST", "/v1/files", head, key=KEY) + b"a" * (1 << 20))
            await asyncio.wait_for(arrived.wait(), 5)
            client.send(b"b" * (2 << 20))
            got = await client.answer()

    assert got.status == 200
    assert upstream.requests[0].values(b"content-length") == [b"%d" % (3 << 20)]


async def test_upload_without_a_length(start: Start) -> None:
    """A chunked upload stays chunked."""
    async with Scripted([serve(FINE)]) as upstream:
        gateway = await start(upstream.url)
        async with gateway.client() as client:
            client.send(request("POST", "/v1/files", [(b"Transfer-Encoding", b"chunked")], key=KEY))
            client.send(chunk(b"abc") + chunk(b"def") + b"0\r\n\r\n")
            got = await client.answer()

    assert (got.status, upstream.requests[0].body) == (200, b"abcdef")


async def test_early_answer_to_an_upload(start: Start) -> None:
    """Claude may refuse a file before it has all of it: the answer reaches the client at once."""
    early = b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\n{}"
    async with Scripted([read_head(), send(early), stall()]) as upstream:
        gateway = await start(upstream.url)
        async with gateway.client() as client:
            client.send(request("POST", "/v1/files", [(b"Content-Length", b"%d" % (64 << 20))], key=KEY) + b"a" * 65536)
            got = await client.answer()

    assert (got.status, got.body) == (413, b"{}")
    assert got.value(b"connection") == b"close"


async def test_slow_reader_holds_the_upstream_back(start: Start) -> None:
    """A client that stops reading stops the upstream: nothing piles up in between."""
    total = 64 << 20
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total
    async with Scripted([read_request(), send(head), pour(total)]) as upstream:
        gateway = await start(upstream.url)
        async with gateway.client() as client:
            client.hold()
            client.send(request("GET", "/v1/files/file_1/content", key=KEY))
            poured = await steady(upstream)

            assert poured < 16 << 20
            client.go_on()
            got = await client.answer("GET")

    assert len(got.body) == total


async def test_large_single_event(start: Start) -> None:
    """An event of 5 MB passes whole and is metered."""
    big = b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"text":"%b"}}\n\n' % (
        b"x" * (5 << 20)
    )
    async with Scripted([read_request(), send(STREAM + chunk(START) + chunk(big) + b"0\r\n\r\n")]) as upstream:
        gateway = await start(upstream.url)
        got = await gateway.ask("POST", "/v1/messages", body=ASK)

    assert got.body == START + big


async def test_kept_connection_serves_many(start: Start) -> None:
    """One connection carries request after request, also pipelined ones."""
    async with Scripted([serve(FINE)]) as upstream:
        gateway = await start(upstream.url)
        async with gateway.client() as client:
            client.send(request("POST", "/v1/messages", body=ASK, key=KEY) * 3)
            statuses = [(await client.answer()).status for _ in range(3)]

    assert (statuses, upstream.connections) == ([200, 200, 200], 1)


async def test_old_client(start: Start) -> None:
    """A client of HTTP/1.0 gets an unframed stream until the close."""
    async with Scripted([read_request(), send(STREAM + chunk(START) + b"0\r\n\r\n")]) as upstream:
        gateway = await start(upstream.url)
        async with gateway.client() as client:
            client.send(request("POST", "/v1/messages", body=ASK, key=KEY).replace(b"HTTP/1.1", b"HTTP/1.0"))
            got = await client.answer()

    assert (got.values(b"transfer-encoding"), got.body) == ([], START)


async def steady(upstream: Scripted) -> int:
    """What the upstream could pour, once it has stopped growing."""
    last, same = -1, 0
    async with asyncio.timeout(20):
        while same < 10:
            await asyncio.sleep(0.05)
            poured = upstream.wires[0].poured if upstream.wires else 0
            same = same + 1 if poured == last and poured else 0
            last = poured
    return last


async def test_unhandled_fault_is_an_answer_and_a_line(start: Start) -> None:
    """A bug of ours is a 500 with an id, a line that says where, and no traceback with a client's bytes."""

    def broken(x: object) -> None:
        raise RuntimeError("gwk_planted_secret")

    gateway: Running = await start("http://127.0.0.1:9")
    gateway.app.observer.authenticated = broken  # type: ignore[method-assign]
    got = await gateway.ask("POST", "/v1/messages", body=ASK)

    assert got.error[:2] == (500, "api_error")
    assert "gwk_planted_secret" not in str(gateway.lines)
    assert next(line["fault"] for line in gateway.lines if line["event"] == "fault") == "RuntimeError"


async def test_upstream_that_dies_in_an_answer_that_should_have_been_a_stream(start: Start) -> None:
    """What an answer is decides how it ends: JSON to a client that asked for a stream gets no event in its middle."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    async with Scripted([read_request(), send(head + chunk(b'{"id":')), pause(0.05), close()]) as upstream:
        gateway = await start(upstream.url)
        got = await gateway.ask("POST", "/v1/messages", body=ASK[:-1] + b', "stream": true}')

    assert (got.ended, got.body) == (False, b'{"id":')


async def test_client_that_leaves_while_it_is_waited_for(start: Start) -> None:
    """A client that stopped reading and then leaves takes the upstream's connection with it."""
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (1 << 30)
    async with Scripted([read_request(), send(head), pour(1 << 30)]) as upstream:
        gateway = await start(upstream.url)
        async with gateway.client() as client:
            client.hold()
            client.send(request("GET", "/v1/files/file_1/content", key=KEY))
            await steady(upstream)
            client.abort()
        line = (await gateway.requests(1))[0]
        async with asyncio.timeout(5):  # a script ends when its connection is closed
            while not upstream.wires[0].writer.is_closing():
                await asyncio.sleep(0.01)

    assert line["ended"] == "client_gone"


async def test_head_of_a_stream_does_not_wait(start: Start) -> None:
    """A client learns that its stream has begun before Claude has said the first word."""
    go = asyncio.Event()
    async with Scripted([read_request(), send(STREAM), until(go), send(chunk(START) + b"0\r\n\r\n")]) as upstream:
        gateway = await start(upstream.url)
        async with gateway.client() as client:
            client.send(request("POST", "/v1/messages", body=ASK, key=KEY))
            head = await client.head()
            go.set()

            assert await client.chunk() == START
            assert head.value(b"request-id") == b"req_7"
