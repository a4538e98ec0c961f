"""Budget thresholds: one log line, one count and one webhook call each, whichever replica books the crossing."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from gateway.core.limits import Budget
from gateway.webhook import Webhook
from gateway.wire.client import HttpClient
from tests.proxy.conftest import ASK, Running, Start
from tests.proxy.test_fidelity import answer
from tests.raw import RawClient
from tests.servers import Server
from tests.until import until
from tests.wire.scripted import Scripted, Step, read_request, reset, send, serve

# A call of exactly one dollar.
DOLLAR = answer(b'{"id":"m","model":"claude-opus-5","usage":{"input_tokens":200000,"output_tokens":0}}')
TEN = Budget("team:search", 10 * 10**9, "month")
TAKEN = serve(b"HTTP/1.1 204 No Content\r\n\r\n")
BUSY = send(b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
TOKEN = "sk-hook-secret"


def crossings(*gateways: Running) -> list[int]:
    lines = [line for gateway in gateways for line in gateway.lines if line["event"] == "budget_threshold"]
    return sorted(line["threshold_percent"] for line in lines)


async def spend(dollars: int, *gateways: Running) -> None:
    """Ask for a dollar's worth so often, of each gateway in turn, and wait until all of it is booked."""
    for number in range(dollars):
        gateway = gateways[number % len(gateways)]
        before = len([line for line in gateway.lines if line["event"] == "request"])
        assert (await gateway.ask("POST", "/v1/messages", body=ASK)).status == 200
        await gateway.requests(before + 1)


def hooked(gateway: Running, url: str) -> None:
    gateway.app.policy = replace(gateway.app.policy, alert_webhook=f"{url}/hook?token={TOKEN}")


async def test_each_threshold_is_told_once(start: Start) -> None:
    """50, 75, 90 and 100 percent: a line, a count and a call with the same facts; the URL's token is in no line."""
    async with Scripted([serve(DOLLAR)]) as upstream, Scripted([TAKEN]) as receiver:
        gateway = await start(upstream.url, budgets=(TEN,))
        hooked(gateway, receiver.url)
        await spend(10, gateway)
        await until(lambda: len(receiver.requests) == 4)

        told = [msgspec.json.decode(call.body) for call in receiver.requests]
        lines = [line for line in gateway.lines if line["event"] == "budget_threshold"]

        await until(lambda: gateway.metric("gateway_alerts_total", outcome="sent") == 4)
    assert [one["threshold_percent"] for one in told] == [50, 75, 90, 100]
    assert [one["spent_usd"] for one in told] == [5, 8, 9, 10]
    shown = {name: value for name, value in told[0].items() if name not in ("id", "time", "period", "resets")}
    assert shown == {
        "event": "budget_threshold",
        "team": "search",
        "key": None,
        "per": "month",
        "threshold_percent": 50,
        "spent_usd": 5.0,
        "budget_usd": 10.0,
        "used_ratio": 0.5,
        "mode": "block",
        "text": "Team 'search' has used 50% of its monthly budget: $5.00 of $10.00.",
    }
    assert told[0]["id"] == f"team:search/month/{told[0]['period']}/50/10000000000"
    assert [{**line, "level": 0} for line in lines] == [
        {name: value for name, value in one.items() if name != "time"} | {"level": 0} for one in told
    ]
    assert [gateway.metric("gateway_budget_events_total", team="search", threshold=str(p)) for p in (50, 75, 90, 100)]
    assert receiver.requests[0].line == f"POST /hook?token={TOKEN} HTTP/1.1".encode()
    assert TOKEN not in str(gateway.lines)


async def test_two_replicas_tell_it_once(start: Start, valkey: Server) -> None:
    """Two gateways on one store spend from one budget: each threshold is told by one of them."""
    settings = {"redis_url": valkey.url, "store_timeout_ms": 5000}
    async with Scripted([serve(DOLLAR)]) as upstream:
        one = await start(upstream.url, settings=settings, budgets=(TEN,))
        other = await start(upstream.url, settings=settings, budgets=(TEN,))
        await spend(10, one, other)
        await until(lambda: len(crossings(one, other)) == 4)

    assert crossings(one, other) == [50, 75, 90, 100]


