"""Which meter reads which answer: one row per (route, stream)."""

from collections.abc import Callable

from gateway.core.answers import from_chat_completion, from_complete
from gateway.core.meter import ChatMeter, JsonMeter, Meter, StreamMeter
from gateway.core.meter.sse import EventReader
from gateway.core.usage import NOTHING, Ended, Usage


class BorderMeter:
    """Counts nothing; knows where an event stream may be ended."""

    def __init__(self) -> None:
        self._reader = EventReader()

    def feed(self, chunk: bytes) -> None:
        self._reader.feed(chunk)

    def tail_for_error(self) -> bytes:
        return self._reader.tail_for_error()

    def finish(self, *, ended: Ended) -> Usage:
        return NOTHING


EventMeter = StreamMeter | ChatMeter | BorderMeter

_METERS: dict[tuple[str, bool], Callable[[], Meter]] = {
    ("messages", True): StreamMeter,
    ("messages", False): JsonMeter,
    ("chat_completions", True): ChatMeter,
    ("chat_completions", False): lambda: JsonMeter(from_chat_completion),
    ("complete", True): StreamMeter,
    ("complete", False): lambda: JsonMeter(from_complete),
}


def meter_for(route: str, *, stream: bool, status: int) -> Meter | None:
    """The meter of an answer; None for what bills nothing: errors, and routes without tokens."""
    make = _METERS.get((route, stream)) if status < 300 else None
    if make is not None:
        return make()
    return BorderMeter() if stream else None
