"""What kinds do beyond being stored: agents keep versions, memories too, dreams use tokens over time."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable

from gateway.simulator import sessions
from gateway.simulator.lists import public
from gateway.simulator.prices import cost_e4
from gateway.simulator.world import Call, Object, fresh_id, stamp

DREAM_TOKENS = {
    "input_tokens": 12_000,
    "output_tokens": 900,
    "cache_creation_input_tokens": 3_000,
    "cache_read_input_tokens": 24_000,
}


def agent_made(_: Call, agent: Object) -> None:
    sessions.model_of(agent)  # 400 or 404 for a model that cannot run
    agent["version"] = 1
    agent["_versions"] = [public(agent)]


def agent_changed(_: Call, agent: Object) -> None:
    sessions.model_of(agent)
    agent["version"] += 1
    agent["_versions"].insert(0, public(agent))


def remember(operation: str) -> Callable[[Call, Object], None]:
    """A hook that writes the version which a change of a memory makes."""

    def write(call: Call, memory: Object) -> None:
        content = str(memory.get("content") or "").encode()
        facts = {"content_sha256": hashlib.sha256(content).hexdigest(), "content_size_bytes": len(content)}
        memory |= facts
        version: Object = {
            **facts,
            "id": fresh_id("memver"),
            "type": "memory_version",
            "memory_id": memory["id"],
            "memory_store_id": memory["_parent"],
            "operation": operation,
            "path": memory.get("path"),
            "content": memory.get("content"),
            "created_at": stamp(call.now),
            "_parent": memory["_parent"],
        }
        call.workspace.of("memory_version")[version["id"]] = version
        memory["memory_version_id"] = version["id"]

    return write


def dream_made(call: Call, dream: Object) -> None:
    model = sessions.model_of(dream)
    dream |= {"usage": dict.fromkeys(DREAM_TOKENS, 0), "outputs": [], "session_id": None, "ended_at": None}
    call.world.spawn(dream_on(call, dream, model))


async def dream_on(call: Call, dream: Object, model: str) -> None:
    """Half of the usage half-way, the rest at the end; a cancelled dream keeps what it used."""
    pause = call.world.options.dream_seconds / 2
    for part, status in ((1, "running"), (2, "completed")):
        await asyncio.sleep(pause)
        if dream["status"] not in ("pending", "running"):
            return
        before = dream["usage"]
        dream["usage"] = {kind: tokens * part // 2 for kind, tokens in DREAM_TOKENS.items()}
        used = {kind: tokens - before[kind] for kind, tokens in dream["usage"].items()}
        now = call.world.now()
        dream |= {"status": status, "updated_at": stamp(now)}
        sessions.book(call, "dream", dream["id"], model=model, usage=used, exact=cost_e4(model, used))
        if status == "completed":
            dream["ended_at"] = stamp(now)