async def test_gauge_tells_the_truth_at_each_scrape(start: Start) -> None:
    """`gateway_budget_used_ratio` is read from the store when it is asked, and forgets budgets that are gone."""
    async with Scripted([serve(DOLLAR)]) as upstream:
        gateway = await start(upstream.url, budgets=(TEN,))
        await spend(3, gateway)
        async with RawClient(gateway.app.ops_port) as ops:
            seen = (await ops.ask("GET", "/metrics")).body
            gateway.app.policy = replace(gateway.app.policy, teams={})
            gone = (await ops.ask("GET", "/metrics")).body

    assert b'gateway_budget_used_ratio{period="month",team="search"} 0.3\n' in seen
    assert b"gateway_budget_used_ratio{" not in gone


async def test_unpriced_model_is_counted(start: Start) -> None:
    """A model that is charged as another is counted under the other's name, and booked in its row."""
    async with Scripted([serve(DOLLAR.replace(b"claude-opus-5", b"claude-next-1"))]) as upstream:
        gateway = await start(upstream.url, charge_as="claude-opus-5")
        await gateway.ask("POST", "/v1/messages", body=ASK.replace(b"claude-opus-5", b"claude-next-1"))
        line = (await gateway.requests(1))[0]
        used = (await gateway.ask("GET", "/gateway/v1/usage")).json

    assert gateway.metric("gateway_unpriced_requests_total", team="search", charged_as="claude-opus-5") == 1
    assert (line["model"], line["asked_model"], line["cost_usd"]) == ("claude-opus-5", "claude-next-1", 1.0)
    assert [(row["model"], row["usd"]) for row in used["rows"]] == [("claude-opus-5", 1.0)]


class Outcomes:
    """Hears what becomes of events."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, object, str]] = []

    def __call__(self, outcome: str, event: Mapping[str, Any], detail: str) -> None:
        self.heard.append((outcome, event["id"], detail))


@pytest.mark.parametrize(
    ("scripts", "outcome", "calls"),
    [
        ([[read_request(), BUSY], [read_request(), reset()], [TAKEN]], ("sent", 1, "status 204"), 3),
        ([[read_request(), BUSY]], ("given_up", 1, "status 503"), 4),
        ([[serve(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")]], ("refused", 1, "status 404"), 1),
    ],
    ids=["taken after a while", "never taken", "refused for what it is"],
)
async def test_delivery_is_repeated(scripts: list[list[Step]], outcome: tuple[str, int, str], calls: int) -> None:
    """A receiver that is busy or breaks off is asked again, one that refuses is not, and the end is told once."""
    outcomes, client = Outcomes(), HttpClient()
    async with Scripted(*scripts) as receiver:
        webhook = Webhook(client, outcomes, pauses=(0.01, 0.01, 0.01))
        webhook.post(receiver.url, {"id": 1})
        await until(lambda: outcomes.heard)

    await client.close()
    assert outcomes.heard == [outcome]
    assert len(receiver.requests) == calls


async def test_full_queue_drops_and_says_so() -> None:
    """Events beyond the bound are told as dropped; those that wait at the stop are told as given up."""
    outcomes, client = Outcomes(), HttpClient()
    arrived = asyncio.Event()
    async with Scripted([read_request(), lambda wire: stuck(arrived)]) as receiver:
        webhook = Webhook(client, outcomes, most_waiting=2)
        for number in (1, 2, 3):
            webhook.post(receiver.url, {"id": number})
        await arrived.wait()
        await webhook.stop(0)

    await client.close()
    assert [(outcome, id) for outcome, id, _ in outcomes.heard] == [
        ("dropped", 3), ("given_up", 1), ("given_up", 2),
    ]  # fmt: skip


async def stuck(arrived: asyncio.Event) -> None:
    arrived.set()
    await asyncio.Event().wait()
