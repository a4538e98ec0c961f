"""The managed-agents family: every path of the appendix is there, objects stay in their workspace, sessions run."""

from typing import Any

import aiohttp
import anthropic
import pytest

from gateway.simulator.kinds import KINDS
from gateway.simulator.objects import Kind
from gateway.simulator.table import api_table
from tests.simulator.asking import bill, get, post, until
from tests.simulator.conftest import KEY, Start

BETA = {"anthropic_beta": "managed-agents-2026-04-01"}

# Appendix A.1 of the fact sheet, "METHODS path"; ids are `*`.
APPENDIX = """
POST /v1/agents/*/archive | GET /v1/agents/*/versions | GET,POST /v1/agents/* | GET,POST /v1/agents
GET /v1/deployment_runs/* | GET /v1/deployment_runs
POST /v1/deployments/*/archive | POST /v1/deployments/*/pause | POST /v1/deployments/*/run
POST /v1/deployments/*/unpause | GET,POST /v1/deployments/* | GET,POST /v1/deployments
POST /v1/dreams/*/archive | POST /v1/dreams/*/cancel | GET /v1/dreams/* | GET,POST /v1/dreams
POST /v1/environments/*/archive | GET /v1/environments/*/work/poll | GET /v1/environments/*/work/stats
POST /v1/environments/*/work/*/ack | POST /v1/environments/*/work/*/heartbeat | POST /v1/environments/*/work/*/stop
GET,POST /v1/environments/*/work/* | GET /v1/environments/*/work | DELETE,GET,POST /v1/environments/*
GET,POST /v1/environments | GET /v1/files/*/content | DELETE,GET /v1/files/* | GET,POST /v1/files
POST /v1/memory_stores/*/archive | DELETE,GET,POST /v1/memory_stores/*/memories/*
GET,POST /v1/memory_stores/*/memories | POST /v1/memory_stores/*/memory_versions/*/redact
GET /v1/memory_stores/*/memory_versions/* | GET /v1/memory_stores/*/memory_versions
DELETE,GET,POST /v1/memory_stores/* | GET,POST /v1/memory_stores
POST /v1/messages/batches/*/cancel | GET /v1/messages/batches/*/results | DELETE,GET /v1/messages/batches/*
GET,POST /v1/messages/batches | POST /v1/messages/count_tokens | POST /v1/messages | GET /v1/models/* | GET /v1/models
POST /v1/sessions/*/archive | GET /v1/sessions/*/events/stream | GET,POST /v1/sessions/*/events
DELETE,GET,POST /v1/sessions/*/resources/* | GET,POST /v1/sessions/*/resources
POST /v1/sessions/*/threads/*/archive | GET /v1/sessions/*/threads/*/events | GET /v1/sessions/*/threads/*/stream
GET /v1/sessions/*/threads/* | GET /v1/sessions/*/threads | DELETE,GET,POST /v1/sessions/* | GET,POST /v1/sessions
GET /v1/skills/*/versions/*/content | DELETE,GET /v1/skills/*/versions/* | GET,POST /v1/skills/*/versions
DELETE,GET /v1/skills/* | GET,POST /v1/skills
POST /v1/tunnels/*/archive | POST /v1/tunnels/*/certificates/*/archive | GET /v1/tunnels/*/certificates/*
GET,POST /v1/tunnels/*/certificates | POST /v1/tunnels/*/reveal_token | POST /v1/tunnels/*/rotate_token
GET /v1/tunnels/* | GET,POST /v1/tunnels
POST /v1/user_profiles/*/action_urls | POST /v1/user_profiles/*/enrollment_url | DELETE,GET,POST /v1/user_profiles/*
GET,POST /v1/user_profiles | POST /v1/vaults/*/archive | POST /v1/vaults/*/credentials/*/archive
POST /v1/vaults/*/credentials/*/mcp_oauth_validate | DELETE,GET,POST /v1/vaults/*/credentials/*
GET,POST /v1/vaults/*/credentials | DELETE,GET,POST /v1/vaults/* | GET,POST /v1/vaults
POST /v1/complete | POST /v1/chat/completions | POST /v1/oauth/token | GET,POST /v1/webhooks
GET,DELETE /v1/webhooks/* | GET /v1/sessions/*/stream
"""


def appendix() -> set[str]:
    found = set()
    for entry in APPENDIX.replace("\n", "|").split("|"):
        methods, _, path = entry.strip().partition(" ")
        found |= {f"{method} {path}" for method in methods.split(",") if path}
    return found


