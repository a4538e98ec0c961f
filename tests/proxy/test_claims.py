"""What a request claims is held before it leaves, refused when it is too much, and given back or booked at its end."""

import asyncio

import pytest

from gateway.core.limits import Bucket, Budget, Kind
from tests.proxy.conftest import ASK, KEY, Start
from tests.raw import request
from tests.wire.scripted import Scripted, read_request, send, serve, tell, until

USED = b'{"id": "msg_1", "model": "claude-opus-5", "usage": {"input_tokens": 9, "output_tokens": 4}}'
FINE = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(USED) + USED


def limit(kind: Kind, per_minute: int) -> Bucket:
    return Bucket("team:search", kind, "*", per_minute)


async def test_limit_that_is_used_up(start: Start) -> None:
    """Over its limit a team is told which one, when to come again and where it stands; Claude hears nothing of it."""
    async with Scripted([serve(FINE)]) as upstream:
        gateway = await start(upstream.url, buckets=(limit(Kind.REQUESTS, 1),))
        first = await gateway.ask("POST", "/v1/messages", body=ASK)
        second = await gateway.ask("POST", "/v1/messages", body=ASK)

    status, kind, message = second.error
    wait = int(second.value(b"retry-after"))
    assert (first.status, status, kind) == (200, 429, "rate_limit_error")
    assert message == f"Team 'search' has used its 1 requests per minute. Retry in {wait} seconds."
    assert second.value(b"x-gateway-refused-by") == b"limit"
    assert [one.value(b"anthropic-ratelimit-requests-remaining") for one in (first, second)] == [b"0", b"0"]
    assert len(upstream.requests) == 1


async def test_place_is_given_back(start: Start) -> None:
    """Of requests at once the next may come when one has ended, and no earlier."""
    arrived, go = asyncio.Event(), asyncio.Event()
    script = [read_request(), tell(arrived), until(go), send(FINE), read_request(), send(FINE)]
    async with Scripted(script) as upstream:
        gateway = await start(upstream.url, buckets=(limit(Kind.SLOTS, 1),))
        async with gateway.client() as client:
            client.send(request("POST", "/v1/messages", body=ASK, key=KEY))
            await arrived.wait()
            between = await gateway.ask("POST", "/v1/messages", body=ASK)
            go.set()
            first = await client.answer()
            await gateway.requests(2)
            after = await gateway.ask("POST", "/v1/messages", body=ASK)

    assert (first.status, between.status, after.status) == (200, 429, 200)


@pytest.mark.parametrize("broken", [b"", b"{"], ids=["one", "then-a-refusal"])
async def test_tokens_are_booked_as_used(start: Start, broken: bytes) -> None:
    """After an answer a token limit stands at what was used, not at what was held."""
    async with Scripted([serve(FINE)]) as upstream:
        gateway = await start(upstream.url, buckets=(limit(Kind.TOKENS, 100_000),))
        await gateway.ask("POST", "/v1/messages", body=ASK)
        if broken:
            await gateway.ask("POST", "/v1/messages", body=broken)
        await gateway.requests(1)
        left = await gateway.ask("GET", "/gateway/v1/limits")

    assert left.json["limits"][0]["remaining"] >= 100_000 - 13


async def test_budget_is_charged(start: Start) -> None:
    """What an answer cost stands in the budget, the line and the metric alike."""
    async with Scripted([serve(FINE)]) as upstream:
        gateway = await start(upstream.url, budgets=(Budget("team:search", 10**12, "month"),))
        await gateway.ask("POST", "/v1/messages", body=ASK)
        line = (await gateway.requests(1))[0]
        left = await gateway.ask("GET", "/gateway/v1/limits")

    spent = left.json["budgets"][0]["spent_usd"]
    labels = {"team": "search", "model": "claude-opus-5"}
    assert spent > 0
    assert line["cost_usd"] == spent
    assert gateway.metric("gateway_spend_usd_total", **labels) == spent
    assert gateway.metric("gateway_tokens_total", **labels, kind="output") == 4
    assert gateway.metric("gateway_in_flight_requests", team="search") == 0


async def test_names_of_clients_are_no_labels(start: Start) -> None:
    """A model that nobody priced is `other` in every metric."""
    async with Scripted([serve(FINE)]) as upstream:
        gateway = await start(upstream.url, charge_as="claude-haiku-4-5")
        await gateway.ask("POST", "/v1/messages", body=ASK.replace(b"claude-opus-5", b"made-up"))
        await gateway.requests(1)

    labels = {"team": "search", "route": "messages", "status": "200"}
    assert gateway.metric("gateway_requests_total", **labels, model="other") == 1
    assert gateway.metric("gateway_requests_total", **labels, model="made-up") is None
