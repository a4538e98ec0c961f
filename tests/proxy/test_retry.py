"""Attempts on the wire: what is repeated is not seen by the team, what is not is relayed as it came."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from gateway.core.http import Headers
from gateway.core.limits import Bucket, Kind
from gateway.core.retries import Retry
from tests.proxy.conftest import ASK, KEY, Running, Start
from tests.raw import RawAnswer, request
from tests.wire.scripted import (
    Scripted,
    Step,
    answer,
    close,
    half_close,
    pause,
    read_head,
    read_request,
    reset,
    send,
    serve,
    stall,
)

FINE = answer(b'{"usage":{"input_tokens":3,"output_tokens":5}}', b"200 OK", b"request-id: req_good")
STREAM = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nrequest-id: req_s\r\ntransfer-encoding: chunked\r\n\r\n"
)
START = (
    b'event: message_start\ndata: {"type":"message_start","message":{"model":"claude-opus-5",'
    b'"usage":{"input_tokens":11,"output_tokens":1}}}\n\n'
)
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


def failing(status: bytes, kind: str, *headers: bytes, message: str = "no", code: str = "") -> bytes:
    details = b',"details":{"error_code":"%b"}' % code.encode() if code else b""
    body = b'{"type":"error","error":{"type":"%b","message":"%b"%b},"request_id":"req_bad"}'
    whole = body % (kind.encode(), message.encode(), details)
    return answer(whole, status, b"request-id: req_bad", b"content-type: application/json", *headers)


OVERLOADED = failing(b"529 Overloaded", "overloaded_error")


def event(kind: str) -> bytes:
    return b'event: error\ndata: {"type":"error","error":{"type":"%b","message":"Overloaded"}}\n\n' % kind.encode()


OVERLOADED_EVENT = event("overloaded_error")


def chunked(*pieces: bytes) -> bytes:
    return STREAM + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def each(*answers: bytes) -> list[Step]:
    """One answer after another on one connection."""
    return [step for one in answers for step in (read_request(), send(one))]


async def post(gateway: Running, headers: Headers | None = None) -> RawAnswer:
    return await gateway.ask("POST", "/v1/messages", headers, body=ASK)


@pytest.mark.parametrize(
    ("first", "outcome", "reason"),
    [
        (OVERLOADED, "529", "overloaded"),
        (failing(b"529 x", "overloaded_error", b"retry-after: 0"), "529", "overloaded"),
        (failing(b"529 x", "overloaded_error", b"retry-after-ms: 10"), "529", "overloaded"),
        (failing(b"503 x", "api_error"), "503", "unavailable"),
        (failing(b"500 x", "api_error"), "500", "error"),
        (failing(b"429 x", "rate_limit_error", b"retry-after: 0"), "429", "rate_limited"),
        (failing(b"429 x", "rate_limit_error", b"retry-after: 1"), "429", "rate_limited"),
        (chunked(event("overloaded_error")), "200_overloaded_error", "overloaded_event"),
        (chunked(PING, PING, event("api_error")), "200_api_error", "error_event"),
    ],
    ids=["529", "529-now", "529-ms", "503", "500", "429-now", "429-1s", "overloaded-event", "api-event"],
)
async def test_refusals_that_the_team_does_not_see(start: Start, first: bytes, outcome: str, reason: str) -> None:
    """A refusal that cost nothing is repeated; the record has both tries, the answer is the second's."""
    async with Scripted(each(first, FINE), each(FINE)) as upstream:
        gateway = await start(upstream.url)
        got = await post(gateway)
        (line,) = await gateway.requests(1)

    assert (200, b"req_good") == (got.status, got.value(b"request-id"))
    assert (2, "ok", "req_good") == (line["attempts"], line["ended"], line["upstream_request_id"])
    assert 1 == gateway.metric("gateway_upstream_attempts_total", workspace="main", outcome=outcome)
    assert 1 == gateway.metric("gateway_upstream_attempts_total", workspace="main", outcome="200")
    assert 1 == gateway.metric("gateway_retries_total", workspace="main", reason=reason)
    assert 49 == gateway.metric("gateway_retry_budget", workspace="main")
    assert upstream.requests[0].raw_body == upstream.requests[1].raw_body == ASK


SPENT = "You have reached your specified API usage limits. You will regain access on 2099-01-01 at 00:00 UTC."
PAST = format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True).encode()
SOON = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True).encode()


