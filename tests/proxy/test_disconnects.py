"""Clients that leave: cancelled and charged for what was seen, or drained and charged exactly. One settlement each."""

import asyncio
from collections.abc import Callable

import pytest

from gateway.core.exchange import Attempt, Exchange
from gateway.core.http import Answer, Headers
from gateway.core.routes import match
from gateway.drains import Drains
from gateway.relay import Tap
from tests.proxy.conftest import ASK, KEY, Start
from tests.proxy.test_endings import DELTA, START, STREAM, chunk
from tests.proxy.test_fidelity import PLAIN, answer
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


@pytest.mark.parametrize("drains_most", [200, 0], ids=["there is room", "over the cap"])
async def test_answer_that_comes_as_the_client_leaves(start: Start, drains_most: int) -> None:
    """Claude's head and the client's end in one turn: the answer is drained, over the cap it is charged as held."""
    gateway = await start("http://127.0.0.1:9")
    drains, x = Drains(drains_most), Exchange.open(gateway.app.policy, 0.0, "POST", "/v1/messages")
    x.route = match("POST", "/v1/messages").route
    x.attempts.append(Attempt("main", "k1"))
    spoken, come = Spoken(), asyncio.Event()

    async def send() -> Answer:
        await come.wait()
        x.attempts[-1].outcome = "200"
        return spoken

    handler = asyncio.create_task(drains.outlast(x, send()))
    await asyncio.sleep(0)
    sending = drains._sending[x.id]
    sending.add_done_callback(lambda _: handler.cancel())  # after the answer is there, before it is looked at
    come.set()
    with pytest.raises(asyncio.CancelledError):
        await handler

    ended: list[Tap | None] = []
    taken = drains.take_over(x, None, None, ended.append)
    drains.let_go(x)
    await drains.stop(5)

    assert sending.done()
    assert (taken, spoken.closed, drains._sending) == (drains_most > 0, True, {})
    assert [tap is not None and tap.meter is not None for tap in ended] == ([True] if taken else [])
    assert (x.body_ended, x.unanswered) == (("ok", None) if taken else (None, "cancelled"))


class Spoken:
    """A whole answer."""

    def __init__(self) -> None:
        self.status, self.reason, self.reused, self.closed = 200, b"OK", False, False
        self.headers: Headers = [(b"content-type", b"application/json")]
        self._body = [PLAIN, b""]

    async def read(self) -> bytes:
        return self._body.pop(0)

    def close(self) -> None:
        self.closed = True


async def test_gateway_that_stops_before_the_head(start: Start) -> None:
    """A call of a draining team that was sent and not answered when the gateway goes may be billed: charged as held."""
    arrived = asyncio.Event()
    async with Scripted([read_request(), tell(arrived), stall()]) as upstream:
        settings = {"drain_delay_seconds": 0, "drain_seconds": 0.2}
        gateway = await start(upstream.url, settings=settings, on_disconnect="drain")
        async with gateway.client() as client:
            client.send(request("POST", "/v1/messages", body=ASK, key=KEY))
            await arrived.wait()
            await gateway.app.stop(asyncio.Event())
        line = (await gateway.requests(1))[0]

    assert (line["estimated"], line["output_tokens"]) == ("cancelled", 16)
    assert line["cost_usd"] == line["held_usd"] > 0
