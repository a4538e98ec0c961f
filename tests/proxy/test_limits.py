"""Limits and budgets as a team meets them: the refusal, its words and headers, and what `/gateway/v1/limits` says."""

import asyncio
from dataclasses import replace

from gateway.core.limits import Bucket, Budget, Kind
from tests.proxy.conftest import ASK, KEY, OTHER_KEY, Start
from tests.proxy.test_endings import STREAM, chunk
from tests.proxy.test_fidelity import PLAIN, answer
from tests.raw import request
from tests.servers import Server
from tests.wire.scripted import Scripted, read_request, reset, send, serve, stall, tell

TEAM = "team:search"
DEAR = b'{"id":"m","model":"claude-opus-5","usage":{"input_tokens":1000000,"output_tokens":1000000}}'


def per_minute(kind: Kind, count: int, pattern: str = "*", **more: object) -> Bucket:
    return Bucket(TEAM, kind, pattern, count, **more)  # type: ignore[arg-type]


async def test_refusal_says_which_limit_and_how_long(start: Start) -> None:
    """A team that used its limit gets a 429 in the SDKs' words, with its own numbers and a true wait."""
    async with Scripted([serve(answer())]) as upstream:
        gateway = await start(upstream.url, buckets=(per_minute(Kind.REQUESTS, 60, "claude-opus-*", burst_seconds=1),))
        first = await gateway.ask("POST", "/v1/messages", body=ASK)
        second = await gateway.ask("POST", "/v1/messages", body=ASK)
        line = (await gateway.requests(2))[1]

    assert first.status == 200
    assert first.value(b"anthropic-ratelimit-requests-limit") == b"60"
    assert first.value(b"anthropic-ratelimit-requests-remaining") == b"0"
    assert second.error == (
        429,
        "rate_limit_error",
        "Team 'search' has used its 60 requests per minute for claude-opus-*. Retry in 1 second.",
    )
    assert (second.value(b"retry-after"), second.value(b"x-should-retry")) == (b"1", b"true")
    assert second.value(b"x-gateway-refused-by") == b"limit"
    assert second.value(b"anthropic-ratelimit-requests-remaining") == b"0"
    assert (line["refused_by"], line["error"], len(upstream.requests)) == ("limit", "rate_limited", 1)


async def test_limits_are_the_teams_own(start: Start) -> None:
    """Another team is not held back, and sees nothing of it."""
    async with Scripted([serve(answer())]) as upstream:
        gateway = await start(upstream.url, buckets=(per_minute(Kind.REQUESTS, 60, burst_seconds=1),))
        await gateway.ask("POST", "/v1/messages", body=ASK)
        got = await gateway.ask("POST", "/v1/messages", body=ASK, key=OTHER_KEY)

    assert got.status == 200
    assert not [name for name, _ in got.headers if name.startswith(b"anthropic-ratelimit-")]


async def test_true_usage_replaces_the_estimate(start: Start) -> None:
    """After an answer the bucket holds what was really used: 13 tokens, not what was held."""
    async with Scripted([serve(answer())]) as upstream:
        gateway = await start(upstream.url, buckets=(per_minute(Kind.TOKENS, 6000, burst_seconds=60),))
        await gateway.ask("POST", "/v1/messages", body=ASK)
        left = (await gateway.ask("GET", "/gateway/v1/limits")).json["limits"][0]

    assert (left["kind"], left["capacity"]) == ("tokens", 6000)
    assert left["remaining"] >= 6000 - 13


async def test_slots_come_back_with_every_ending(start: Start) -> None:
    """A slot is freed when the call ends, whichever way: here by a client that leaves."""
    arrived = asyncio.Event()
    script = [read_request(), tell(arrived), stall()]
    async with Scripted(script, [serve(answer())]) as upstream:
        gateway = await start(upstream.url, buckets=(per_minute(Kind.SLOTS, 1),))
        async with gateway.client() as client:
            client.send(request("POST", "/v1/messages", body=ASK, key=KEY))
            await arrived.wait()
            full = await gateway.ask("POST", "/v1/messages", body=ASK)
            holders = (await gateway.ask("GET", "/gateway/v1/limits")).json["under_way"]
            client.abort()
        await gateway.requests(3)
        free = await gateway.ask("POST", "/v1/messages", body=ASK)

    assert full.error[2].startswith("Team 'search' has used its 1 concurrent requests.")
    assert [(one["key"], one["model"]) for one in holders] == [("prod", "claude-opus-5")]
    assert free.status == 200


