"""The order of an answer's parts: fallback, compaction, thinking, server tools, advisor, text, the client's tool."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.simulator.answer import (
    Writer,
    entry_of,
    refused,
    seed_of,
    server_tool,
    stop_at,
    tool_to_call,
    usage_of,
    wanted_tokens,
)
from gateway.simulator.asks import Asks, last_text, number
from gateway.simulator.cache import Split
from gateway.simulator.message import Block, Message
from gateway.simulator.models import MODELS, Model, find
from gateway.simulator.prompt import source_of
from gateway.simulator.server_tools import RESULT_TOKENS, server_tools
from gateway.simulator.speech import sample, speak
from gateway.simulator.task import Task
from gateway.simulator.world import Object, fresh_id

SUMMARY_TOKENS = 40
DEFAULT_FALLBACK = "claude-sonnet-5"


def compose(task: Task) -> Message:
    body, asks = task.body, task.asks
    counted = task.split(task.model)
    model = fallback_model(body) if {"refusal", "declined"} & asks.keys() else None
    if model is None:
        model = task.model
        if "refusal" in asks:
            return refused(body, model, counted)
    seed = seed_of(body)
    writer = Writer(model, seed, body["max_tokens"], task.per_event)
    if model is not task.model:
        counted = decline(task, writer, counted, model)
    if "compaction" in asks and (body.get("compaction") or body.get("context_management")):
        compact(task, writer, counted)
    purse = writer.left
    wanted = wanted_tokens(asks, seed)
    think(task, writer, wanted)
    server_tools(task, writer)
    extra = (task.searches + task.fetches) * RESULT_TOKENS
    sampled = counted._replace(uncached=counted.uncached + extra)
    total = advise(task, writer, sampled, purse)
    stop_reason, stop_sequence = finish(task, writer, seed, wanted - writer.thought)
    usage = usage_of(total, purse - writer.left, body, model)
    if writer.thought:
        usage["output_tokens_details"] = {"thinking_tokens": writer.thought}
    if server_tool(body, "web_search_") or server_tool(body, "web_fetch_"):
        usage["server_tool_use"] = {"web_search_requests": task.searches, "web_fetch_requests": task.fetches}
    if task.entries:
        last = own_entry(task, writer, sampled, 0)
        earlier = sum(entry["output_tokens"] for entry in task.entries if entry["type"] == last["type"])
        last["output_tokens"] = usage["output_tokens"] - earlier
        usage["iterations"] = [*task.entries, last]
    return Message(
        fresh_id("msg"),
        task.model.id,
        writer.blocks,
        usage,
        stop_reason,
        stop_sequence,
        stop_details={"type": "refusal", "category": "cyber", "explanation": None}
        if stop_reason == "refusal"
        else None,
        container=task.container,
        first_usage=usage_of(counted, 0, body, model) if total != counted else None,
        pings=number(asks, "pings", 1),
    )


def own_entry(task: Task, writer: Writer, sampled: Split, output: int) -> Object:
    """The entry of a sampling by the model that answers, named when it is a fallback."""
    if writer.model is task.model:
        return entry_of("message", sampled, output, None)
    return entry_of("fallback_message", sampled, output, writer.model.id)


def fallback_model(body: Mapping[str, Any]) -> Model | None:
    """The first model of `fallbacks` that exists."""
    fallbacks = body.get("fallbacks") or []
    if fallbacks == "default":
        return MODELS[DEFAULT_FALLBACK]
    found = [find(entry.get("model")) for entry in fallbacks if isinstance(entry, dict)]
    return next((model for model in found if model), None)


def decline(task: Task, writer: Writer, counted: Split, model: Model) -> Split:
    """The first model declines, after some tokens if asked; the fallback's own count of the prompt."""
    spoken = writer.take(number(task.asks, "declined", 0))
    task.entries.append(entry_of("message", counted, spoken, task.model.id))
    writer.left = task.body["max_tokens"]
    writer.add(
        {
            "type": "fallback",
            "from": {"model": task.model.id},
            "to": {"model": model.id},
            "trigger": {"type": "refusal", "category": "cyber"},
        }
    )
    return task.split(model)


