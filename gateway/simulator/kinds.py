"""The table of kinds of the managed-agents family (fact sheet 1.5, Appendix A.1)."""

from __future__ import annotations

from gateway.simulator import hooks, sessions
from gateway.simulator.objects import ARCHIVE, NOW, Kind

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
)
ENVIRONMENT = Kind(
    "environment",
    "env",
    "/v1/environments",
    beta=AGENTS,
    fresh={"config": {"type": "cloud"}, "description": None},
    actions=ARCHIVE,
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
)
RESOURCE = Kind("session_resource", "sesrsc", f"{SESSION.item}/resources", beta=AGENTS, parent=SESSION, typed=False)
THREAD = Kind(
    "session_thread", "sthr", f"{SESSION.item}/threads", ("list", "get"), AGENTS, parent=SESSION, actions=ARCHIVE
)
DEPLOYMENT = Kind(
    "deployment",
    "depl",
    "/v1/deployments",
    ("list", "create", "get", "update"),
    AGENTS,
    fresh={"status": "active", "description": None, "resources": [], "vault_ids": [], "schedule": None},
    actions={**ARCHIVE, "pause": {"status": "paused"}, "unpause": {"status": "active"}},
)
DEPLOYMENT_RUN = Kind("deployment_run", "drun", "/v1/deployment_runs", ("list", "get"), AGENTS)
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
