"""Which meter reads an answer on its way: the one of its format, or one that only knows where a stream may be ended."""

from gateway.core.meter import ChatMeter, Meter, StreamMeter, meter_for
from gateway.core.meter.sse import EventReader
from gateway.core.usage import NOTHING, Ended, Usage


class BorderMeter:
    """Counts nothing; knows whether an event is open."""

    def __init__(self) -> None:
        self._reader = EventReader()

    def feed(self, chunk: bytes) -> None:
        self._reader.feed(chunk)

    def tail_for_error(self) -> bytes:
        return self._reader.tail_for_error()

    def finish(self, *, ended: Ended) -> Usage:
        return NOTHING


EventMeter = StreamMeter | ChatMeter | BorderMeter


def meter_of(route: str, *, stream: bool, status: int) -> Meter | None:
    """The meter of an answer; None for what is neither billed nor a stream."""
    return meter_for(route, stream=stream, status=status) or (BorderMeter() if stream else None)