@pytest.mark.parametrize(
    "first",
    [
        failing(b"429 x", "rate_limit_error"),
        failing(b"429 x", "rate_limit_error", b"retry-after: 6"),
        failing(b"429 x", "rate_limit_error", b"retry-after: -1"),
        failing(b"429 x", "rate_limit_error", b"retry-after: soon"),
        failing(b"429 x", "rate_limit_error", b"retry-after: 1000000000000"),
        failing(b"429 x", "rate_limit_error", b"retry-after: " + SOON),
        failing(b"529 x", "overloaded_error", b"retry-after: 1000000000000"),
        failing(b"529 x", "overloaded_error", b"x-should-retry: false"),
        failing(b"429 x", "rate_limit_error", b"retry-after: 0", code="enforced_spend_limit_reached"),
        failing(b"429 x", "rate_limit_error", code="contract_spend_limit_reached"),
        failing(b"400 x", "invalid_request_error", message=SPENT),
        failing(b"400 x", "invalid_request_error"),
        failing(b"402 x", "billing_error"),
        failing(b"404 x", "not_found_error"),
        failing(b"502 x", "api_error"),
        failing(b"504 x", "timeout_error"),
        answer(b'{"message":"Error"}', b"500 x", b"request-id: req_bad"),
        answer(b"", b"503 x", b"request-id: req_bad"),
        answer(b"", b"200 OK", b"request-id: req_bad"),
        chunked(event("invalid_request_error")).replace(b"req_s", b"req_bad"),
        chunked(START, event("overloaded_error")).replace(b"req_s", b"req_bad"),
        chunked().replace(b"req_s", b"req_bad"),
    ],
    ids=["429", "429-6s", "429-negative", "429-word", "429-10^12", "429-date", "529-10^12", "told-not-to", "spend-cap",
         "contract-cap", "usage-limit", "400", "402", "404", "502", "504", "500-not-api", "503-empty", "200-empty",
         "other-event", "after-an-event", "empty-stream"],
)  # fmt: skip
async def test_answers_that_are_relayed_at_once(start: Start, first: bytes) -> None:
    """Everything else is the client's: one call, its status and its bytes unchanged."""
    async with Scripted(each(first, FINE), each(FINE)) as upstream:
        gateway = await start(upstream.url)
        got = await post(gateway)

    assert 1 == len(upstream.requests)
    assert int(first[9:12]) == got.status
    assert b"req_bad" == got.value(b"request-id")
    assert not got.body or got.body in first.replace(b"\r\n%x\r\n" % len(OVERLOADED_EVENT), b"")


async def test_a_date_that_has_passed_means_now(start: Start) -> None:
    """`retry-after` with a date in the past allows the repeat at once."""
    first = failing(b"429 x", "rate_limit_error", b"retry-after: " + PAST)
    async with Scripted(each(first, FINE), each(FINE)) as upstream:
        gateway = await start(upstream.url)

        assert 200 == (await post(gateway)).status


async def test_at_most_two_extra_attempts(start: Start) -> None:
    """Three refusals are the client's; the last one is what it sees."""
    async with Scripted(each(OVERLOADED, OVERLOADED, OVERLOADED.replace(b"no", b"NO"), FINE)) as upstream:
        gateway = await start(upstream.url)
        got = await post(gateway)
        (line,) = await gateway.requests(1)

    assert (529, "overloaded_error", "NO") == got_error(got)
    assert (3, 3) == (len(upstream.requests), line["attempts"])


def got_error(got: RawAnswer) -> tuple[int, str, str]:
    return got.status, got.json["error"]["type"], got.json["error"]["message"]


@pytest.mark.parametrize(
    ("headers", "calls"),
    [
        ([(b"x-stainless-retry-count", b"1")], 2),
        ([(b"x-stainless-retry-count", b"2")], 1),
        ([(b"user-agent", b"claude-cli/2.1.86 (external, cli)")], 2),
        ([(b"x-stainless-timeout", b"0.000001")], 1),
    ],
    ids=["second try", "third try", "claude code", "no time left"],
)
async def test_a_client_that_repeats_by_itself(start: Start, headers: Headers, calls: int) -> None:
    """Its attempts are taken off ours, and so is the time that it will not wait."""
    async with Scripted([serve(OVERLOADED)]) as upstream:
        gateway = await start(upstream.url)
        got = await post(gateway, headers)

    assert (529, calls) == (got.status, len(upstream.requests))


async def test_a_stale_connection(start: Start) -> None:
    """A pooled connection that turns out closed costs the team nothing."""
    async with Scripted([*each(FINE), read_request(), close()], [serve(FINE)]) as upstream:
        gateway = await start(upstream.url)
        first, second = await post(gateway), await post(gateway)

    assert (200, 200, 3) == (first.status, second.status, len(upstream.requests))
    assert 1 == gateway.metric("gateway_retries_total", workspace="main", reason="stale")


