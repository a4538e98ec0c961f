"""Message threads: conversation state that Claude holds, so that a `continue` carries only what is new (fact sheet 7).

A thread is found by the message it ended with, can be continued once from there, and lapses five minutes after its last
use. It lives in one workspace.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.simulator.errors import invalid, not_found
from gateway.simulator.message import Message
from gateway.simulator.prompt import Part
from gateway.simulator.world import Workspace

LIFETIME = 300
UNSUPPORTED = ("context_management", "fallbacks")
FIXED = ("system", "tools")  # a continue omits them


@dataclass(slots=True)
class Thread:
    model: str
    parts: list[Part]  # the whole conversation so far
    fixed: dict[str, Any]
    lapses: float
    continued: bool = False


def resume(body: Mapping[str, Any], workspace: Workspace, now: float) -> Thread | None:
    """The thread that this request continues; None when it starts one."""
    thread = body["thread"]
    unsupported = [name for name in UNSUPPORTED if body.get(name)]
    if has_marks(body):
        unsupported.insert(0, "cache_control")
    if unsupported:
        raise invalid(
            f"thread: not supported together with {', '.join(unsupported)}",
            code="thread_unsupported_request",
            unsupported=unsupported,
        )
    kind = thread.get("type")
    if kind == "create":
        return None
    if kind != "continue":
        raise invalid("thread.type: Input should be 'create' or 'continue'")
    previous = thread.get("previous_message_id")
    if not isinstance(previous, str):
        raise invalid("thread.continue.previous_message_id: Field required")
    found: Thread | None = workspace.threads.get(previous)
    if found is None or found.lapses <= now:
        raise not_found(f"Thread for message {previous} not found.", code="thread_not_found")
    if found.continued:
        raise invalid(f"Message {previous} was already continued.", code="thread_already_continued")
    if found.model != body["model"] or any(name in body for name in FIXED):
        raise invalid("The request does not match its thread.", code="thread_fingerprint_mismatch")
    return found


def keep(
    body: Mapping[str, Any],
    parts: list[Part],
    before: Thread | None,
    *,
    message: Message,
    workspace: Workspace,
    now: float,
) -> None:
    """Remember the conversation under the id of its newest message."""
    if before:
        before.continued = True
    spoken = Part([block.final for block in message.blocks], message.usage["output_tokens"], None)
    fixed = before.fixed if before else {name: body[name] for name in FIXED if name in body}
    workspace.threads[message.id] = Thread(body["model"], [*parts, spoken], fixed, now + LIFETIME)
    lapsed = [name for name, thread in workspace.threads.items() if thread.lapses <= now]
    for name in lapsed:
        del workspace.threads[name]


def has_marks(body: Mapping[str, Any]) -> bool:
    contents = [body.get("system"), body.get("tools"), *(message["content"] for message in body["messages"])]
    blocks = [block for content in contents if isinstance(content, list) for block in content]
    return bool(body.get("cache_control")) or any(isinstance(b, dict) and b.get("cache_control") for b in blocks)
