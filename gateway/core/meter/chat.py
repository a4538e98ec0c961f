"""Meters a chat/completions stream: `data:` events without names, usage in the last one if the client asked for it.

Without that the whole usage is the caller's estimate, but for the output: the bytes of the deltas divided by 4.
"""

from typing import Any, Final

import msgspec

from gateway.core.answers import UNREADABLE, chat_usage, tokens_of
from gateway.core.meter.sse import EventReader, Large, fields
from gateway.core.tally import Tally, word
from gateway.core.usage import NOTHING, Ended, Usage

_DELTA: Final = b'"delta":{'
_EMPTY_DELTA: Final = len(b'"delta":{"content":""},')


class ChatMeter:
    """Meters one chat/completions stream; see `Meter`."""

    __slots__ = ("_model", "_reader", "_started", "_stopped", "_tally", "error_type", "first_event", "output_bytes")

    def __init__(self) -> None:
        self.first_event: str | None = None
        self.error_type: str | None = None
        self.output_bytes = 0
        self._reader = EventReader()
        self._tally = Tally()
        self._model: str | None = None
        self._started = False
        self._stopped = False

    def feed(self, chunk: bytes) -> None:
        for event in self._reader.feed(chunk):
            self._event(event)

    @property
    def at_border(self) -> bool:
        return self._reader.at_border

    def tail_for_error(self) -> bytes:
        return self._reader.tail_for_error()

    def _event(self, event: bytes | Large) -> None:
        if isinstance(event, Large):
            self.output_bytes += event.size
            return
        name, data = fields(event)
        if not data or name == b"ping":
            return
        failed = name == b"error" or data.startswith(b'{"error"')
        if self.first_event is None:
            self.first_event = "error" if failed else "chunk"
        if data == b"[DONE]":
            self._stopped = True
        elif failed:
            error = self._decode(data).get("error")
            self.error_type = (word(error.get("type")) if isinstance(error, dict) else None) or "unknown"
        else:
            self._chunk(data)

    def _chunk(self, data: bytes) -> None:
        # Text is escaped inside its JSON string, so these bytes are a key. Most chunks carry a null usage.
        usage = data.find(b'"usage"')
        if not self._started or (usage >= 0 and not data.startswith((b":null", b": null"), usage + 7)):
            chunk = self._decode(data)
            self._model = word(chunk.get("model")) or self._model
            self._tally.fold(chat_usage(chunk.get("usage")))
        self._started = True
        start = data.find(_DELTA)
        if start >= 0:
            end = data.rfind(b'"finish_reason"', start)
            self.output_bytes += max(0, (end if end >= 0 else len(data)) - start - _EMPTY_DELTA)

    def _decode(self, data: bytes) -> dict[str, Any]:
        try:
            value = msgspec.json.decode(data)
        except UNREADABLE:
            value = None
        if isinstance(value, dict):
            return value
        self._tally.odd("unreadable_chunk")
        return {}

    def finish(self, *, ended: Ended) -> Usage:
        if self.error_type is not None and not self._started:
            return NOTHING
        return self._tally.usage(
            model=self._model,
            final=self._tally.seen,
            reason="cancelled" if ended == "cancelled" else "no_usage" if self._stopped else "cut",
            output_floor=tokens_of(self.output_bytes),
        )
