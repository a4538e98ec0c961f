"""Reading request bodies: up to the route's limit, decoded once, under a cap on what all of them hold together.

The bytes inside are never changed. A compressed body is decoded here, under a bomb limit, because it must be weighed;
it leaves without its coding.
"""

import asyncio
import contextlib
import zlib
from dataclasses import dataclass

from gateway.core.errors import GatewayError
from gateway.core.headers import content_coding, lookup
from gateway.core.json_fields import Steps, T
from gateway.wire.incoming import Incoming

_SLICE = 1024 * 1024
# Below this a body passes even when the cap is reached: the gateway must still serve what costs it nothing.
SMALL_BODY = 64 * 1024
# From its bytes to its answer. With fewer turns between two steps it would wait for one step in each of its own.
_TURNS_OF_A_SMALL_REQUEST = 4


class BufferedBytes:
    """The cap on request bytes that wait in memory, over all requests of this process."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0

    def take(self, count: int, *, total: int) -> None:
        """Account for `count` more bytes of a body that would then have `total`; 529 when the cap is reached."""
        if self.held + count > self.most and total > SMALL_BODY:
            raise GatewayError(
                "busy",
                f"The gateway already holds {self.most // _SLICE} MiB of request bodies. Retry in a few seconds.",
                retry_after=2,
                close=True,
            )
        self.held += count

    def give(self, count: int) -> None:
        self.held -= count


@dataclass(slots=True)
class BufferedBody:
    """A body in memory; `release` gives its bytes back to the cap."""

    data: bytearray
    cap: BufferedBytes
    taken: int = 0
    decoded: bool = False  # it came compressed

    def release(self) -> None:
        self.cap.give(self.taken)
        self.taken = 0
        # In place, so that what is given back is free also where the frames of a kept error still name the body.
        with contextlib.suppress(BufferError):  # a transport is sending it, or a slice of it is in use
            self.data.clear()
        self.data = bytearray()


def refuse_declared_framing(incoming: Incoming, limit: int) -> None:
    """400 or 413 before a byte of the body is read (and before a waiting client is told to go on)."""
    if (lookup(incoming.headers, b"transfer-encoding") or b"chunked").strip().lower() != b"chunked":
        # The parser undoes the chunks only: what is left would pass for a plain body.
        raise GatewayError("malformed", "The only transfer-encoding that is taken is chunked.", close=True)
    if incoming.length is not None and incoming.length > limit:
        raise _too_large(limit)


async def read_body(incoming: Incoming, limit: int, cap: BufferedBytes) -> BufferedBody:
    """The whole body, decoded."""
    coding = content_coding(incoming.headers)
    body = BufferedBody(bytearray(), cap, decoded=bool(coding))
    try:
        if body.decoded:
            await _read_decoded(incoming, body, coding, limit)
        else:
            if incoming.length:
                _grow(body, incoming.length)
            while chunk := await incoming.read():
                size = len(body.data) + len(chunk)
                if size > limit:
                    raise _too_large(limit)
                if size > body.taken:
                    _grow(body, size - body.taken)
                body.data += chunk
    except BaseException:
        body.release()
        raise
    return body


async def in_turns(steps: Steps[T]) -> T:
    """Run work on a large body step by step, so that streams of others go on between the steps."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            value: T = stop.value
            return value
        for _ in range(_TURNS_OF_A_SMALL_REQUEST):
            await asyncio.sleep(0)


def _grow(body: BufferedBody, count: int) -> None:
    body.cap.take(count, total=body.taken + count)
    body.taken += count


async def _read_decoded(incoming: Incoming, body: BufferedBody, coding: bytes, limit: int) -> None:
    if coding not in (b"gzip", b"x-gzip", b"deflate"):
        raise GatewayError(
            "malformed",
            "The request body's content-encoding is not supported. Send gzip, deflate or no coding.",
            code="request_body_encoding_unsupported",
            close=True,
        )
    decoder = zlib.decompressobj(47)  # gzip or zlib, by the header
    while chunk := await incoming.read():
        while chunk:
            try:
                part = decoder.decompress(chunk, _SLICE)
            except zlib.error:
                raise _broken_coding() from None
            if len(body.data) + len(part) > limit:
                raise GatewayError(
                    "too_large",
                    f"The request body is larger than {limit // _SLICE} MiB after decoding.",
                    code="request_body_too_large_after_decoding",
                    close=True,
                )
            _grow(body, len(part))
            body.data += part
            chunk = decoder.unconsumed_tail
            if chunk:
                await asyncio.sleep(0)  # a bomb must not hold the loop
        if decoder.eof:
            if decoder.unused_data:
                raise _broken_coding()
            if await incoming.read():
                raise _broken_coding()
            break
    if not decoder.eof:
        raise _broken_coding()


def _broken_coding() -> GatewayError:
    return GatewayError(
        "malformed",
        "The request body does not decode as its content-encoding says.",
        code="request_body_encoding_invalid",
        close=True,
    )


def _too_large(limit: int) -> GatewayError:
    return GatewayError(
        "too_large", f"The request body is larger than the {limit // _SLICE} MiB that this endpoint takes.", close=True
    )
