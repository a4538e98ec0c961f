"""The table of kinds of the managed-agents family (fact sheet 1.5, Appendix A.1)."""

from __future__ import annotations

import asyncio

from gateway.simulator import hooks, sessions, shapes
from gateway.simulator.objects import ARCHIVE, NOW, Kind, make
from gateway.simulator.world import Call, Object

AGENTS = "managed-agents-2026-04-01"
MEMORY = "agent-memory-2026-07-22"
DREAMS = "dreaming-2026-04-21"
TUNNELS = "mcp-tunnels-2026-06-22"
AGENT = Kind(
    "agent",
    "agent",
    "/v1/agents",
    ("list", "create", "get", "update"),
    AGENTS,
    fresh={"description": None, "mcp_servers": [], "skills": [], "system": None, "tools": []},
    actions=ARCHIVE,
    on_create=hooks.agent_made,
    on_update=hooks.agent_changed,
    shape=shapes.Agent,
)
ENVIRONMENT = Kind(
    "environment",
    "env",
    "/v1/environments",
    beta=AGENTS,
    fresh={"config": {"type": "cloud"}, "description": None},
    actions=ARCHIVE,
    shape=shapes.Environment,
)
WORK = Kind(
    "work",
    "work",
    f"{ENVIRONMENT.item}/work",
    ("list", "get", "update"),
    AGENTS,
    parent=ENVIRONMENT,
    fresh={"state": "queued", "latest_heartbeat_at": None},
    actions={
        "ack": {"state": "active", "acknowledged_at": NOW},
        "stop": {"state": "stopped", "stop_requested_at": NOW, "stopped_at": NOW},
    },
)
SESSION = Kind(
    "session",
    "sesn",
    "/v1/sessions",
    beta=AGENTS,
    fresh={"title": None, "vault_ids": [], "outcome_evaluations": [], "budget": None},
    actions=ARCHIVE,
    both_cursors=True,
    on_create=sessions.made,
    on_delete=sessions.deleted,
    shape=shapes.Session,
)
RESOURCE = Kind("session_resource", "sesrsc", f"{SESSION.item}/resources", beta=AGENTS, parent=SESSION, typed=False)
THREAD = Kind(
    "session_thread", "sthr", f"{SESSION.item}/threads", ("list", "get"), AGENTS, parent=SESSION, actions=ARCHIVE
)
DEPLOYMENT_RUN = Kind("deployment_run", "drun", "/v1/deployment_runs", ("list", "get"), AGENTS)
FIRST_EVENT: Object = {"type": "user.message", "content": [{"type": "text", "text": "Go."}]}


def run_of(call: Call, deployment: Object, trigger: str) -> Object:
    """A deployment's run: a session of its own that gets the deployment's first events."""
    body = {
        "agent": deployment["agent"],
        "environment_id": deployment.get("environment_id"),
        "vault_ids": deployment.get("vault_ids", []),
        "deployment_id": deployment["id"],
    }
    session = make(call, SESSION, body)
    agent = session["agent"]
    facts = {
        "agent": {"type": "agent", "id": agent["id"], "version": agent["version"]},
        "deployment_id": deployment["id"],
        "session_id": session["id"],
        "error": None,
        "trigger_context": {"type": trigger},
    }
    made = make(call, DEPLOYMENT_RUN, facts)
    sessions.send(call, session, deployment.get("initial_events") or [FIRST_EVENT])
    return made


def deployed(call: Call, deployment: Object) -> None:
    """A schedule runs by itself as long as its deployment is active."""
    if deployment.get("schedule") and call.world.options.schedule_seconds:
        call.world.spawn(run_on(call, deployment))


async def run_on(call: Call, deployment: Object) -> None:
    while True:
        await asyncio.sleep(call.world.options.schedule_seconds)
        if deployment.get("archived_at"):
            return
        if deployment["status"] == "active":
            call.now = call.world.now()
            run_of(call, deployment, "schedule")


DEPLOYMENT = Kind(
    "deployment",
    "depl",
    "/v1/deployments",
    ("list", "create", "get", "update"),
    AGENTS,
    fresh={"status": "active", "description": None, "resources": [], "vault_ids": [], "schedule": None},
    actions={**ARCHIVE, "pause": {"status": "paused"}, "unpause": {"status": "active"}},
    on_create=deployed,
    shape=shapes.Deployment,
)
VAULT = Kind("vault", "vlt", "/v1/vaults", beta=AGENTS, fresh={"display_name": ""}, actions=ARCHIVE)
CREDENTIAL = Kind(
    "vault_credential",
    "vcrd",
    f"{VAULT.item}/credentials",
    beta=AGENTS,
    parent=VAULT,
    actions=ARCHIVE,
    secrets=("token", "access_token", "refresh_token", "client_secret", "secret", "value"),
)
MEMORY_STORE = Kind(
    "memory_store",
    "memstore",
    "/v1/memory_stores",
    beta=MEMORY,
    without=AGENTS,
    fresh={"description": None},
    actions=ARCHIVE,
)
MEMORY_VERSION = Kind(
    "memory_version",
    "memver",
    f"{MEMORY_STORE.item}/memory_versions",
    ("list", "get"),
    MEMORY,
    AGENTS,
    parent=MEMORY_STORE,
)
MEMORY_ITEM = Kind(
    "memory",
    "mem",
    f"{MEMORY_STORE.item}/memories",
    beta=MEMORY,
    without=AGENTS,
    parent=MEMORY_STORE,
    on_create=hooks.remember("created"),
    on_update=hooks.remember("modified"),
    on_delete=hooks.remember("deleted"),
    shape=shapes.Memory,
)
DREAM = Kind(
    "dream",
    "dream",
    "/v1/dreams",
    ("list", "create", "get"),
    DREAMS,
    fresh={"status": "pending", "error": None, "instructions": None},
    actions={**ARCHIVE, "cancel": {"status": "canceled", "ended_at": NOW}},
    on_create=hooks.dream_made,
    shape=shapes.Agent,
)
PROFILE = Kind("user_profile", "uprof", "/v1/user_profiles", fresh={"external_id": None, "trust_grants": {}})
WEBHOOK = Kind("webhook", "whk", "/v1/webhooks", ("list", "create", "get", "delete"), secrets=("signing_secret",))
KINDS = (
    AGENT,
    ENVIRONMENT,
    WORK,
    SESSION,
    RESOURCE,
    THREAD,
    DEPLOYMENT,
    DEPLOYMENT_RUN,
    VAULT,
    CREDENTIAL,
    MEMORY_STORE,
    MEMORY_VERSION,
    MEMORY_ITEM,
    DREAM,
    PROFILE,
    WEBHOOK,
)