@pytest.mark.parametrize(
    "script",
    [
        [*each(FINE), read_request(), send(b"HTTP/1.1 103 Early Hints\r\n\r\n"), close()],
        [*each(FINE), read_request(), send(b"HTTP/1.1 2"), close()],
        [*each(FINE), read_request(), pause(2.1), close()],
    ],
    ids=["after-103", "after-a-byte", "after-2s"],
)
async def test_a_connection_that_was_alive(start: Start, script: list[Step]) -> None:
    """One that said anything, or took its time, may have worked on the request: 502 and no repeat."""
    async with Scripted(script, [serve(FINE)]) as upstream:
        gateway = await start(upstream.url)
        await post(gateway)
        got = await post(gateway)

    assert (502, 2) == (got.status, len(upstream.requests))


@pytest.mark.parametrize(
    "script", [[read_request(), close()], [read_request(), reset()], [read_request(), half_close(), stall()]],
    ids=["close", "reset", "half-close"],
)  # fmt: skip
async def test_a_new_connection_that_closes_without_a_status(start: Start, script: list[Step]) -> None:
    """Nobody knows what became of the request: 502, and no repeat by us."""
    async with Scripted(script, [serve(FINE)]) as upstream:
        gateway = await start(upstream.url)
        got = await post(gateway)

    assert (502, 1) == (got.status, len(upstream.requests))


async def test_early_hints_are_no_answer(start: Start) -> None:
    """1xx answers before a refusal change nothing: it is repeated, and 1xx before the good answer are passed over."""
    hints = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    async with Scripted(each(hints + OVERLOADED, hints + FINE)) as upstream:
        gateway = await start(upstream.url)
        got = await post(gateway)

    assert (200, [], 2) == (got.status, got.interim, len(upstream.requests))


async def test_a_timeout_is_never_repeated(start: Start) -> None:
    """Claude may be working on it: 504 after the first."""
    async with Scripted([read_request(), stall()], [serve(FINE)]) as upstream:
        gateway = await start(upstream.url, settings={"first_byte_seconds": 0.2})
        got = await post(gateway)

    assert (504, 1) == (got.status, len(upstream.requests))


async def test_a_refused_connection_is_repeated(start: Start) -> None:
    """Three tries to connect, then 502."""
    async with Scripted([]) as upstream:
        url = upstream.url
    gateway = await start(url)
    got = await post(gateway)
    (line,) = await gateway.requests(1)

    assert (502, 3) == (got.status, line["attempts"])
    assert 2 == gateway.metric("gateway_retries_total", workspace="main", reason="connect")


@pytest.mark.parametrize("status", [b"502 x", b"504 x", b"500 x", b"503 x"])
async def test_reads_repeat_more(start: Start, status: bytes) -> None:
    """A GET costs nothing, so an edge's bare 50x is repeated as well."""
    async with Scripted(each(answer(b"<html>", status), FINE)) as upstream:
        gateway = await start(upstream.url)
        got = await gateway.ask("GET", "/v1/files/file_1")

    assert (200, 2) == (got.status, len(upstream.requests))


@pytest.mark.parametrize(
    ("method", "target", "body"), [("POST", "/v1/agents", b"{}"), ("DELETE", "/v1/files/file_1", b"")]
)
async def test_writes_are_not_repeated(start: Start, method: str, target: str, body: bytes) -> None:
    """What may have made or changed an object is the client's to repeat."""
    async with Scripted(each(OVERLOADED, FINE)) as upstream:
        gateway = await start(upstream.url)
        got = await gateway.ask(method, target, body=body)

    assert (529, 1) == (got.status, len(upstream.requests))


async def test_uploads_are_not_repeated(start: Start) -> None:
    """A streamed body is gone once it was sent."""
    async with Scripted(each(OVERLOADED, FINE)) as upstream:
        gateway = await start(upstream.url)
        got = await gateway.ask("POST", "/v1/files", [(b"content-type", b"multipart/form-data; boundary=x")], b"abc")

    assert (529, 1) == (got.status, len(upstream.requests))


@pytest.mark.parametrize(
    "rest",
    [[close()], [reset()], [send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(OVERLOADED_EVENT), OVERLOADED_EVENT))]],
    ids=["close", "reset", "error event"],
)
async def test_nothing_is_repeated_after_a_byte(start: Start, rest: list[Step]) -> None:
    """Once the first event is complete the client has it, and whatever happens then is its own to see."""
    first = b"%x\r\n%b\r\n" % (len(START), START)
    async with Scripted([read_request(), send(STREAM + first), pause(0.1), *rest], [serve(FINE)]) as upstream:
        gateway = await start(upstream.url)
        got = await post(gateway)

    assert (200, 1) == (got.status, len(upstream.requests))
    assert got.body.startswith(START)
    assert b"event: error" in got.body


