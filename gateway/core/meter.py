"""Reads usage out of a body while it passes, without holding it up or keeping it (no I/O, after h11's fashion)."""

from typing import Protocol

from gateway.core.usage import Ended, Usage


class Meter(Protocol):
    """Is fed every byte of a body as it is relayed, then asked once what was used."""

    def feed(self, chunk: bytes) -> None: ...

    def finish(self, *, ended: Ended) -> Usage: ...


class StreamMeter:
    """Meters a Messages stream (server-sent events)."""

    first_event: str | None = None  # the name of the first complete event other than ping
    error_type: str | None = None  # of an error event, as the first one or in mid-stream
    output_bytes: int = 0

    def feed(self, chunk: bytes) -> None:
        raise NotImplementedError

    def finish(self, *, ended: Ended) -> Usage:
        raise NotImplementedError

    @property
    def at_border(self) -> bool:
        """No event is open: what is appended now begins an event of its own."""
        raise NotImplementedError

    def tail_for_error(self) -> bytes:
        """What must be written before an error event of ours so that no broken event is dispatched."""
        raise NotImplementedError
