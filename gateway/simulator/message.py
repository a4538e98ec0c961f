"""A finished message and its two forms: the plain JSON and the events of a stream (fact sheet 5.1, 5.2).

Both are made from the same blocks, so that what streams adds up to what a plain answer says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.simulator.world import Event, Object, event

PLACEHOLDER = 2  # output_tokens of message_start: small, and no measure of the answer
PING = Event(b'event: ping\ndata: {"type":"ping"}\n\n', 0)
ONLY_AT_START = ("cache_creation", "service_tier", "inference_geo", "speed")


@dataclass(slots=True)
class Block:
    final: Object  # as in a plain answer
    start: Object  # as in content_block_start
    deltas: list[tuple[Object, int]] = field(default_factory=list)  # a delta and the output tokens it carries
    usage_after: Object | None = None  # a message_delta with this usage follows the block

    @classmethod
    def whole(cls, block: Object) -> Block:
        """A block that arrives complete in its start event."""
        return cls(block, block)


@dataclass(slots=True)
class Message:
    id: str
    model: str
    blocks: list[Block]
    usage: Object
    stop_reason: str
    stop_sequence: str | None = None
    stop_details: Object | None = None
    container: Object | None = None
    first_usage: Object | None = None  # message_start's, when the final one revises it
    pings: int = 1
    free: bool = False

    def plain(self) -> Object:
        return {
            **self.head(),
            "content": [block.final for block in self.blocks],
            "stop_reason": self.stop_reason,
            "stop_sequence": self.stop_sequence,
            "stop_details": self.stop_details,
            "usage": self.usage,
        }

    def head(self) -> Object:
        head = {"id": self.id, "type": "message", "role": "assistant", "model": self.model}
        return {**head, "container": self.container} if self.container else head

    def events(self) -> list[Event]:
        begun = dict(self.first_usage or self.usage)
        begun["output_tokens"] = min(PLACEHOLDER, self.usage["output_tokens"])
        for late in ("iterations", "server_tool_use", "output_tokens_details"):
            begun.pop(late, None)
        empty: Object = {"content": [], "stop_reason": None, "stop_sequence": None, "stop_details": None}
        start = event("message_start", {"type": "message_start", "message": {**self.head(), **empty, "usage": begun}})
        events = [start]
        sent = 0
        for index, block in enumerate(self.blocks):
            events.append(
                event(
                    "content_block_start",
                    {"type": "content_block_start", "index": index, "content_block": block.start},
                    sent,
                )
            )
            if index == 0:
                events.extend([PING] * self.pings)
            prefix = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":' % index
            for delta, tokens in block.deltas:
                sent += tokens
                events.append(Event(b"%b%b}\n\n" % (prefix, msgspec.json.encode(delta)), sent))
            events.append(event("content_block_stop", {"type": "content_block_stop", "index": index}, sent))
            if block.usage_after:
                events.append(self.delta(None, block.usage_after, sent))
        ended = {
            "stop_reason": self.stop_reason,
            "stop_sequence": self.stop_sequence,
            "stop_details": self.stop_details,
        }
        events.append(self.delta(ended, self.usage, self.usage["output_tokens"]))
        events.append(event("message_stop", {"type": "message_stop"}, self.usage["output_tokens"]))
        return events

    def delta(self, ended: Object | None, usage: Object, sent: int) -> Event:
        late = {key: value for key, value in usage.items() if key not in ONLY_AT_START}
        delta: Object = ended or {"stop_reason": None, "stop_sequence": None}
        if self.container:
            delta = {**delta, "container": self.container}
        return event("message_delta", {"type": "message_delta", "delta": delta, "usage": late}, sent)


def at_usage(message: Message, sent: int) -> dict[str, Any]:
    """The usage of an answer that ended after `sent` output tokens."""
    usage = {**message.usage, "output_tokens": sent}
    if usage.get("iterations"):
        *before, last = usage["iterations"]
        unsent = message.usage["output_tokens"] - sent
        usage["iterations"] = [*before, {**last, "output_tokens": max(0, last["output_tokens"] - unsent)}]
    return usage
