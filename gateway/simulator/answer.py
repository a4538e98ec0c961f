"""Composes the message that answers a prompt: which blocks, how many tokens, why it stopped, what it used.

Everything follows from the request (and what it asks for, see `asks`); the same request gets the same words. Output
tokens are dealt out of one purse, so an answer never exceeds `max_tokens`, whatever it is made of.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import msgspec

from gateway.simulator.asks import Asks, last_text, number
from gateway.simulator.cache import Split
from gateway.simulator.message import Block, Message
from gateway.simulator.models import Model
from gateway.simulator.prompt import text_tokens
from gateway.simulator.speech import cut, in_events, speak
from gateway.simulator.world import Object, fresh_id

CALL_TOKENS = 8  # name and frame of a tool call


@dataclass(slots=True)
class Writer:
    """Writes blocks until its purse of tokens is empty."""

    model: Model
    seed: int
    left: int
    per_event: int
    blocks: list[Block] = field(default_factory=list)
    thought: int = 0

    def take(self, tokens: int) -> int:
        taken = min(tokens, self.left)
        self.left -= taken
        return taken

    def say(self, words: Sequence[str], citations: Sequence[Object] = ()) -> None:
        words = list(words[: self.take(len(words))])
        self.text("".join(words), list(in_events(words, self.per_event)), citations)

    def quote(self, text: str) -> None:
        """Say a given text, or as much of it as the purse allows."""
        tokens = text_tokens(text, self.model.tokenizer)
        taken = self.take(tokens)
        if taken < tokens:
            text = text[: len(text) * taken // tokens]
        self.text(text, list(cut(text, taken, self.per_event)), ())

    def text(self, text: str, pieces: Sequence[tuple[str, int]], citations: Sequence[Object]) -> None:
        deltas: list[tuple[Object, int]] = [({"type": "text_delta", "text": piece}, tokens) for piece, tokens in pieces]
        deltas += [({"type": "citations_delta", "citation": citation}, 0) for citation in citations]
        final: Object = {"type": "text", "text": text}
        start: Object = {"type": "text", "text": ""}
        if citations:
            final["citations"], start["citations"] = list(citations), []
        self.blocks.append(Block(final, start, deltas))

    def think(self, tokens: int, signature: int, *, shown: bool) -> None:
        words = speak(self.seed + 1, self.take(tokens))
        self.thought += len(words)
        signed = f"{self.seed:08x}" * (signature // 8 + 1)
        final: Object = {
            "type": "thinking",
            "thinking": "".join(words) if shown else "",
            "signature": signed[:signature],
        }
        deltas: list[tuple[Object, int]] = []
        if shown:
            deltas = [
                ({"type": "thinking_delta", "thinking": piece}, n) for piece, n in in_events(words, self.per_event)
            ]
        # Thinking that is not shown streams as its signature alone, which then carries all of its tokens.
        deltas.append(({"type": "signature_delta", "signature": signed[:signature]}, 0 if shown else len(words)))
        self.blocks.append(Block(final, {"type": "thinking", "thinking": "", "signature": ""}, deltas))

    def call(self, kind: str, prefix: str, name: str, value: Any) -> Object:
        """A tool call, client's or server's; its input streams as JSON."""
        text = msgspec.json.encode(value).decode()
        tokens = text_tokens(text, self.model.tokenizer) + CALL_TOKENS
        taken = self.take(tokens)
        block: Object = {"type": kind, "id": fresh_id(prefix), "name": name, "input": value if taken == tokens else {}}
        if taken < tokens:
            text = text[: len(text) * taken // tokens]
        deltas: list[tuple[Object, int]] = [({"type": "input_json_delta", "partial_json": ""}, 0)]
        deltas += [({"type": "input_json_delta", "partial_json": p}, n) for p, n in cut(text, taken, self.per_event)]
        self.blocks.append(Block(block, {**block, "input": {}}, deltas))
        return block

    def add(self, block: Object) -> Block:
        added = Block.whole(block)
        self.blocks.append(added)
        return added


def seed_of(body: Mapping[str, Any]) -> int:
    return crc32(f"{body['model']}\n{last_text(body)}".encode("utf-8", "surrogatepass"))


def tool_to_call(body: Mapping[str, Any], asks: Asks) -> Object | None:
    """The client's tool that this answer calls, if any."""
    tools: list[Object] = [tool for tool in body.get("tools") or [] if "name" in tool and not is_server_tool(tool)]
    choice = body.get("tool_choice") or {}
    kind = choice.get("type", "auto")
    if not tools or kind == "none":
        return None
    if kind == "tool":
        return next((tool for tool in tools if tool["name"] == choice.get("name")), None)
    if "tool" in asks:
        return next((tool for tool in tools if tool["name"] == asks["tool"]), tools[0])
    if kind == "any":
        return tools[0]
    text = last_text(body)[-4_096:]
    for tool in tools:
        if tool["name"] in text and re.search(
            rf"\b(?:use|call)(?: the)? [`'\"]?{re.escape(tool['name'])}\b", text, re.IGNORECASE
        ):
            return tool
    return None