def test_the_table_is_the_appendix() -> None:
    """Every workspace-level path has a row, and no row is invented."""
    rows = set()
    for name in api_table().names:
        method, path = name.split(" ")
        rows.add(method + " " + "/".join("*" if part.startswith("{") else part for part in path.split("/")))

    assert appendix() == rows


async def agent_and_environment(claude: anthropic.AsyncAnthropic) -> tuple[str, str]:
    agent = await claude.beta.agents.create(name="Clerk", model="claude-sonnet-5")
    environment = await claude.beta.environments.create(name="box")
    return agent.id, environment.id


async def session(claude: anthropic.AsyncAnthropic) -> str:
    agent, environment = await agent_and_environment(claude)
    return (await claude.beta.sessions.create(agent=agent, environment_id=environment)).id


def said(text: str = "Hello.") -> Any:
    return {"type": "user.message", "content": [{"type": "text", "text": text}]}


# A body that creates one of each kind that can be created by itself.
BODIES: dict[str, Any] = {
    "agent": {"name": "Clerk", "model": "claude-sonnet-5"},
    "environment": {"name": "box"},
    "vault": {"display_name": "Keys"},
    "memory_store": {"name": "notes"},
    "user_profile": {"external_id": "u1"},
    "webhook": {"url": "https://example.com/hook"},
    "dream": {"model": {"id": "claude-sonnet-5"}, "inputs": []},
}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.name in BODIES], ids=lambda kind: kind.name)
async def test_an_object_lives_in_its_workspace(http: aiohttp.ClientSession, kind: Kind) -> None:
    """Create, get, list, update, archive, delete; a foreign workspace gets the 404 of an unknown id."""
    beta = {"anthropic_beta": kind.beta} if kind.beta else {}
    foreign = {**beta, "x_api_key": "ws-ads-1"}
    status, made = await post(http, kind.path, BODIES[kind.name], **beta)
    path = f"{kind.path}/{made['id']}"
    _, listed = await get(http, kind.path, **beta)
    _, unknown = await get(http, f"{kind.path}/{kind.prefix}_none", **beta)
    seen, hidden = await get(http, path, **foreign)

    assert (200, kind.name) == (status, made["type"])
    assert made["id"].startswith(kind.prefix + "_")
    assert (200, made["id"]) == ((await get(http, path, **beta))[0], (await get(http, path, **beta))[1]["id"])
    assert ([made["id"]], {"data", "next_page"}) == ([item["id"] for item in listed["data"]], listed.keys())
    assert [] == (await get(http, kind.path, **foreign))[1]["data"]
    assert 404 == seen
    assert hidden["error"]["message"].split(": ")[0] == unknown["error"]["message"].split(": ")[0]
    if "update" in kind.verbs:
        _, changed = await post(http, path, {"metadata": {"a": "b"}}, **beta)
        assert {"a": "b"} == changed["metadata"]
        assert 404 == (await post(http, path, {"metadata": {}}, **foreign))[0]
    if "archive" in kind.actions:
        assert (await post(http, f"{path}/archive", {}, **beta))[1]["archived_at"]
        assert [] == (await get(http, kind.path, **beta))[1]["data"]
        assert 1 == len((await get(http, f"{kind.path}?include_archived=true", **beta))[1]["data"])
    if "delete" in kind.verbs:
        async with http.delete(path, headers={k.replace("_", "-"): v for k, v in beta.items()}) as answer:
            assert {"id": made["id"], "type": f"{kind.name}_deleted"} == await answer.json()
        assert 404 == (await get(http, path, **beta))[0]


async def test_beta_headers_are_wanted_and_do_not_mix(http: aiohttp.ClientSession) -> None:
    """Without its beta value a path is a 400; memory stores refuse the agents' value beside theirs."""
    assert 400 == (await get(http, "/v1/agents"))[0]
    both = "agent-memory-2026-07-22,managed-agents-2026-04-01"
    assert 400 == (await get(http, "/v1/memory_stores", anthropic_beta=both))[0]
    assert 403 == (await get(http, "/v1/tunnels", anthropic_beta="mcp-tunnels-2026-06-22"))[0]