async def test_spent_budget_is_told_in_words_clients_know(start: Start) -> None:
    """Over budget: 429 `billing_error` that Claude Code does not repeat; counting and reading stay open."""
    budget = Budget(TEAM, 1_000_000_000, "month")
    async with Scripted([serve(answer(DEAR))]) as upstream:
        gateway = await start(upstream.url, budgets=(budget,))
        first = await gateway.ask("POST", "/v1/messages", body=ASK)
        second = await gateway.ask("POST", "/v1/messages", body=ASK)
        count = await gateway.ask("POST", "/v1/messages/count_tokens", body=ASK)
        seen = (await gateway.ask("GET", "/gateway/v1/limits")).json["budgets"][0]
        used = (await gateway.ask("GET", "/gateway/v1/usage")).json

    status, kind, message = second.error
    assert (first.status, status, kind) == (200, 429, "billing_error")
    assert message.startswith("spend limit reached (monthly; resets 20")
    assert message.endswith("-01 00:00 UTC)")
    assert second.value(b"x-should-retry") == b"false"
    assert int(second.value(b"retry-after")) >= 1
    assert count.status == 200
    assert (seen["usd"], seen["spent_usd"], seen["remaining_usd"]) == (1, 30, 0)
    assert (used["total"]["usd"], used["rows"][0]["key"]) == (30, "prod")


async def test_model_without_a_price(start: Start) -> None:
    """What has no price has no budget: refused, with the row that is missing; or charged as a named model."""
    body = ASK.replace(b"claude-opus-5", b"claude-from-the-future-9")
    async with Scripted([serve(answer())]) as upstream:
        gateway = await start(upstream.url)
        refused = await gateway.ask("POST", "/v1/messages", body=body)
        lenient = await start(upstream.url, charge_as="claude-opus-5")
        passed = await lenient.ask("POST", "/v1/messages", body=body)
        line = (await lenient.requests(1))[0]

    assert refused.error[:2] == (403, "permission_error")
    assert "claude-from-the-future-9" in refused.error[2]
    assert (passed.status, line["cost_usd"]) == (200, (9 * 5 + 4 * 25) / 1e6)


async def test_cut_stream_is_charged_for_what_was_seen(start: Start) -> None:
    """A client that leaves pays the input and the output it was sent, and the row says that it is an estimate."""
    first = (
        b'event: message_start\ndata: {"type":"message_start","message":{"model":"claude-opus-5",'
        b'"usage":{"input_tokens":1000,"output_tokens":1}}}\n\n'
    )
    delta = (
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":"%b"}}\n\n' % (b"x" * 400)
    )
    async with Scripted([read_request(), send(STREAM + chunk(first + delta)), stall()]) as upstream:
        gateway = await start(upstream.url)
        async with gateway.client() as client:
            client.send(request("POST", "/v1/messages", body=ASK, key=KEY))
            await client.head()
            await client.chunk()
            client.abort()
        line = (await gateway.requests(1))[0]

    assert (line["ended"], line["estimated"]) == ("client_gone", "cancelled")
    assert (line["input_tokens"], line["output_tokens"]) == (1000, 100)
    assert line["cost_usd"] == (1000 * 5 + 100 * 25) / 1e6


async def test_failure_before_an_answer_keeps_the_hold(start: Start) -> None:
    """A call that went out whole and was never answered may have been billed: its estimate stands, marked."""
    async with Scripted([read_request(), reset()]) as upstream:
        gateway = await start(upstream.url)
        await gateway.ask("POST", "/v1/messages", body=ASK)
        line = (await gateway.requests(1))[0]

    assert (line["estimated"], line["output_tokens"]) == ("cut", 16)
    assert line["cost_usd"] > 0