SERVER_TOOLS = ("web_search_", "web_fetch_", "code_execution_", "advisor_", "tool_search_")


def is_server_tool(tool: Mapping[str, Any]) -> bool:
    return str(tool.get("type", "")).startswith(SERVER_TOOLS)


def server_tool(body: Mapping[str, Any], prefix: str) -> Object | None:
    tools: list[Object] = body.get("tools") or []
    return next((tool for tool in tools if str(tool.get("type", "")).startswith(prefix)), None)


def usage_of(split: Split, output: int, body: Mapping[str, Any], model: Model) -> Object:
    """The usage object with its input side filled."""
    usage: Object = {
        "input_tokens": split.uncached,
        "cache_creation_input_tokens": split.written_5m + split.written_1h,
        "cache_read_input_tokens": split.read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": split.written_5m,
            "ephemeral_1h_input_tokens": split.written_1h,
        },
        "output_tokens": output,
        "service_tier": "standard",
        "inference_geo": body.get("inference_geo") or ("global" if model.residency else "not_available"),
    }
    if body.get("speed"):
        # Opus 4.6 takes the fast field but runs at standard speed, and says so.
        usage["speed"] = "standard" if model.id == "claude-opus-4-6" else body["speed"]
    return usage


def entry_of(kind: str, split: Split, output: int, model: str | None) -> Object:
    """One entry of `iterations`."""
    entry: Object = {
        "type": kind,
        "input_tokens": split.uncached,
        "cache_creation_input_tokens": split.written_5m + split.written_1h,
        "cache_read_input_tokens": split.read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": split.written_5m,
            "ephemeral_1h_input_tokens": split.written_1h,
        },
        "output_tokens": output,
    }
    return {**entry, "model": model} if model else entry


def refused(body: Mapping[str, Any], model: Model, split: Split) -> Message:
    """A refusal before any output: tokens are reported, nothing is billed."""
    details = {"type": "refusal", "category": "cyber", "explanation": "This request was refused by the simulator."}
    return Message(
        fresh_id("msg"), model.id, [], usage_of(split, 0, body, model), "refusal", stop_details=details, free=True
    )


def wanted_tokens(asks: Asks, seed: int) -> int:
    return number(asks, "output", 12 + seed % 64)


def stop_at(words: list[str], stops: Sequence[str]) -> tuple[list[str], str | None]:
    """The words before the first stop sequence that occurs in them."""
    text = "".join(words)
    found = [(text.find(stop), stop) for stop in stops if stop and stop in text]
    if not found:
        return words, None
    at, stop = min(found)
    kept: list[str] = []
    for word in words:
        if at <= 0:
            break
        kept.append(word[:at])
        at -= len(word)
    return kept, stop