async def test_a_silent_stream_is_released_after_two_seconds(start: Start) -> None:
    """Held bytes and head go out unchanged 2 s after Claude's head; what comes later is not repeated."""
    ping = b"%x\r\n%b\r\n" % (len(PING), PING)
    late = event("overloaded_error")
    script = [read_request(), send(STREAM + ping), pause(3), send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(late), late))]
    async with Scripted(script, [serve(FINE)]) as upstream:
        gateway = await start(upstream.url)
        async with gateway.client() as client:
            began = time.monotonic()
            client.send(request("POST", "/v1/messages", body=ASK, key=KEY))
            head = await client.head()
            assert await client.chunk() == PING
            seconds = time.monotonic() - began
            assert await client.chunk() == late

    assert (200, 1) == (head.status, len(upstream.requests))
    assert 1.9 < seconds < 2.9


async def test_the_first_event_is_not_waited_for_any_longer(start: Start) -> None:
    """Head and first event leave together, at once, while the stream goes on."""
    first = b"%x\r\n%b\r\n" % (len(START), START)
    async with Scripted([read_request(), send(STREAM + first), stall()]) as upstream:
        gateway = await start(upstream.url)
        async with gateway.client() as client:
            client.send(request("POST", "/v1/messages", body=ASK, key=KEY))
            await client.head()

            assert await asyncio.wait_for(client.chunk(), 1) == START


async def test_a_large_first_event_is_released(start: Start) -> None:
    """An event beyond 64 KiB passes as it comes."""
    big = b"event: message_start\ndata: " + b"x" * 200_000
    async with Scripted([read_request(), send(STREAM + b"%x\r\n%b\r\n" % (len(big), big)), stall()]) as upstream:
        gateway = await start(upstream.url)
        async with gateway.client() as client:
            client.send(request("POST", "/v1/messages", body=ASK, key=KEY))
            await client.head()
            got = b""
            while len(got) < len(big):
                got += await asyncio.wait_for(client.chunk(), 1)

    assert got == big


async def test_a_held_client_that_leaves(start: Start) -> None:
    """The upstream connection closes at once though nothing was relayed yet."""
    async with Scripted([read_request(), send(STREAM), stall()]) as upstream:
        gateway = await start(upstream.url)
        async with gateway.client() as client:
            client.send(request("POST", "/v1/messages", body=ASK, key=KEY))
            await upstream.asked()
            await asyncio.sleep(0.05)
            client.abort()
        (line,) = await gateway.requests(1)

    assert "client_gone" == line["ended"]


async def test_a_client_that_leaves_during_the_wait(start: Start) -> None:
    """Nobody waits any more: nothing is sent again."""
    async with Scripted([serve(failing(b"529 x", "overloaded_error", b"retry-after: 3"))]) as upstream:
        gateway = await start(upstream.url)
        async with gateway.client() as client:
            client.send(request("POST", "/v1/messages", body=ASK, key=KEY))
            await upstream.asked()
            await asyncio.sleep(0.1)
            client.abort()
        (line,) = await gateway.requests(1)

    assert ("client_gone", 1, 1) == (line["ended"], line["attempts"], len(upstream.requests))


async def test_the_retry_budget_runs_out(start: Start) -> None:
    """Without a saved retry a refusal is relayed at once; four admissions later one is repeated."""
    async with Scripted([serve(OVERLOADED)]) as upstream:
        gateway = await start(upstream.url)
        for _ in range(50):
            await gateway.app._ledger.retry(Retry("", "main", "main", ()))
        calls = []
        for _ in range(5):
            before = len(upstream.requests)
            await post(gateway)
            calls.append(len(upstream.requests) - before)

    assert [1, 1, 1, 2, 1] == calls
    assert 0.25 == gateway.metric("gateway_retry_budget", workspace="main")


async def test_a_retry_needs_the_workspaces_own_room(start: Start) -> None:
    """The ceiling of the workspace holds for repeats too."""
    ceiling = Bucket("workspace:main", Kind.REQUESTS, "*", 2)
    async with Scripted([serve(OVERLOADED)]) as upstream:
        gateway = await start(upstream.url, workspace={"buckets": (ceiling,)})
        got = await post(gateway)

    assert (529, 2) == (got.status, len(upstream.requests))


async def test_an_early_refusal_of_a_large_body(start: Start) -> None:
    """A refusal that comes before the body was taken is repeated with the whole body."""
    body = ASK.replace(b"Hi", b"x" * 3_000_000)
    async with Scripted([read_head(), send(OVERLOADED), stall()], [serve(FINE)]) as upstream:
        gateway = await start(upstream.url)
        got = await gateway.ask("POST", "/v1/messages", body=body)

    assert 200 == got.status
    assert upstream.requests[1].body == body
