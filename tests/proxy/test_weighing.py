"""What is held before a call: estimated, learned from what earlier calls used, or counted when it matters."""

import time

import msgspec

from gateway.core.json_fields import fields
from gateway.core.judge import asked_of
from gateway.core.limits import Bucket, Kind
from gateway.core.weigh import weigh
from tests.proxy.conftest import Start
from tests.proxy.test_fidelity import answer
from tests.servers import Server
from tests.wire.scripted import Scripted, Step, Wire, read_request, send

INPUT = Bucket("team:search", Kind.INPUT, "*", 1000)
TEXT = "A sentence of plain English words that says nothing much at all, over and over. " * 40


def body(text: str = TEXT, **more: object) -> bytes:
    asked = {"model": "claude-opus-5", "max_tokens": 4000, "messages": [{"role": "user", "content": text}], **more}
    return msgspec.json.encode(asked)


def used(input: int, output: int = 5) -> bytes:
    return answer(
        b'{"id":"m","model":"claude-opus-5","usage":{"input_tokens":%d,"output_tokens":%d}}' % (input, output)
    )


def serve_both(counted: int, used_answer: bytes) -> list[Step]:
    """Answers counts with `counted`, and messages with the answer."""
    read = read_request()

    async def step(wire: Wire) -> None:
        while True:
            await read(wire)
            line = wire.upstream.requests[-1].line
            await send(answer(b'{"input_tokens":%d}' % counted) if b"count_tokens" in line else used_answer)(wire)

    return [step]


async def test_estimate_stands_in_the_line(start: Start) -> None:
    """A text of English weighs what its letters say, within a tenth or so, without asking anybody."""
    async with Scripted(serve_both(0, used(740))) as upstream:
        gateway = await start(upstream.url)
        await gateway.ask("POST", "/v1/messages", body=body())
        line = (await gateway.requests(1))[0]

    assert len(upstream.requests) == 1
    assert 500 < line["estimated_input_tokens"] < 1100


async def test_adaptive_count_admits_what_the_estimate_would_refuse(start: Start) -> None:
    """Near the limit Claude is asked for an exact count, once; the count has its own label and no Messages bucket."""
    asked = asked_of(weigh(fields(body())))
    estimate, surely = round(asked.input), int(asked.surely)
    room = (
        estimate + (estimate + surely) // 2
    )  # after one such call what is left lies between the bound and the estimate
    async with Scripted(*[serve_both(surely, used(estimate))] * 2) as upstream:
        gateway = await start(upstream.url, buckets=(Bucket("team:search", Kind.INPUT, "*", room, 60),))
        first = await gateway.ask("POST", "/v1/messages", body=body())
        second = await gateway.ask("POST", "/v1/messages", body=body())
        lines = await gateway.requests(3)

    assert (first.status, second.status) == (200, 200)
    assert [line["route"] for line in lines].count("precount") == 1
    count = next(received for received in upstream.requests if b"count_tokens" in received.line)
    assert set(msgspec.json.decode(count.body)) == {"model", "messages"}


async def test_exact_count_goes_first(start: Start) -> None:
    """With `precount: exact` the held input is Claude's own number."""
    async with Scripted(*[serve_both(321, used(321))] * 2) as upstream:
        gateway = await start(upstream.url, buckets=(INPUT,), precount="exact")
        await gateway.ask("POST", "/v1/messages", body=body())
        line = next(line for line in await gateway.requests(2) if line["route"] == "messages")

    assert line["estimated_input_tokens"] == 321


async def test_estimate_alone_asks_nobody(start: Start) -> None:
    """With `precount: estimate` a call over the limit is refused by its estimate."""
    async with Scripted(serve_both(300, used(300))) as upstream:
        gateway = await start(upstream.url, buckets=(INPUT,), precount="estimate")
        await gateway.ask("POST", "/v1/messages", body=body())
        second = await gateway.ask("POST", "/v1/messages", body=body())

    assert second.error[:2] == (429, "rate_limit_error")
    assert not [received for received in upstream.requests if b"count_tokens" in received.line]


async def test_outputs_are_learned(start: Start) -> None:
    """After twenty answers the held output is what this team's answers have, not `max_tokens`."""
    output = Bucket("team:search", Kind.OUTPUT, "*", 6000)
    async with Scripted(serve_both(0, used(740, 50))) as upstream:
        gateway = await start(upstream.url, buckets=(output,))
        for _ in range(21):
            await gateway.ask("POST", "/v1/messages", body=body())
        await gateway.requests(21)
        learning = gateway.app._proxy._forecast.learning
        held = learning.output_tokens("search", "claude-opus-5", 4000, now=time.time())

    assert 40 <= held <= 80


