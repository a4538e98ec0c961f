"""Clients that leave: cancelled and charged for what was seen, or drained and charged exactly. One settlement each."""

import asyncio
from collections.abc import Callable

import pytest

from tests.proxy.conftest import ASK, KEY, Start
from tests.proxy.test_endings import DELTA, START, STREAM, chunk
from tests.proxy.test_fidelity import answer
from tests.raw import request
from tests.wire.scripted import Scripted, Step, close, read_eof, read_request, send, stall, tell, until

LAST = (
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},'
    b'"usage":{"output_tokens":77}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
END = chunk(LAST) + b"0\r\n\r\n"


async def test_drained_stream_is_charged_exactly(start: Start) -> None:
    """With `drain` Claude finishes although the client has left in the middle, and the true usage is charged."""
    gone = asyncio.Event()
    script = [read_request(), send(STREAM + chunk(START + DELTA)), until(gone), send(chunk(DELTA) + END)]
    async with Scripted(script) as upstream:
        gateway = await start(upstream.url, on_disconnect="drain")
        async with gateway.client() as client:
            client.send(request("POST", "/v1/messages", body=ASK, key=KEY))
            await client.head()
            await client.chunk()
            client.abort()
        await asyncio.sleep(0.05)
        gone.set()
        line = (await gateway.requests(1))[0]

    assert (line["ended"], line.get("estimated")) == ("client_gone", None)
    assert (line["input_tokens"], line["output_tokens"]) == (11, 77)


async def test_drain_before_the_head(start: Start) -> None:
    """A client that leaves before the first byte of an answer is drained as well."""
    arrived, gone = asyncio.Event(), asyncio.Event()
    async with Scripted([read_request(), tell(arrived), until(gone), send(answer())]) as upstream:
        gateway = await start(upstream.url, on_disconnect="drain")
        async with gateway.client() as client:
            client.send(request("POST", "/v1/messages", body=ASK, key=KEY))
            await arrived.wait()
            client.abort()
        await asyncio.sleep(0.05)
        gone.set()
        line = (await gateway.requests(1))[0]

    assert (line["ended"], line["input_tokens"], line.get("estimated")) == ("client_gone", 9, None)


@pytest.mark.parametrize("end", [close, lambda: send(END)], ids=["cut", "whole"])
async def test_drain_that_breaks_is_an_estimate(start: Start, end: Callable[[], Step]) -> None:
    """A drained stream that is cut is charged for what was seen, marked; a whole one is not."""
    gone = asyncio.Event()
    script = [read_request(), send(STREAM + chunk(START + DELTA)), until(gone), end()]
    async with Scripted(script) as upstream:
        gateway = await start(upstream.url, on_disconnect="drain")
        async with gateway.client() as client:
            client.send(request("POST", "/v1/messages", body=ASK, key=KEY))
            await client.head()
            client.abort()
        await asyncio.sleep(0.05)
        gone.set()
        line = (await gateway.requests(1))[0]

    assert line.get("estimated") == (None if line["output_tokens"] == 77 else "cut")


async def test_cap_on_drains(start: Start) -> None:
    """Over the cap a client that leaves ends its upstream at once."""
    left = asyncio.Event()
    async with Scripted([read_request(), send(STREAM + chunk(START)), read_eof(), tell(left)]) as upstream:
        gateway = await start(upstream.url, on_disconnect="drain")
        gateway.app._proxy._drains._most = 0
        async with gateway.client() as client:
            client.send(request("POST", "/v1/messages", body=ASK, key=KEY))
            await client.head()
            await client.chunk()
            client.abort()
        await asyncio.wait_for(left.wait(), 5)
        line = (await gateway.requests(1))[0]

    assert (line["ended"], line["estimated"]) == ("client_gone", "cancelled")


async def test_drains_end_with_the_gateway(start: Start) -> None:
    """A drain that is still running when the gateway stops is charged by what was seen: no hold is left behind."""
    async with Scripted([read_request(), send(STREAM + chunk(START)), stall()]) as upstream:
        gateway = await start(
            upstream.url, on_disconnect="drain", settings={"drain_delay_seconds": 0, "drain_seconds": 0.2}
        )
        async with gateway.client() as client:
            client.send(request("POST", "/v1/messages", body=ASK, key=KEY))
            await client.head()
            await client.chunk()
            client.abort()
        await asyncio.sleep(0.05)
        await gateway.app.stop(asyncio.Event())
        line = (await gateway.requests(1))[0]

    assert (line["ended"], line["estimated"], line["input_tokens"]) == ("client_gone", "cancelled", 11)


async def test_cancelled_call_without_a_head_keeps_its_hold(start: Start) -> None:
    """With `cancel` a call that was not answered yet is charged its held output: Claude may have generated it."""
    arrived = asyncio.Event()
    async with Scripted([read_request(), tell(arrived), stall()]) as upstream:
        gateway = await start(upstream.url)
        async with gateway.client() as client:
            client.send(request("POST", "/v1/messages", body=ASK, key=KEY))
            await arrived.wait()
            client.abort()
        line = (await gateway.requests(1))[0]

    assert (line["estimated"], line["output_tokens"]) == ("cancelled", 16)
