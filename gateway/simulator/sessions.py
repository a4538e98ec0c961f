"""Sessions that run: events in, a turn of the agent, events out, usage that grows, live streams (fact sheet 1.5, 5.4).

Nobody thinks: a turn answers with generated words, reads the conversation so far from the cache and takes a fixed share
of an hour. A turn that takes time runs on after the call that started it has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from zlib import crc32

import msgspec

from gateway.simulator.asks import asked
from gateway.simulator.errors import ApiError, invalid
from gateway.simulator.files import generated
from gateway.simulator.lists import by_page
from gateway.simulator.models import MODELS
from gateway.simulator.objects import Kind, find
from gateway.simulator.prices import E4, SESSION_HOUR_NANO, cost_e4, rounded
from gateway.simulator.shapes import Typed, fit
from gateway.simulator.speech import speak
from gateway.simulator.tokens import count
from gateway.simulator.validate import check_model
from gateway.simulator.world import Answer, Call, Live, Object, event, fresh_id, reply, stamp

# 0.9 s of a running session cost exactly 20,000 nano-dollars, so that sums of turns never round.
TURN_SECONDS = 0.9
TURN_NANO = SESSION_HOUR_NANO * 9 // 36_000
NANO_PER_CENT = 10_000_000
PING_SECONDS = 15.0
STARTS_A_TURN = ("user.message", "user.custom_tool_result", "user.tool_result", "user.define_outcome")
ENDED = None  # in a listener's queue


def model_of(holder: Object) -> str:
    """The canonical id of the model that an agent, a session or a dream names."""
    named = holder.get("model")
    return check_model(named.get("id") if isinstance(named, dict) else named).id


def made(call: Call, session: Object) -> None:
    """Complete a new session: its agent in full, its main thread, its resources, its work item, its first events."""
    named = session["agent"]
    agent = call.workspace.of("agent")[named["id"] if isinstance(named, dict) else named]
    hidden = ("created_at", "updated_at", "archived_at", "metadata")
    session |= {
        "agent": {k: v for k, v in agent.items() if not k.startswith("_") and k not in hidden},
        "status": "idle",
        "usage": usage_of({}, 0.0, 0),
        "stats": {"active_seconds": 0.0, "duration_seconds": 0.0},
        "resources": [resource(call, session, body) for body in session.get("resources") or []],
        "_events": [],
        "_listeners": set(),
        "_model": model_of(agent),
        "_total": {},
        "_nano": 0,
        "_prompt": 0,
    }
    thread = {
        "id": fresh_id("sthr"),
        "type": "session_thread",
        "session_id": session["id"],
        "agent": session["agent"],
        "status": "idle",
        "parent_thread_id": None,
        "created_at": session["created_at"],
        "updated_at": session["created_at"],
        "archived_at": None,
        "_parent": session["id"],
    }
    call.workspace.of("session_thread")[thread["id"]] = thread
    environment = call.workspace.of("environment")[session["environment_id"]]
    if (environment.get("config") or {}).get("type") == "self_hosted":
        enqueue(call, session, environment)
    first = session.pop("initial_events", None)
    if first:
        send(call, session, first)


def resource(call: Call, session: Object, body: Object) -> Object:
    now = stamp(call.now)
    item = {**body, "id": fresh_id("sesrsc"), "created_at": now, "updated_at": now}
    call.workspace.of("session_resource")[item["id"]] = {**item, "_parent": session["id"]}
    return item


def enqueue(call: Call, session: Object, environment: Object) -> None:
    work = {
        "id": fresh_id("work"),
        "type": "work",
        "environment_id": environment["id"],
        "state": "queued",
        "data": {"type": "session", "id": session["id"]},
        "created_at": stamp(call.now),
        "updated_at": stamp(call.now),
        "metadata": {},
        "_parent": environment["id"],
    }
    call.workspace.of("work")[work["id"]] = work


def deleted(call: Call, session: Object) -> None:
    emit(session, "session.deleted", call.now)
    for listener in session["_listeners"]:
        listener.put_nowait(ENDED)
    for kind in ("session_thread", "session_resource"):
        shelf = call.workspace.of(kind)
        for name in [name for name, item in shelf.items() if item["_parent"] == session["id"]]:
            del shelf[name]


def send(call: Call, session: Object, events: Any) -> list[Object]:
    """Take a client's events and start the turn they ask for."""
    fit(events, list[Typed], "events")
    if not events:
        raise invalid("events: List should have at least 1 item")
    if session.get("archived_at"):
        raise ApiError("conflict", f"Session {session['id']} is archived.")
    taken = []
    for n, one in enumerate(events):
        if not one["type"].startswith(("user.", "system.")):
            raise invalid(f"events.{n}.type: Input should be a user event")
        taken.append({**one, "id": fresh_id("sevt"), "processed_at": stamp(call.now)})
    session["_events"].extend(taken)
    for one in taken:
        publish(session, one)
    if any(one["type"] in STARTS_A_TURN for one in taken):
        text = msgspec.json.encode([one.get("content") for one in taken]).decode()
        begin(call, session)
        if call.world.options.session_turn_seconds > 0:
            call.world.spawn(later(call, session, text))
        else:
            finish(call, session, text)
    return taken