async def test_references_must_be_in_the_workspace(
    claude: anthropic.AsyncAnthropic, other: anthropic.AsyncAnthropic, http: aiohttp.ClientSession
) -> None:
    """A session cannot take a foreign agent, environment, vault, file or memory store."""
    agent, environment = await agent_and_environment(claude)
    vault = (await other.beta.vaults.create(display_name="Theirs")).id
    file = (await other.files.upload(file=("a.txt", b"x"))).id
    with pytest.raises(anthropic.NotFoundError, match=f"Agent not found: {agent}"):
        await other.beta.sessions.create(agent=agent, environment_id=environment)
    good: Any = {"agent": {"type": "agent", "id": agent}, "environment_id": environment}
    for more in (
        {"vault_ids": [vault]},
        {"resources": [{"type": "file", "file_id": file}]},
        {"resources": [{"type": "memory_store", "memory_store_id": "memstore_none"}]},
    ):
        assert 404 == (await post(http, "/v1/sessions", {**good, **more}, **BETA))[0]
    assert 200 == (await post(http, "/v1/sessions", good, **BETA))[0]


async def test_a_session_answers_and_its_usage_grows(
    claude: anthropic.AsyncAnthropic, http: aiohttp.ClientSession
) -> None:
    """Each message is a turn with its events; usage is cumulative, in the session as in the bill."""
    name = await session(claude)
    sent = await claude.beta.sessions.events.send(name, events=[said()])
    once = (await claude.beta.sessions.retrieve(name)).usage
    await claude.beta.sessions.events.send(name, events=[said("And again?")])
    twice = (await claude.beta.sessions.retrieve(name)).usage
    history = [event.type async for event in claude.beta.sessions.events.list(name, limit=5)]
    rows = [row for row in (await bill(http))["rows"] if row.get("object_id") == name]

    turn = [
        "user.message",
        "session.status_running",
        "span.model_request_start",
        "agent.message",
        "span.model_request_end",
        "session.usage",
        "session.status_idle",
    ]
    assert ["user.message"] == [event.type for event in sent.data or []]
    assert turn * 2 == history
    assert (0.9, 1.8) == (once.active_seconds, twice.active_seconds)
    assert (twice.output_tokens or 0) > (once.output_tokens or 0) > 0
    assert (twice.cache_read_input_tokens or 0) > 0
    assert twice.output_tokens == sum(row["usage"]["output_tokens"] for row in rows)
    # Sonnet 5 at 2 / 2.50 / 0.20 / 10, and 0.9 s of an hour at $0.08 twice.
    assert sum(row["nano_usd"] for row in rows) == (
        (twice.input_tokens or 0) * 2_000
        + sum(row["usage"]["cache_creation_input_tokens"] for row in rows) * 2_500
        + (twice.cache_read_input_tokens or 0) * 200
        + (twice.output_tokens or 0) * 10_000
        + 2 * 20_000
    )


@pytest.mark.parametrize("path", ["events/stream", "stream"])
async def test_a_session_streams_what_happens_from_now_on(
    claude: anthropic.AsyncAnthropic, http: aiohttp.ClientSession, path: str
) -> None:
    """Both paths stream events under their names, without replay, until the session is deleted."""
    name = await session(claude)
    await claude.beta.sessions.events.send(name, events=[said("Before.")])
    async with http.get(f"/v1/sessions/{name}/{path}", headers={"anthropic-beta": BETA["anthropic_beta"]}) as live:
        assert "text/event-stream; charset=utf-8" == live.headers["content-type"]
        await claude.beta.sessions.events.send(name, events=[said("After.")])
        await claude.beta.sessions.delete(name)
        raw = (await live.read()).decode()

    assert ("Before." in raw, "After." in raw) == (False, True)
    assert "event: session.deleted" == raw.split("\n\n")[-2].split("\n")[0]


async def test_the_sdk_reads_a_session_stream(claude: anthropic.AsyncAnthropic) -> None:
    """Typed events arrive while the turn runs, and the thread's stream carries them too."""
    name = await session(claude)
    (thread,) = [one.id async for one in claude.beta.sessions.threads.list(name)]
    async with await claude.beta.sessions.events.stream(name) as live:
        await claude.beta.sessions.events.send(name, events=[said()])
        kinds = []
        async for event in live:
            kinds.append(event.type)
            if event.type == "session.status_idle":
                break

    assert ["user.message", "session.status_running"] == kinds[:2]
    assert "agent.message" in kinds
    assert 7 == len([event async for event in claude.beta.sessions.threads.events.list(thread, session_id=name)])


async def test_a_slow_turn_runs_on_after_its_call(start: Start) -> None:
    """With a duration the session is running first and idle later."""
    simulator = await start(session_turn_seconds=0.1)
    async with anthropic.AsyncAnthropic(base_url=simulator.url, api_key="k", max_retries=0) as claude:
        name = await session(claude)
        await claude.beta.sessions.events.send(name, events=[said()])
        running = (await claude.beta.sessions.retrieve(name)).status
        await until(lambda: claude.beta.sessions.retrieve(name), lambda seen: seen.status == "idle")

    assert "running" == running


