"""Puts answers on the wire, at their pace and with the faults that struck, and knows how much of them went out.

`Sent.tokens` is what a client that stopped listening had been sent; the bill needs it. Anything that ends an answer
early raises `Broken`, so that no caller mistakes half an answer for a whole one.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from aiohttp import web

from gateway.simulator.errors import ApiError
from gateway.simulator.faults import Struck, amount, seconds
from gateway.simulator.options import Options
from gateway.simulator.world import Event, Live, Reply, Stream, event

DRIP = 256
ENDLESS = 86_400.0


class Broken(Exception):
    """The answer was ended early on purpose; the word says how."""


@dataclass(slots=True)
class Sent:
    """What went out so far."""

    tokens: int = 0
    finished: bool = False


class Pipe:
    """One answer's body on its way out, through gzip, drip, cut, stall and reset if they struck."""

    def __init__(
        self, request: web.Request, response: web.StreamResponse, struck: Struck, *, counts_events: bool
    ) -> None:
        self.request = request
        self.response = response
        self.struck = struck
        self.packer = zlib.compressobj(wbits=31) if "gzip" in struck else None
        self.pause = seconds(struck["slow_drip"], 0.1) if "slow_drip" in struck else 0.0
        self.events = self.bytes = 0
        self.end = ""
        self.left = 0
        self.in_bytes = False
        for name in ("reset", "cut", "stall", "error_event"):
            if name in struck and (counts_events or name != "error_event"):
                self.end = name
                self.left, self.in_bytes = amount(struck[name], 3)
                self.in_bytes = self.in_bytes or not counts_events

    async def write(self, data: bytes) -> None:
        if self.pause:
            await asyncio.sleep(self.pause)
        if self.end:
            if self.in_bytes and len(data) > self.left:
                await self.push(data[: self.left])
                await self.stop()
            elif not self.in_bytes and self.left <= 0:
                await self.stop()
            self.left -= len(data) if self.in_bytes else 1
        await self.push(data)

    async def push(self, data: bytes) -> None:
        if self.packer:
            data = self.packer.compress(data) + self.packer.flush(zlib.Z_SYNC_FLUSH)
        if data:
            await self.response.write(data)

    async def stop(self) -> None:
        transport = self.request.transport
        if self.end == "stall":
            await asyncio.sleep(ENDLESS)  # until the client leaves
        if self.end == "error_event":
            error = ApiError("internal", "Internal server error").error()
            await self.push(event("error", {"type": "error", "error": error}).data)
            await self.close()
        elif transport is not None:
            await asyncio.sleep(0)  # what was written leaves first
            if self.end == "reset":
                transport.abort()
            else:
                transport.close()
        raise Broken(self.end)

    async def close(self) -> None:
        if self.packer:
            await self.response.write(self.packer.flush())
        await self.response.write_eof()


def prepared(
    headers: dict[str, str], struck: Struck, status: int, content_type: str, size: int | None
) -> web.StreamResponse:
    response = web.StreamResponse(status=status, headers=headers)
    response.headers["content-type"] = content_type
    if "gzip" in struck:
        response.headers["content-encoding"] = "gzip"
    elif size is not None:
        response.content_length = size
    return response


async def send_stream(
    request: web.Request, stream: Stream, headers: dict[str, str], struck: Struck, *, options: Options, sent: Sent
) -> web.StreamResponse:
    """Send events one by one; paced by the tokens they carry."""
    response = prepared(headers, struck, 200, "text/event-stream; charset=utf-8", None)
    response.headers["cache-control"] = "no-cache"
    await response.prepare(request)
    pipe = Pipe(request, response, struck, counts_events=True)
    await write_events(pipe, stream.events, options.tokens_per_second, sent)
    await pipe.close()
    return response


async def write_events(pipe: Pipe, events: Sequence[Event], per_second: float, sent: Sent) -> None:
    for one in events:
        if per_second and one.sent > sent.tokens:
            await asyncio.sleep((one.sent - sent.tokens) / per_second)
        await pipe.write(one.data)
        sent.tokens = one.sent
        if one.data.startswith(b"event: message_delta"):
            sent.finished = True  # the client can have seen the final usage, so all of it is due


async def send_reply(
    request: web.Request, answer: Reply, headers: dict[str, str], struck: Struck, *, sent: Sent
) -> web.StreamResponse:
    size = len(answer.body)
    response = prepared(headers | answer.headers, struck, answer.status, answer.content_type, size)
    await response.prepare(request)
    sent.finished = True  # a plain answer is generated in full before its first byte leaves
    pipe = Pipe(request, response, struck, counts_events=False)
    step = DRIP if pipe.pause else max(1, size)
    for at in range(0, size, step):
        await pipe.write(answer.body[at : at + step])
    await pipe.close()
    return response


async def send_live(request: web.Request, answer: Live, headers: dict[str, str], struck: Struck) -> web.StreamResponse:
    response = prepared(headers | answer.headers, struck, 200, answer.content_type, answer.size)
    await response.prepare(request)
    pipe = Pipe(request, response, struck, counts_events=answer.content_type.startswith("text/event-stream"))
    async for piece in closing(answer.chunks):
        await pipe.write(piece)
    await pipe.close()
    return response


async def closing(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The chunks, with the generator behind them closed when the reader leaves."""
    try:
        async for piece in chunks:
            yield piece
    finally:
        close = getattr(chunks, "aclose", None)
        if close:
            await close()


def early_hints(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.write(b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n")
