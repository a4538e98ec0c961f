"""Sessions, dreams and runs are charged what their usage grows by, until they are over."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from gateway.core.limits import Budget, Settlement
from gateway.settling import sessions
from gateway.tasks import hearing
from tests.proxy.conftest import KEY
from tests.raw import RawClient, request
from tests.tasks.conftest import AGENTS, DREAMS, VERSION, Gateway, Start
from tests.until import until

SESSIONS = "/v1/sessions"
DOLLAR = 10**9


async def agent_of(gateway: Gateway, model: str = "claude-opus-5") -> dict[str, str]:
    agent = await gateway.made("/v1/agents", {"name": "a", "model": model}, AGENTS)
    environment = await gateway.made("/v1/environments", {"name": "e"}, AGENTS)
    return {"agent": agent, "environment_id": environment}


def say(text: str) -> dict[str, Any]:
    return {"events": [{"type": "user.message", "content": [{"type": "text", "text": text}]}]}


async def tell(gateway: Gateway, session: str, text: str) -> int:
    return (await gateway.ask("POST", f"{SESSIONS}/{session}/events", say(text), AGENTS)).status


async def charged(gateway: Gateway, *objects: str) -> None:
    """Wait until the ledger says what the bill says."""
    async with asyncio.timeout(20):
        while sum(gateway.billed(*objects).values()) != await gateway.nano():
            await asyncio.sleep(0.01)


async def test_a_session_costs_what_claude_bills(start: Start, store: str | None) -> None:
    """To the nano-dollar after every turn, and once more when it is archived; then its hold is gone."""
    gateway = await start(store=store)
    session = await gateway.made(SESSIONS, await agent_of(gateway), AGENTS)
    assert (0, DOLLAR) == await gateway.purse()
    for turn in range(4):
        assert 200 == await tell(gateway, session, f"Turn {turn}. " + "word " * 100 * turn)
        await charged(gateway, session)
    await gateway.ask("POST", f"{SESSIONS}/{session}/archive", {}, AGENTS)
    line = await gateway.done(session)
    bill = gateway.billed(session)

    assert bill == {model: amounts["nano"] for (model, _), amounts in (await gateway.rows()).items()}
    assert (sum(bill.values()), 0) == await gateway.purse()
    assert ("closed", sum(bill.values()) / 1e9) == (line["outcome"], line["cost_usd"])
    assert [1] == [amounts["requests"] for amounts in (await gateway.rows()).values()]


async def test_a_session_that_runs_on_is_charged_while_it_runs(start: Start) -> None:
    """Turns that take time after their call has ended are found by looking."""
    gateway = await start(session_turn_seconds=0.2)
    session = await gateway.made(SESSIONS, {**await agent_of(gateway)}, AGENTS)
    await tell(gateway, session, "Work.")
    assert 0 == await gateway.nano()
    await until(lambda: gateway.billed(session))
    await charged(gateway, session)

    assert await gateway.nano() > 0


async def test_over_budget_new_events_are_refused(start: Start) -> None:
    """What the session has used counts; its own hold does not stand in its way."""
    gateway = await start(team={"budgets": (Budget("team:search", 10**8, "month"),), "session_hold_nano": 10**8})
    session = await gateway.made(SESSIONS, await agent_of(gateway), AGENTS)
    statuses = []
    for turn in range(40):
        statuses.append(await tell(gateway, session, f"Turn {turn}. " + "word " * 2000))
        if statuses[-1] != 200:
            break
        await charged(gateway, session)
    refused = await gateway.ask("POST", f"{SESSIONS}/{session}/events", say("More."), AGENTS)
    read = await gateway.ask("GET", f"{SESSIONS}/{session}", None, AGENTS)

    assert len(statuses) > 2
    assert (429, "billing_error") == refused.error[:2]
    assert refused.error[2].startswith("spend limit reached (monthly; resets ")
    assert 200 == read.status
    assert await gateway.nano() >= 10**8


async def test_a_session_beyond_the_budget_is_not_made(start: Start) -> None:
    """Its creation holds the policy's amount."""
    gateway = await start(team={"budgets": (Budget("team:search", 10**9, "month"),), "session_hold_nano": 6 * 10**8})
    body = await agent_of(gateway)
    first = await gateway.ask("POST", SESSIONS, body, AGENTS)
    second = await gateway.ask("POST", SESSIONS, body, AGENTS)

    assert (200, 429) == (first.status, second.status)
    assert {"session": 1} == (await gateway.app._tasks._work.counts()).by_kind