def begin(call: Call, session: Object) -> None:
    session["status"] = "running"
    emit(session, "session.status_running", call.now)


async def later(call: Call, session: Object, text: str) -> None:
    await asyncio.sleep(call.world.options.session_turn_seconds)
    finish(call, session, text)


def finish(call: Call, session: Object, text: str) -> None:
    """The agent's turn: one model request, its message, its usage, its row in the bill."""
    now = call.world.now()
    model = MODELS[session["_model"]]
    fresh = count(text, model.tokenizer)
    seed = crc32(text.encode("utf-8", "surrogatepass"))
    words = speak(seed, 12 + seed % 64)
    used = {
        "input_tokens": 4 if session["_prompt"] else fresh,
        "cache_creation_input_tokens": fresh if session["_prompt"] else 0,
        "cache_read_input_tokens": session["_prompt"],
        "output_tokens": len(words),
    }
    session["_prompt"] += fresh + len(words)
    begun = emit(session, "span.model_request_start", now)
    if "file" in asked({}, text):
        file = generated(call.workspace, now, session["id"])
        document = {"type": "document", "source": {"type": "file", "file_id": file["id"]}}
        emit(session, "agent.tool_result", now, tool_use_id=fresh_id("toolu"), content=[document])
    emit(session, "agent.message", now, content=[{"type": "text", "text": "".join(words)}])
    emit(session, "span.model_request_end", now, model_request_start_id=begun["id"], is_error=False, model_usage=used)
    total = session["_total"]
    for kind, tokens in used.items():
        total[kind] = total.get(kind, 0) + tokens
    exact = cost_e4(model.id, used) + TURN_NANO * E4
    session["_nano"] += rounded(exact)
    active = round(session["stats"]["active_seconds"] + TURN_SECONDS, 3)
    session["stats"] = {"active_seconds": active, "duration_seconds": active}
    session["usage"] = usage_of(total, active, session["_nano"])
    session["updated_at"] = stamp(now)
    book(call, "session", session["id"], model=model.id, usage={**used, "active_seconds": TURN_SECONDS}, exact=exact)
    emit(session, "session.usage", now, usage=session["usage"])
    session["status"] = "idle"
    emit(session, "session.status_idle", now, stop_reason={"type": "end_turn"})


def usage_of(total: Object, active: float, nano: int) -> Object:
    """Cumulative usage as a session shows it; the cost in whole cents, rounded up."""
    return {
        "input_tokens": total.get("input_tokens", 0),
        "output_tokens": total.get("output_tokens", 0),
        "cache_read_input_tokens": total.get("cache_read_input_tokens", 0),
        "cache_creation": {
            "ephemeral_5m_input_tokens": total.get("cache_creation_input_tokens", 0),
            "ephemeral_1h_input_tokens": 0,
        },
        "server_tool_use": {"web_search_requests": 0, "web_fetch_requests": 0},
        "active_seconds": active,
        "list_cost": {"amount": str(-(-nano // NANO_PER_CENT)), "currency": "USD"},
    }


def book(call: Call, route: str, name: str, *, model: str, usage: Object, exact: int) -> None:
    """A row for what ran on its own account."""
    call.world.book.enter(
        exact=exact,
        usage=usage,
        request_id=call.request_id,
        at=call.world.now(),
        workspace=call.workspace.name,
        key=call.key,
        route=route,
        status=200,
        ended="ok",
        faults=[],
        model=model,
        object_id=name,
    )


def emit(session: Object, kind: str, now: float, **facts: Any) -> Object:
    one = {"id": fresh_id("sevt"), "type": kind, "processed_at": stamp(now), **facts}
    session["_events"].append(one)
    publish(session, one)
    return one


def publish(session: Object, one: Object) -> None:
    for listener in session["_listeners"]:
        listener.put_nowait(one)


def session_of(call: Call, kind: Kind) -> Object:
    """The session of the path, named itself or by one of its threads."""
    find(call, kind)
    return call.workspace.of("session")[call.params["session"]]


def send_of(kind: Kind) -> Callable[[Call], Answer]:
    return lambda call: reply({"data": send(call, session_of(call, kind), call.json().get("events"))})


def events_of(kind: Kind) -> Callable[[Call], Answer]:
    def handle(call: Call) -> Answer:
        events = session_of(call, kind)["_events"]
        if call.request.query.get("order") == "desc":
            events = events[::-1]
        return reply(by_page(events, call.request.query))

    return handle


def stream_of(kind: Kind) -> Callable[[Call], Answer]:
    return lambda call: Live(listen(session_of(call, kind)), "text/event-stream; charset=utf-8")


async def listen(session: Object) -> AsyncIterator[bytes]:
    """What happens from now on; no replay. Ends when the session is deleted or the client leaves."""
    listener: asyncio.Queue[Object | None] = asyncio.Queue()
    session["_listeners"].add(listener)
    try:
        while True:
            try:
                one = await asyncio.wait_for(listener.get(), PING_SECONDS)
            except TimeoutError:
                yield b'event: ping\ndata: {"type":"ping"}\n\n'
                continue
            if one is ENDED:
                return
            yield event(one["type"], one).data
    finally:
        session["_listeners"].discard(listener)
