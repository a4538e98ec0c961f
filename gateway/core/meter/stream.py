"""Meters a Messages stream: the few events that carry usage are decoded, deltas only counted.

Rule: Claude's last word wins. When it never came, the output is what was relayed: the bytes of the delta events
less their fixed frame, divided by 4 (what Claude's own gateway charges of an aborted stream).
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import msgspec

from gateway.core.answers import UNREADABLE, tokens_of
from gateway.core.meter.sse import EventReader, Large, fields
from gateway.core.tally import Tally, word
from gateway.core.usage import NOTHING, Ended, Iteration, Reason, Usage

_DELTA: Final = b"event: content_block_delta\n"
_MARK: Final = b'"delta":{"type":"'
# The frame inside a delta, from its type's value on, by the first letters of that value.
_INNER: Final = {
    b"text": len(b'text_delta","text":""'),
    b"thin": len(b'thinking_delta","thinking":""'),
    b"inpu": len(b'input_json_delta","partial_json":""'),
    b"sign": len(b'signature_delta","signature":""'),
    b"cita": len(b'citations_delta","citation":{}'),
}
_FRAME: Final = len(_DELTA + b'data: {"type":"content_block_delta","index":0,' + _MARK + b'text_delta","text":""}}\n\n')
_COMPLETION_FRAME: Final = len(b'{"type":"completion","completion":"","stop_reason":null,"model":"claude-2.1"}')
# Each search is billed by itself; the blocks of results tell how many there were when the final usage never comes.
_SEARCHED: Final = b'"web_search_tool_result"'
_NOT_SEARCHED: Final = b'"web_search_tool_result_error"'
_FALLBACK_MOST: Final = 16_384  # a fallback mark holds two model ids; anything longer is another kind of block


def delta_bytes(event: bytes) -> int:
    """What a delta event holds beside its frame, in bytes of JSON text. `{"text":"Hi"}` in its frame gives 2."""
    start = event.find(_MARK, 0, 256)
    if start < 0:
        return max(0, len(event) - _FRAME)
    start += len(_MARK)
    # The API pads events with spaces between the two closing braces so that their length says nothing.
    end = event.rfind(b"}", start, event.rfind(b"}", start))
    return max(0, end - start - _INNER.get(event[start : start + 4], _INNER[b"text"]))


class StreamMeter:
    """Meters one Messages stream; see `Meter`."""

    __slots__ = (
        "_blocks",
        "_hops",
        "_last_usage",
        "_message_id",
        "_model",
        "_reader",
        "_searches",
        "_started",
        "_stop_reason",
        "_stopped",
        "_tally",
        "error_type",
        "first_event",
        "output_bytes",
    )

    def __init__(self) -> None:
        self.first_event: str | None = None  # the first complete event other than ping: until then a retry is unseen
        self.error_type: str | None = None  # of an error event, be it the first one or in mid-stream
        self.output_bytes = 0
        self._reader = EventReader()
        self._tally = Tally()
        self._started = False
        self._stopped = False
        self._last_usage = False  # a message_delta brought usage
        self._blocks = False  # a model wrote something, or began to
        self._searches = 0
        self._model: str | None = None
        self._message_id: str | None = None
        self._stop_reason: str | None = None
        self._hops: list[tuple[str | None, str | None, int]] = []  # from, to, output bytes until then

    def feed(self, chunk: bytes) -> None:
        for event in self._reader.feed(chunk):
            if type(event) is bytes and event.startswith(_DELTA) and self.first_event is not None:
                self.output_bytes += delta_bytes(event)
            else:
                self._event(event)

    @property
    def at_border(self) -> bool:
        return self._reader.at_border

    def tail_for_error(self) -> bytes:
        return self._reader.tail_for_error()

    def _event(self, event: bytes | Large) -> None:
        name, data = fields(event.head if isinstance(event, Large) else event)
        if not name:
            if data:
                self._tally.odd("unnamed_event")  # clients ignore it, so do we
            return
        if self.first_event is None and name != b"ping":
            self.first_event = name.decode(errors="replace")[:64]
        if isinstance(event, Large):
            self._large(name, event)
        elif name == b"content_block_delta":
            self.output_bytes += delta_bytes(event)
        elif name == b"content_block_start":
            self._block_start(data)
        elif name == b"message_start":
            self._message_start(self._decode(name, data))
        elif name == b"message_delta":
            self._message_delta(self._decode(name, data))
        elif name == b"message_stop":
            self._stopped = True
        elif name == b"error":
            self._error(self._decode(name, data))
        elif name == b"completion":  # of /v1/complete, whose format has no usage
            self.output_bytes += max(0, len(data) - _COMPLETION_FRAME)

    def _large(self, name: bytes, event: Large) -> None:
        if name == b"content_block_delta":
            self.output_bytes += event.size - _FRAME
        elif name == b"content_block_start":
            self._blocks = True
            self._searches += _SEARCHED in event.head
        elif name in (b"message_start", b"message_delta", b"error"):
            self._tally.odd("large_event")
            self._started |= name == b"message_start"
            if name == b"error":
                self.error_type = "unknown"

    def _decode(self, name: bytes, data: bytes) -> dict[str, Any]:
        try:
            value = msgspec.json.decode(data)
        except UNREADABLE:
            value = None
        if isinstance(value, dict):
            return value
        self._tally.odd(f"unreadable_{name.decode()}")
        return {}

    def _message_start(self, event: dict[str, Any]) -> None:
        self._started = True
        message = event.get("message")
        if isinstance(message, dict):
            self._model = word(message.get("model"))
            self._message_id = word(message.get("id"))
            self._tally.fold(message.get("usage"))

    def _message_delta(self, event: dict[str, Any]) -> None:
        usage, delta = event.get("usage"), event.get("delta")
        self._tally.fold(usage)
        self._last_usage |= isinstance(usage, dict) and usage.get("output_tokens") is not None
        if isinstance(delta, dict):
            self._stop_reason = word(delta.get("stop_reason")) or self._stop_reason

    def _block_start(self, data: bytes) -> None:
        if _SEARCHED in data and _NOT_SEARCHED not in data:
            self._searches += 1
        if b'"fallback"' in data and len(data) <= _FALLBACK_MOST:
            block = self._decode(b"content_block_start", data).get("content_block")
            if isinstance(block, dict) and block.get("type") == "fallback":
                ends = [block.get("from"), block.get("to")]
                source, target = (word(end.get("model")) if isinstance(end, dict) else None for end in ends)
                self._hops.append((source, target, self.output_bytes))
                return
        self._blocks = True

    def _error(self, event: dict[str, Any]) -> None:
        error = event.get("error")
        self.error_type = (word(error.get("type")) if isinstance(error, dict) else None) or "unknown"

    def finish(self, *, ended: Ended) -> Usage:
        self._leftover()
        if self.error_type is not None and not self._started:
            return NOTHING  # refused before it began: an error in the place of an answer
        final = self._last_usage and (self._stopped or self._stop_reason is not None)
        usage = self._tally.usage(
            model=self._model,
            message_id=self._message_id,
            served_by=self._hops[-1][1] if self._hops else None,
            stop_reason=self._stop_reason,
            refused_before_output=self._stop_reason == "refusal" and not (self._blocks or self.output_bytes),
            final=final,
            reason=self._reason(ended),
            output_floor=tokens_of(self.output_bytes - (self._hops[-1][2] if self._hops else 0)),
        )
        if not final:
            usage = replace(usage, web_searches=max(usage.web_searches, self._searches))
        if final or not self._hops:
            return usage
        return replace(usage, iterations=(usage.top(), *usage.iterations[1:], *self._declined(usage)))

    def _declined(self, usage: Usage) -> Iterator[Iteration]:
        """The attempts of a cut stream that gave way to another model, as far as they wrote something.

        Each read the prompt that message_start told of; what the next one really read was never said.
        """
        before = 0
        for source, _, until in self._hops:
            if until > before:
                yield replace(usage.top(), kind="message", model=source, output=tokens_of(until - before))
            before = until

    def _leftover(self) -> None:
        """An event that only lacks its blank line still counts, and a delta cut in two counts for what was relayed."""
        rest = self._reader.rest()
        self._reader = EventReader()
        if isinstance(rest, Large):
            self._event(rest)
        elif rest.startswith(_DELTA):
            self._event(rest if rest.endswith(b"}\n") else rest + b'"}}\n\n')
        elif fields(rest)[0] == b"message_delta":
            try:
                msgspec.json.decode(fields(rest)[1])
            except UNREADABLE:
                return  # no oddity: it is simply not all there
            self._event(rest)

    def _reason(self, ended: Ended) -> Reason:
        if ended == "cancelled":
            return "cancelled"
        return "no_usage" if ended == "ok" and self._stopped else "cut"
