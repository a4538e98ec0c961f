"""How a gateway goes: unready, still accepting for a while, then finishing what runs, then gone."""

import asyncio

from tests.proxy.conftest import ASK, KEY, Start
from tests.proxy.test_endings import FINE, START, STREAM, chunk
from tests.raw import RawClient, request
from tests.wire.scripted import Scripted, read_eof, read_request, send, serve, stall, tell, until


async def test_answers_during_the_delay_close_their_connection(start: Start) -> None:
    """While it is unready a gateway still answers, and tells each client of a plain answer to connect elsewhere."""
    async with Scripted([serve(FINE)]) as upstream:
        gateway = await start(upstream.url, settings={"drain_delay_seconds": 0.6})
        stopping = asyncio.create_task(gateway.app.stop(asyncio.Event()))
        await asyncio.sleep(0)
        async with RawClient(gateway.app.ops_port) as ops:
            ready = await ops.ask("GET", "/readyz")
        async with gateway.client() as client:
            got = await client.ask("POST", "/v1/messages", body=ASK, key=KEY)
            closed = await client.closed()
        await stopping

    assert (ready.status, got.status, got.value(b"connection")) == (503, 200, b"close")
    assert closed


async def test_stream_is_finished_before_the_end(start: Start) -> None:
    """A stream that runs is drained to its own end, without a `Connection: close` that would hide a cut."""
    go = asyncio.Event()
    async with Scripted([read_request(), until(go), send(STREAM + chunk(START)), send(b"0\r\n\r\n")]) as upstream:
        gateway = await start(upstream.url, settings={"drain_delay_seconds": 0})
        async with gateway.client() as client:
            client.send(request("POST", "/v1/messages", body=ASK, key=KEY))
            async with asyncio.timeout(5):
                while not upstream.requests:
                    await asyncio.sleep(0.01)
            stopping = asyncio.create_task(gateway.app.stop(asyncio.Event()))
            await asyncio.sleep(0.1)
            go.set()
            got = await client.answer()
            closed = await client.closed()
        await stopping

    assert (got.body, got.ended, got.values(b"connection")) == (START, True, [])
    assert closed


async def test_stream_that_outlives_the_drain(start: Start) -> None:
    """When the drain is over a stream ends with an error event, and is settled and logged."""
    async with Scripted([read_request(), send(STREAM + chunk(START)), stall()]) as upstream:
        gateway = await start(upstream.url, settings={"drain_delay_seconds": 0, "drain_seconds": 0.2})
        async with gateway.client() as client:
            client.send(request("POST", "/v1/messages", body=ASK, key=KEY))
            head = await client.head()
            await client.chunk()
            await gateway.app.stop(asyncio.Event())
            last = await client.reader.read()
        line = (await gateway.requests(1))[0]

    assert head.status == 200
    assert b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"' in last
    assert last.endswith(b"0\r\n\r\n")
    assert (line["ended"], line["input_tokens"]) == ("cut", 11)


async def test_session_streams_end_with_the_drain(start: Start) -> None:
    """A stream of session events has no end of its own: it is ended when the listener closes, at an event border."""
    left = asyncio.Event()
    part = b"event: agent.message\ndata: {}\n\nevent: session.us"
    async with Scripted([read_request(), send(STREAM + chunk(part)), read_eof(), tell(left)]) as upstream:
        gateway = await start(upstream.url, settings={"drain_delay_seconds": 0})
        async with gateway.client() as client:
            client.send(request("GET", "/v1/sessions/sesn_1/events/stream", key=KEY))
            await client.head()
            assert await client.chunk() == part
            await gateway.app.stop(asyncio.Event())
            rest = await client.reader.read()
        await asyncio.wait_for(left.wait(), 5)

    assert rest == b"1\r\n\n\r\n0\r\n\r\n"


async def test_body_under_way_when_the_drain_ends(start: Start) -> None:
    """A call that was not answered yet is told to come again."""
    arrived = asyncio.Event()
    async with Scripted([read_request(), tell(arrived), stall()]) as upstream:
        gateway = await start(upstream.url, settings={"drain_delay_seconds": 0, "drain_seconds": 0.2})
        async with gateway.client() as client:
            client.send(request("POST", "/v1/messages", body=ASK, key=KEY))
            await arrived.wait()
            await gateway.app.stop(asyncio.Event())
            got = await client.answer()

    assert got.error[:2] == (529, "overloaded_error")
    assert (got.value(b"x-should-retry"), got.value(b"retry-after")) == (b"true", b"1")


async def test_head_that_was_about_to_leave_when_the_drain_ends(start: Start) -> None:
    """An answer of which nothing has left gives way to the refusal whole, framing and all."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    came = asyncio.Event()
    async with Scripted([read_request(), send(head), tell(came), stall()]) as upstream:
        gateway = await start(upstream.url, settings={"drain_delay_seconds": 0, "drain_seconds": 0.1})
        async with gateway.client() as client:
            client.send(request("POST", "/v1/messages", body=ASK, key=KEY))
            await came.wait()
            await asyncio.sleep(0.05)
            await gateway.app.stop(asyncio.Event())
            got = await client.answer()

    assert got.error[:2] == (529, "overloaded_error")
    assert got.values(b"transfer-encoding") == []