async def test_estimates_are_learned(start: Start) -> None:
    """When Claude counts otherwise the estimate follows, for that model."""
    async with Scripted(serve_both(0, used(1500))) as upstream:
        gateway = await start(upstream.url)
        for _ in range(20):
            await gateway.ask("POST", "/v1/messages", body=body())
        lines = await gateway.requests(20)

    assert lines[0]["estimated_input_tokens"] < 1100
    assert 1350 < lines[-1]["estimated_input_tokens"] < 1650


async def test_cache_reads_do_not_count(start: Start) -> None:
    """What a team reads from its cache is learned and not held against its input limit."""
    cached = answer(
        b'{"id":"m","model":"claude-opus-5","usage":{"input_tokens":40,"cache_read_input_tokens":700,'
        b'"cache_creation_input_tokens":0,"output_tokens":5}}'
    )
    block = {"type": "text", "text": TEXT, "cache_control": {"type": "ephemeral"}}
    asked = msgspec.json.encode(
        {"model": "claude-opus-5", "max_tokens": 9, "system": [block], "messages": [{"role": "user", "content": "Hi"}]}
    )
    async with Scripted(serve_both(0, cached)) as upstream:
        gateway = await start(upstream.url, buckets=(Bucket("team:search", Kind.INPUT, "*", 60000),))
        for _ in range(6):
            await gateway.ask("POST", "/v1/messages", body=asked)
        left = (await gateway.ask("GET", "/gateway/v1/limits")).json["limits"][0]["remaining"]

    assert left >= 60000 - 6 * 45


async def test_thread_is_weighed_with_what_claude_holds(start: Start) -> None:
    """A continued thread sends only what is new; the totals of the answer it goes on from are added."""
    created = answer(b'{"id":"msg_1","model":"claude-opus-5","usage":{"input_tokens":5000,"output_tokens":600}}')
    async with Scripted(serve_both(0, created)) as upstream:
        gateway = await start(upstream.url)
        await gateway.ask("POST", "/v1/messages", body=body("Begin", thread={"type": "create"}))
        known = {"type": "continue", "previous_message_id": "msg_1"}
        await gateway.ask("POST", "/v1/messages", body=body("Go on", thread=known))
        unknown = {"type": "continue", "previous_message_id": "msg_of_another_process"}
        await gateway.ask("POST", "/v1/messages", body=body("Go on", thread=unknown))
        lines = await gateway.requests(3)

    assert 5600 < lines[1]["estimated_input_tokens"] < 5700
    assert lines[2]["estimated_input_tokens"] < 1000


async def test_what_one_learns_the_other_uses(start: Start, valkey: Server) -> None:
    """On a shared store a gateway estimates by what another one has learned, and one that starts begins with it."""
    settings = {"redis_url": valkey.url, "store_timeout_ms": 2000}
    async with Scripted(*[serve_both(0, used(1500, 50))] * 3) as upstream:
        one, other = [await start(upstream.url, settings=settings) for _ in range(2)]
        for _ in range(21):
            await one.ask("POST", "/v1/messages", body=body())
        await one.requests(21)
        await one.app._sharing.share()
        await other.app._sharing.share()
        third = await start(upstream.url, settings=settings)
        await third.app._sharing.share()  # waits for the one that the start began
        lines = []
        for gateway in (other, third):
            await gateway.ask("POST", "/v1/messages", body=body())
            lines += await gateway.requests(1)

    assert [True, True] == [1350 < line["estimated_input_tokens"] < 1650 for line in lines]
    assert [21, 1, 1] == [
        gateway.metric("gateway_estimate_error_ratio_count", model="claude-opus-5") for gateway in (one, other, third)
    ]


async def test_an_exact_count_says_nothing_of_estimates(start: Start) -> None:
    """What Claude counted beforehand is no estimate, and the metric leaves it out."""
    async with Scripted(*[serve_both(321, used(321))] * 2) as upstream:
        gateway = await start(upstream.url, buckets=(INPUT,), precount="exact")
        await gateway.ask("POST", "/v1/messages", body=body())
        await gateway.requests(2)

    assert gateway.metric("gateway_estimate_error_ratio_count", model="claude-opus-5") is None


async def test_exact_counts_draw_on_the_teams_count_limit(start: Start) -> None:
    """With `precount: exact` each call takes one of the team's counts; over that limit it is refused before Claude."""
    counts = Bucket("team:search", Kind.COUNT_REQUESTS, "*", 60, 1)
    async with Scripted(*[serve_both(321, used(321))] * 2) as upstream:
        gateway = await start(upstream.url, buckets=(counts,), precount="exact")
        first = await gateway.ask("POST", "/v1/messages", body=body())
        second = await gateway.ask("POST", "/v1/messages", body=body("Another text."))

    assert first.status == 200
    assert second.error[:2] == (429, "rate_limit_error")
    assert "60 token counts per minute" in second.error[2]
    assert len(upstream.requests) == 2
