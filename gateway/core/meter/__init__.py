"""Reads usage out of a body while it passes, neither holding it up nor keeping it (no I/O, after h11's fashion).

Rule: what a meter says depends on the bytes alone, never on how they were split into chunks.
"""

from typing import Protocol

from gateway.core.meter.bodies import BatchMeter, JsonMeter
from gateway.core.meter.chat import ChatMeter
from gateway.core.meter.stream import StreamMeter
from gateway.core.usage import Ended, Usage

__all__ = ["BatchMeter", "ChatMeter", "JsonMeter", "Meter", "StreamMeter"]


class Meter(Protocol):
    """Is fed every byte of a body as it is relayed, then asked once what was used."""

    def feed(self, chunk: bytes) -> None: ...

    def finish(self, *, ended: Ended) -> Usage: ...