async def test_error_of_claude_costs_nothing(start: Start) -> None:
    """A refusal by Claude gives tokens and money back; the request unit stays used."""
    body = b'{"type":"error","error":{"type":"invalid_request_error","message":"x"}}'
    buckets = (per_minute(Kind.TOKENS, 6000), per_minute(Kind.REQUESTS, 600))
    async with Scripted([serve(answer(body, status=b"400 Bad Request"))]) as upstream:
        gateway = await start(upstream.url, buckets=buckets)
        await gateway.ask("POST", "/v1/messages", body=ASK)
        tokens, requests = (await gateway.ask("GET", "/gateway/v1/limits")).json["limits"]

    assert tokens["remaining"] == 6000
    assert requests["remaining"] < 600


async def test_key_has_limits_of_its_own(start: Start) -> None:
    """A limit of one key is told as the key's."""
    async with Scripted([serve(answer(PLAIN))]) as upstream:
        gateway = await start(upstream.url)
        policy = gateway.app.policy
        team, key = next(pair for pair in policy.keys.values() if pair[0].name == "search")
        own = replace(key, buckets=(Bucket("key:search/prod", Kind.REQUESTS, "*", 60, 1),))
        gateway.app.policy = replace(policy, keys={**policy.keys, key.digest: (team, own)})
        await gateway.ask("POST", "/v1/messages", body=ASK)
        got = await gateway.ask("POST", "/v1/messages", body=ASK)

    assert got.error[2] == "This key has used its 60 requests per minute. Retry in 1 second."


async def test_waiting_instead_of_refusing(start: Start) -> None:
    """With `max_wait_seconds` a call waits for room and then passes; a drain refuses those who wait at once."""
    async with Scripted([serve(answer())]) as upstream:
        gateway = await start(
            upstream.url, buckets=(per_minute(Kind.REQUESTS, 120, burst_seconds=1, max_wait_seconds=30),)
        )
        answers = await asyncio.gather(*(gateway.ask("POST", "/v1/messages", body=ASK) for _ in range(4)))
        waiters = [asyncio.create_task(gateway.ask("POST", "/v1/messages", body=ASK)) for _ in range(3)]
        async with asyncio.timeout(10):
            while gateway.app._proxy._waiting.waiting < 2:
                await asyncio.sleep(0.01)
        gateway.app._proxy.drain()
        late = [(await waiter).status for waiter in waiters]

    assert [got.status for got in answers] == [200] * 4
    assert late.count(429) >= 1


async def test_client_that_would_not_wait_that_long(start: Start) -> None:
    """Waiting counts against the client's own deadline: no longer than its SDK says."""
    async with Scripted([serve(answer())]) as upstream:
        gateway = await start(
            upstream.url, buckets=(per_minute(Kind.REQUESTS, 1, burst_seconds=60, max_wait_seconds=60),)
        )
        await gateway.ask("POST", "/v1/messages", body=ASK)
        got = await gateway.ask("POST", "/v1/messages", [(b"x-stainless-timeout", b"0.2")], ASK)

    assert got.error[:2] == (429, "rate_limit_error")


async def test_shadow_refuses_nothing(start: Start) -> None:
    """A limit in shadow counts and reports; every call passes."""
    async with Scripted([serve(answer())]) as upstream:
        gateway = await start(upstream.url, buckets=(per_minute(Kind.REQUESTS, 60, burst_seconds=1, shadow=True),))
        answers = [await gateway.ask("POST", "/v1/messages", body=ASK) for _ in range(3)]

    assert [got.status for got in answers] == [200] * 3
    assert gateway.metric("gateway_would_refuse_total", team="search", limit="requests") == 2


async def test_two_gateways_share_one_store(start: Start, valkey: Server) -> None:
    """On a shared store two gateways admit together what the limit allows, and settle each other's picture."""
    async with Scripted([serve(answer())]) as upstream:
        buckets = (per_minute(Kind.REQUESTS, 600, burst_seconds=1),)
        settings = {"redis_url": valkey.url, "store_timeout_ms": 2000}
        both = [await start(upstream.url, settings=settings, buckets=buckets) for _ in range(2)]
        asked = [both[n % 2].ask("POST", "/v1/messages", body=ASK) for n in range(60)]
        statuses = [got.status for got in await asyncio.gather(*asked)]

    assert statuses.count(200) >= 10
    assert statuses.count(200) + statuses.count(429) == 60
    assert statuses.count(429) >= 1