async def test_a_session_can_write_a_file(claude: anthropic.AsyncAnthropic, other: anthropic.AsyncAnthropic) -> None:
    """The file is named in an event, belongs to the session, and its workspace alone can download it."""
    name = await session(claude)
    await claude.beta.sessions.events.send(name, events=[said("[[simulate file]]")])
    (made,) = [file async for file in claude.files.list()]
    results = [one async for one in claude.beta.sessions.events.list(name) if one.type == "agent.tool_result"]

    assert made.id in str(results)
    assert {"type": "session", "id": name} == (made.model_extra or {})["scope"]
    assert b"written by the simulator\n" == await (await claude.files.download(made.id)).read()
    with pytest.raises(anthropic.NotFoundError):
        await other.files.download(made.id)


async def test_sessions_have_cursors_both_ways(claude: anthropic.AsyncAnthropic, http: aiohttp.ClientSession) -> None:
    """Scheme B2: prev_page leads back."""
    agent, environment = await agent_and_environment(claude)
    made = [(await claude.beta.sessions.create(agent=agent, environment_id=environment)).id for _ in range(5)]
    _, first = await get(http, "/v1/sessions?limit=2", **BETA)
    _, second = await get(http, f"/v1/sessions?limit=2&page={first['next_page']}", **BETA)
    _, back = await get(http, f"/v1/sessions?limit=2&page={second['prev_page']}", **BETA)

    assert made[::-1] == [one.id async for one in claude.beta.sessions.list(limit=2)]
    assert first["prev_page"] is None
    assert first["data"] == back["data"]


async def test_agents_keep_their_versions(claude: anthropic.AsyncAnthropic) -> None:
    """An update makes a version; the list has them newest first; the model must exist."""
    agent, _ = await agent_and_environment(claude)
    changed = await claude.beta.agents.update(agent, version=1, name="Senior clerk")

    assert (2, "Senior clerk") == (changed.version, changed.name)
    assert [2, 1] == [one.version async for one in claude.beta.agents.versions.list(agent)]
    with pytest.raises(anthropic.NotFoundError, match="claude-none"):
        await claude.beta.agents.create(name="x", model="claude-none")


async def test_a_deployment_runs_sessions(claude: anthropic.AsyncAnthropic, http: aiohttp.ClientSession) -> None:
    """A run names its session, which has answered; pausing changes the status; runs are listed."""
    agent, environment = await agent_and_environment(claude)
    body: Any = {"name": "daily", "agent": agent, "environment_id": environment, "initial_events": [said()]}
    _, made = await post(http, "/v1/deployments", body, **BETA)
    _, run = await post(http, f"/v1/deployments/{made['id']}/run", {}, **BETA)
    _, paused = await post(http, f"/v1/deployments/{made['id']}/pause", {}, **BETA)
    _, runs = await get(http, "/v1/deployment_runs", **BETA)
    ran = await claude.beta.sessions.retrieve(run["session_id"])

    assert ("active", "paused") == (made["status"], paused["status"])
    assert [run["id"]] == [one["id"] for one in runs["data"]]
    assert (ran.deployment_id, True) == (made["id"], (ran.usage.output_tokens or 0) > 0)


async def test_a_scheduled_deployment_runs_by_itself(start: Start) -> None:
    """With a schedule runs appear without a call, until the deployment is archived."""
    simulator = await start(schedule_seconds=0.02)
    async with (
        anthropic.AsyncAnthropic(base_url=simulator.url, api_key="ws-search-0001") as claude,
        aiohttp.ClientSession(simulator.url, headers=KEY) as http,
    ):
        agent, environment = await agent_and_environment(claude)
        asked: Any = {"name": "daily", "agent": agent, "environment_id": environment, "schedule": {"cron": "0 9 * * *"}}
        _, made = await post(http, "/v1/deployments", asked, **BETA)
        _, runs = await until(lambda: get(http, "/v1/deployment_runs", **BETA), lambda seen: len(seen[1]["data"]) > 1)
        await post(http, f"/v1/deployments/{made['id']}/archive", {}, **BETA)
        await until(lambda: bill(http), lambda seen: seen["open"] == 1)  # this very request

    assert {"schedule"} == {run["trigger_context"]["type"] for run in runs["data"]}