async def test_a_deleted_session_is_paid_for_first(start: Start) -> None:
    """Its usage is read just before the delete, after which nobody could."""
    gateway = await start()
    gateway.app._tasks._worker._pace = 1000  # nobody looks by himself
    session = await gateway.made(SESSIONS, await agent_of(gateway), AGENTS)
    await tell(gateway, session, "Work.")
    answer = await gateway.ask("DELETE", f"{SESSIONS}/{session}", None, AGENTS)
    line = await gateway.done(session)

    assert 200 == answer.status
    assert sum(gateway.billed(session).values()) == await gateway.nano() > 0
    assert ("deleted", 0) == (line["outcome"], (await gateway.purse())[1])


async def test_a_session_that_vanished_while_it_ran(start: Start) -> None:
    """What it used last is not to be known: what was held stands, marked."""
    gateway = await start(session_turn_seconds=60)
    session = await gateway.made(SESSIONS, await agent_of(gateway), AGENTS)
    await tell(gateway, session, "Work.")
    await gateway.app._tasks._nudge(session)
    async with asyncio.timeout(10):
        while (item := await gateway.app._tasks._work.get(session)) is None or not item.changed:
            await asyncio.sleep(0.01)
    del gateway.simulator.world.workspace("default").of("session")[session]
    await gateway.app._tasks._nudge(session)
    line = await gateway.done(session)

    assert ("deleted", "no_usage", 1.0) == (line["outcome"], line["estimated"], line["cost_usd"])
    assert (DOLLAR, 0) == await gateway.purse()


async def test_a_session_from_elsewhere_is_charged_from_here_on(start: Start) -> None:
    """What it used before the gateway knew it is nobody's."""
    gateway = await start()
    session = await gateway.made(SESSIONS, await agent_of(gateway), AGENTS)
    await tell(gateway, session, "Before.")
    await charged(gateway, session)
    before = await gateway.nano()
    item = await gateway.app._tasks._work.get(session)
    assert item is not None
    await gateway.app._ledger.finish(item.hold, Settlement())
    await gateway.app._tasks._work.drop(session)
    await tell(gateway, session, "After.")
    await charged(gateway, session)
    await gateway.ask("POST", f"{SESSIONS}/{session}/archive", {}, AGENTS)
    line = await gateway.done(session)

    assert sum(gateway.billed(session).values()) == await gateway.nano() > before
    assert [session] == [one["id"] for one in gateway.logged("work_found")]
    assert round((await gateway.nano() - before) / 1e9, 9) == round(line["cost_usd"], 9)


async def test_an_idle_session_lets_its_hold_go(start: Start, monkeypatch) -> None:
    """A budget is not used up by sessions in which nothing happens."""
    monkeypatch.setattr(sessions, "IDLE_HOLD_SECONDS", 0.2)
    gateway = await start()
    session = await gateway.made(SESSIONS, await agent_of(gateway), AGENTS)
    async with asyncio.timeout(10):
        while (await gateway.purse())[1]:
            await asyncio.sleep(0.01)
    await tell(gateway, session, "Work.")
    await charged(gateway, session)

    assert (sum(gateway.billed(session).values()), 0) == await gateway.purse()


async def test_a_dream_costs_what_claude_bills(start: Start) -> None:
    """Half of it while it runs, the rest when it has ended."""
    gateway = await start(dream_seconds=0.3)
    dream = await gateway.made("/v1/dreams", {"model": "claude-opus-5", "inputs": []}, DREAMS)
    line = await gateway.done(dream)

    assert sum(gateway.billed(dream).values()) == await gateway.nano() > 0
    assert ("closed", 0) == (line["outcome"], (await gateway.purse())[1])


