"""Holds the beginning of a stream until it is known not to be a refusal inside a 200.

Rule: what is held is released unchanged, at the first complete event other than ping or at `MOST_HELD` bytes; the
caller adds the third bound, seconds. An event is complete with its blank line, as for every client.
"""

from typing import Final

from gateway.core.meter import ChatMeter, StreamMeter, meter_for

MOST_HELD: Final = 64 * 1024
MOST_SECONDS: Final = 2.0  # after Claude's head

_START: Final = b"event: message_start\n"


class HoldBack:
    """Feed it chunks until `done`; then `held` is to be sent and `error` says whether the attempt failed."""

    __slots__ = ("_meter", "_size", "done", "error", "held")

    def __init__(self, route: str) -> None:
        meter = meter_for(route, stream=True, status=200)
        self._meter = meter if isinstance(meter, StreamMeter | ChatMeter) else None
        self._size = 0
        self.held: list[bytes] = []
        self.done = self._meter is None
        self.error: str | None = None

    def feed(self, chunk: bytes) -> None:
        self.held.append(chunk)
        self._size += len(chunk)
        if len(self.held) == 1 and chunk.startswith(_START) and b"\n\n" in chunk:
            self.done = True  # nearly every stream begins so: not worth decoding twice
            return
        meter = self._meter
        if meter is None:
            self.done = True
            return
        meter.feed(chunk)
        if meter.first_event is not None:
            self.error = meter.error_type if meter.first_event == "error" else None
            self.done = True
        elif self._size >= MOST_HELD:
            self.done = True
