"""Reads usage out of a body while it passes, neither holding it up nor keeping it (no I/O, after h11's fashion).

Rule: what a meter says depends on the bytes alone, never on how they were split into chunks.
"""

from collections.abc import Callable
from typing import Protocol

from gateway.core.answers import from_chat_completion, from_complete, from_message
from gateway.core.meter.bodies import BatchMeter, JsonMeter
from gateway.core.meter.chat import ChatMeter
from gateway.core.meter.stream import StreamMeter
from gateway.core.usage import Ended, Usage

__all__ = ["BatchMeter", "ChatMeter", "EventMeter", "JsonMeter", "Meter", "StreamMeter", "meter_for"]

# Those that know how a broken stream must be ended, and when its first event is complete.
EventMeter = StreamMeter | ChatMeter


class Meter(Protocol):
    """Is fed every byte of a body as it is relayed, then asked once what was used."""

    def feed(self, chunk: bytes) -> None: ...

    def finish(self, *, ended: Ended) -> Usage: ...


# By route: the meter of its streams, and the reader of its JSON answers.
_FORMATS: dict[str, tuple[Callable[[], Meter], Callable[[bytes], Usage]]] = {
    "messages":         (StreamMeter, from_message),
    "chat_completions": (ChatMeter,   from_chat_completion),
    "complete":         (StreamMeter, from_complete),
}  # fmt: skip


def meter_for(route: str, *, stream: bool, status: int) -> Meter | None:
    """The meter of an answer; None for one that costs nothing by itself, an error above all."""
    formats = _FORMATS.get(route)
    if formats is None or status >= 300:
        return None
    of_stream, reader = formats
    return of_stream() if stream else JsonMeter(reader)