async def test_a_cancelled_dream_costs_what_it_used(start: Start) -> None:
    """What it had used when it was cancelled is read at the end."""
    gateway = await start(dream_seconds=1.0)
    dream = await gateway.made("/v1/dreams", {"model": "claude-opus-5", "inputs": []}, DREAMS)
    await until(lambda: gateway.billed(dream))
    await gateway.ask("POST", f"/v1/dreams/{dream}/cancel", {}, DREAMS)
    await gateway.done(dream)

    assert sum(gateway.billed(dream).values()) == await gateway.nano() > 0


async def test_a_run_is_charged_by_its_session(start: Start) -> None:
    """One that was asked for holds like a session."""
    gateway = await start()
    deployment = await gateway.made("/v1/deployments", {"name": "d", **await agent_of(gateway)}, AGENTS)
    run = await gateway.ask("POST", f"/v1/deployments/{deployment}/run", {}, AGENTS)
    session = run.json["session_id"]
    await charged(gateway, session)
    await gateway.ask("POST", f"{SESSIONS}/{session}/archive", {}, AGENTS)
    await gateway.done(session)

    assert (sum(gateway.billed(session).values()), 0) == await gateway.purse()


async def test_scheduled_runs_are_found(start: Start) -> None:
    """What a deployment starts by itself is charged to the team that made it."""
    gateway = await start(schedule_seconds=0.3)
    body = {"name": "d", "schedule": {"cron": "* * * * *"}, **await agent_of(gateway)}
    deployment = await gateway.made("/v1/deployments", body, AGENTS)
    await until(lambda: len(gateway.simulator.world.workspace("default").of("deployment_run")) >= 2)
    await gateway.ask("POST", f"/v1/deployments/{deployment}/archive", {}, AGENTS)
    runs = gateway.simulator.world.workspace("default").of("deployment_run").values()
    await charged(gateway, *(run["session_id"] for run in runs))

    assert await gateway.nano() > 0


async def test_streams_have_a_cap_of_their_own(start: Start) -> None:
    """A team holds so many open and no more; one that ends makes room."""
    gateway = await start(settings={"session_streams": 2})
    session = await gateway.made(SESSIONS, await agent_of(gateway), AGENTS)
    path = f"{SESSIONS}/{session}/events/stream"
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(RawClient(gateway.app.port)) for _ in range(2)]
        for client in clients:
            client.send(request("GET", path, [VERSION, AGENTS], key=KEY))
            await client.head()
        third = await gateway.ask("GET", path, None, AGENTS)
        clients[0].abort()
        await until(lambda: len([line for line in gateway.logged("request") if line["route"].endswith("stream")]) == 2)
        last = await stack.enter_async_context(RawClient(gateway.app.port))
        last.send(request("GET", path, [VERSION, AGENTS], key=KEY))
        status = (await last.head()).status

    assert (429, "rate_limit_error") == third.error[:2]
    assert 200 == status


async def test_a_session_that_becomes_idle_is_looked_at_at_once(start: Start) -> None:
    """Whoever watches it through the gateway tells the gateway too, wherever the event is split."""
    gateway = await start(session_turn_seconds=0.3)
    gateway.app._tasks._worker._pace = 1000  # nobody looks by himself
    session = await gateway.made(SESSIONS, await agent_of(gateway), AGENTS)
    async with RawClient(gateway.app.port) as client:
        client.send(request("GET", f"{SESSIONS}/{session}/events/stream", [VERSION, AGENTS], key=KEY))
        await client.head()
        await tell(gateway, session, "Work.")
        await charged(gateway, session)
        await until(lambda: gateway.billed(session))
        await charged(gateway, session)

    assert await gateway.nano() > 0


@pytest.mark.parametrize("at", range(1, 80, 3))
def test_an_idle_event_is_heard_wherever_it_is_split(at: int) -> None:
    """The bytes pass unchanged, and each event is heard once."""
    told: list[str] = []
    fed: list[bytes] = []
    feed = hearing(fed.append, lambda: told.append("idle"))
    event = b'event: session.status_idle\ndata: {"type":"session.status_idle"}\n\n'
    stream = event + b"event: ping\ndata: {}\n\n" + event
    chunks = [stream[:at], stream[at:90], stream[90:]]
    for chunk in chunks:
        feed(chunk)

    assert (chunks, ["idle"] * 2) == (fed, told)
