"""The routes of the managed-agents family: those of every kind, and those that one kind has for itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.simulator import sessions
from gateway.simulator.errors import ApiError
from gateway.simulator.kinds import (
    AGENT,
    AGENTS,
    CREDENTIAL,
    DEPLOYMENT,
    KINDS,
    MEMORY,
    MEMORY_VERSION,
    PROFILE,
    SESSION,
    THREAD,
    TUNNELS,
    WORK,
    run_of,
)
from gateway.simulator.lists import by_page
from gateway.simulator.objects import find, rows, siblings, visible
from gateway.simulator.routes import Route
from gateway.simulator.world import Answer, Call, Object, fresh_id, reply, stamp

LINK_SECONDS = 900


def versions(call: Call) -> Answer:
    return reply(by_page(find(call, AGENT)["_versions"], call.request.query))


def redact(call: Call) -> Answer:
    version = find(call, MEMORY_VERSION)
    version |= {"content": None, "path": None, "redacted_at": stamp(call.now)}
    return visible(version)


def run(call: Call) -> Answer:
    deployment = find(call, DEPLOYMENT)
    if deployment.get("archived_at"):
        raise ApiError("conflict", f"{deployment['id']} is archived and cannot run.")
    return visible(run_of(call, deployment, "manual"))


def work_found(call: Call, *, states: tuple[str, ...]) -> list[Object]:
    return [item for item in reversed(siblings(call, WORK)) if item["state"] in states]


async def poll(call: Call) -> Answer:
    """The oldest queued work, waited for as long as `block_ms` says; null when there is none."""
    wait = call.request.query.get("block_ms", "0")
    until = call.now + (int(wait) if wait.isdigit() else 0) / 1000
    while True:
        queued = work_found(call, states=("queued",))
        if queued:
            queued[0] |= {"state": "starting", "started_at": stamp(call.world.now())}
            return visible(queued[0])
        if call.world.now() >= until:
            return reply(None)
        await asyncio.sleep(0.02)


def stats(call: Call) -> Answer:
    queued = work_found(call, states=("queued",))
    oldest = queued[0]["created_at"] if queued else None
    pending = len(work_found(call, states=("starting",)))
    return reply({"type": "work_queue_stats", "depth": len(queued), "pending": pending, "oldest_queued_at": oldest})


def heartbeat(call: Call) -> Answer:
    work = find(call, WORK)
    work["latest_heartbeat_at"] = stamp(call.now)
    beat = {"type": "work_heartbeat", "last_heartbeat": work["latest_heartbeat_at"], "lease_extended": True}
    return reply({**beat, "state": work["state"], "ttl_seconds": 60})


def validate_credential(call: Call) -> Answer:
    find(call, CREDENTIAL)
    return reply({"type": "vault_credential_validation", "status": "valid"})


def link(kind: str) -> Callable[[Call], Answer]:
    def handle(call: Call) -> Answer:
        profile = find(call, PROFILE)
        url = f"https://platform.claude.com/{kind}/{fresh_id('link')}"
        return reply(
            {"type": kind, "url": url, "expires_at": stamp(call.now + LINK_SECONDS), "user_profile_id": profile["id"]}
        )

    return handle


def no_tunnels(_: Call) -> Answer:
    raise ApiError("forbidden", "Tunnels need an OAuth token with the scope workspace:manage_tunnels.")


def managed_rows() -> list[Route]:
    own = [
        Route("GET", f"{AGENT.item}/versions", versions, beta=AGENTS),
        Route("GET", f"{WORK.path}/poll", poll, beta=AGENTS),
        Route("GET", f"{WORK.path}/stats", stats, beta=AGENTS),
        Route("POST", f"{WORK.item}/heartbeat", heartbeat, beta=AGENTS),
        Route("POST", f"{DEPLOYMENT.item}/run", run, beta=AGENTS),
        Route("POST", f"{CREDENTIAL.item}/mcp_oauth_validate", validate_credential, beta=AGENTS),
        Route("POST", f"{MEMORY_VERSION.item}/redact", redact, beta=MEMORY, without=AGENTS),
        Route("POST", f"{PROFILE.item}/action_urls", link("user_profile_action_url")),
        Route("POST", f"{PROFILE.item}/enrollment_url", link("user_profile_enrollment_url")),
        Route("POST", f"{SESSION.item}/events", sessions.send_of(SESSION), beta=AGENTS),
        Route("GET", f"{SESSION.item}/events", sessions.events_of(SESSION), beta=AGENTS),
        Route("GET", f"{SESSION.item}/events/stream", sessions.stream_of(SESSION), beta=AGENTS),
        Route("GET", f"{SESSION.item}/stream", sessions.stream_of(SESSION), beta=AGENTS),
        Route("GET", f"{THREAD.item}/events", sessions.events_of(THREAD), beta=AGENTS),
        Route("GET", f"{THREAD.item}/stream", sessions.stream_of(THREAD), beta=AGENTS),
    ]
    tunnels = [
        Route(method, f"/v1/tunnels{rest}", no_tunnels, beta=TUNNELS)
        for method, rest in (
            ("GET", ""),
            ("POST", ""),
            ("GET", "/{tunnel}"),
            ("POST", "/{tunnel}/archive"),
            ("POST", "/{tunnel}/reveal_token"),
            ("POST", "/{tunnel}/rotate_token"),
            ("GET", "/{tunnel}/certificates"),
            ("POST", "/{tunnel}/certificates"),
            ("GET", "/{tunnel}/certificates/{certificate}"),
            ("POST", "/{tunnel}/certificates/{certificate}/archive"),
        )
    ]
    return [*own, *tunnels, *(row for kind in KINDS for row in rows(kind))]