async def test_self_hosted_work_is_queued(claude: anthropic.AsyncAnthropic, http: aiohttp.ClientSession) -> None:
    """A session in a self-hosted environment is work: polled once, acknowledged, kept alive, stopped."""
    agent, _ = await agent_and_environment(claude)
    _, environment = await post(http, "/v1/environments", {"name": "own", "config": {"type": "self_hosted"}}, **BETA)
    path = f"/v1/environments/{environment['id']}/work"
    assert None is (await get(http, f"{path}/poll", **BETA))[1]
    await post(http, "/v1/sessions", {"agent": agent, "environment_id": environment["id"]}, **BETA)
    assert 1 == (await get(http, f"{path}/stats", **BETA))[1]["depth"]
    _, work = await get(http, f"{path}/poll?block_ms=500", **BETA)
    states = [
        (await post(http, f"{path}/{work['id']}/{step}", {}, **BETA))[1]["state"]
        for step in ("ack", "heartbeat", "stop")
    ]

    assert ("starting", ["active", "active", "stopped"]) == (work["state"], states)
    assert None is (await get(http, f"{path}/poll", **BETA))[1]


async def test_memories_leave_versions(http: aiohttp.ClientSession) -> None:
    """Create, change and delete each leave a version, which can be redacted."""
    beta = {"anthropic_beta": "agent-memory-2026-07-22"}
    _, store = await post(http, "/v1/memory_stores", {"name": "notes"}, **beta)
    path = f"/v1/memory_stores/{store['id']}"
    _, memory = await post(http, f"{path}/memories", {"path": "/a.md", "content": "One."}, **beta)
    await post(http, f"{path}/memories/{memory['id']}", {"content": "Two."}, **beta)
    async with http.delete(
        f"{path}/memories/{memory['id']}", headers={"anthropic-beta": beta["anthropic_beta"]}
    ) as gone:
        assert "memory_deleted" == (await gone.json())["type"]
    _, versions = await get(http, f"{path}/memory_versions", **beta)
    _, redacted = await post(http, f"{path}/memory_versions/{versions['data'][0]['id']}/redact", {}, **beta)

    assert ["deleted", "modified", "created"] == [one["operation"] for one in versions["data"]]
    assert (None, True) == (redacted["content"], bool(redacted["redacted_at"]))


async def test_secrets_of_credentials_are_never_shown(http: aiohttp.ClientSession) -> None:
    """A vault's credential comes back without its token, in the vault alone."""
    _, vault = await post(http, "/v1/vaults", {"display_name": "Keys"}, **BETA)
    auth = {"type": "static_bearer", "token": "hidden", "mcp_server_url": "https://example.com"}
    _, made = await post(http, f"/v1/vaults/{vault['id']}/credentials", {"auth": auth}, **BETA)
    valid, _ = await post(http, f"/v1/vaults/{vault['id']}/credentials/{made['id']}/mcp_oauth_validate", {}, **BETA)

    assert ("hidden" in str(made), vault["id"], 200) == (False, made["vault_id"], valid)
    assert 404 == (await get(http, f"/v1/vaults/vlt_none/credentials/{made['id']}", **BETA))[0]


async def test_a_dream_uses_tokens_over_time(http: aiohttp.ClientSession) -> None:
    """Pending, running with half its usage, completed with all of it; the bill has both halves."""
    beta = {"anthropic_beta": "dreaming-2026-04-21"}
    _, made = await post(http, "/v1/dreams", BODIES["dream"], **beta)
    _, dream = await until(
        lambda: get(http, f"/v1/dreams/{made['id']}", **beta), lambda seen: seen[1]["status"] == "completed"
    )
    rows = [row for row in (await bill(http))["rows"] if row.get("object_id") == made["id"]]

    assert ("pending", 0) == (made["status"], made["usage"]["output_tokens"])
    assert {
        "input_tokens": 12_000,
        "output_tokens": 900,
        "cache_creation_input_tokens": 3_000,
        "cache_read_input_tokens": 24_000,
    } == dream["usage"]
    assert 12_000 * 2_000 + 3_000 * 2_500 + 24_000 * 200 + 900 * 10_000 == sum(row["nano_usd"] for row in rows)


async def test_profiles_make_links(http: aiohttp.ClientSession) -> None:
    """Action and enrolment URLs are made for a profile that exists."""
    _, profile = await post(http, "/v1/user_profiles", {"external_id": "u"})
    _, made = await post(http, f"/v1/user_profiles/{profile['id']}/enrollment_url", {})

    assert made["url"].startswith("https://")
    assert 404 == (await post(http, "/v1/user_profiles/uprof_none/action_urls", {}))[0]