def compact(task: Task, writer: Writer, counted: Split) -> None:
    """A sampling of its own that is in `iterations` only."""
    summary = "".join(speak(writer.seed, SUMMARY_TOKENS))
    task.entries.append(entry_of("compaction", counted, SUMMARY_TOKENS, None))
    delta = {"type": "compaction_delta", "content": summary}
    block = {"type": "compaction", "content": summary}
    writer.blocks.append(Block(block, {"type": "compaction", "content": None}, [(delta, 0)]))


def think(task: Task, writer: Writer, wanted: int) -> None:
    thinking = task.body.get("thinking") or {}
    if "redacted" in task.asks:
        writer.add({"type": "redacted_thinking", "data": base64.b64encode(b"redacted" * 8).decode()})
    if thinking.get("type") in ("enabled", "adaptive") and writer.left > 0:
        shown = thinking.get("display") != "omitted"
        writer.think(max(1, wanted // 3), number(task.asks, "signature", 96), shown=shown)


def advise(task: Task, writer: Writer, sampled: Split, purse: int) -> Split:
    """Ask the advisor in between: two samplings of the own model around one of the advisor's, each with its own entry.

    The top level of `usage` is the sum of the own model's two; the advisor's tokens stand in `iterations` alone.
    """
    tool = server_tool(task.body, "advisor_")
    advisor = find(tool.get("model")) if tool else None
    if "advisor" not in task.asks or advisor is None or writer.left <= 0:
        return sampled
    call = writer.call("server_tool_use", "srvtoolu", "advisor", {})
    task.entries.append(own_entry(task, writer, sampled, purse - writer.left))
    advice = speak(writer.seed + 2, 24)
    task.entries.append(entry_of("advisor_message", task.split(advisor), len(advice), advisor.id))
    result = {"type": "advisor_result", "text": "".join(advice)}
    block = writer.add({"type": "advisor_tool_result", "tool_use_id": call["id"], "content": result})
    block.usage_after = usage_of(sampled, purse - writer.left, task.body, task.model)
    return Split(*(2 * tokens for tokens in sampled))


def finish(task: Task, writer: Writer, seed: int, wanted: int) -> tuple[str, str | None]:
    """Text and the client's tool; why the answer stopped."""
    body, asks = task.body, task.asks
    tool = tool_to_call(body, asks)
    form = (body.get("output_config") or {}).get("format") or body.get("output_format")
    stop: str | None = None
    stops = body.get("stop_sequences") or []
    if writer.left <= 0:
        return "max_tokens", None
    if tool:
        if (body.get("tool_choice") or {}).get("type") not in ("any", "tool"):
            writer.say(speak(seed, max(1, min(wanted, 12))))
        if writer.left > 0:
            writer.call("tool_use", "toolu", tool["name"], sample(tool.get("input_schema") or {"type": "object"}))
        return ("tool_use" if writer.left > 0 or writer.blocks[-1].final.get("input") else "max_tokens"), None
    if form and form.get("type") == "json_schema":
        writer.quote(msgspec.json.encode(sample(form.get("schema"))).decode())
        return ("end_turn" if writer.left > 0 else "max_tokens"), None
    if "echo" in asks:
        writer.quote(last_text(body))
        return ("end_turn" if writer.left > 0 else "max_tokens"), None
    words = speak(seed, min(max(0, wanted), writer.left))
    short = wanted > writer.left
    if stops:
        words, stop = (words, stops[0]) if "stop" in asks else stop_at(words, stops)
    writer.say(words, citations(body) if "citations" in asks else ())
    return stop_reason(asks, stop, short=short), stop


def stop_reason(asks: Asks, stop: str | None, *, short: bool) -> str:
    if "late_refusal" in asks:
        return "refusal"
    if stop is not None:
        return "stop_sequence"
    if short:
        return "max_tokens"
    if "pause" in asks:
        return "pause_turn"
    return "model_context_window_exceeded" if "context" in asks else "end_turn"


def citations(body: Mapping[str, Any]) -> list[Object]:
    """A citation of the prompt's first document, if there is one."""
    for message in body["messages"]:
        for block in message["content"] if isinstance(message["content"], list) else []:
            if block.get("type") == "document":
                cited = str(source_of(block).get("data", ""))[:20]
                return [
                    {
                        "type": "char_location",
                        "cited_text": cited,
                        "document_index": 0,
                        "document_title": block.get("title"),
                        "start_char_index": 0,
                        "end_char_index": len(cited),
                    }
                ]
    return []
