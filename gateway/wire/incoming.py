"""One request as the proxy sees it, and the way to answer it.

The head of an answer is written as raw bytes, because aiohttp's own responses would fold duplicate headers and
re-encode bytes outside ASCII. Rule: an answer has begun when its head was handed to the socket; until then another one
may take its place.
"""

import asyncio
from email.utils import formatdate
from typing import Protocol

from aiohttp import HttpVersion10, HttpVersion11, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler, RequestPayloadError

from gateway.core.errors import GatewayError
from gateway.core.http import Headers

_JOIN_BELOW = 16 * 1024
# Beyond any body, and where the parser's own arithmetic ends: it takes 2**64 - 1 for no body at all.
_LONGEST_BODY = 2**53

_REASONS = {200: b"OK", 400: b"Bad Request", 401: b"Unauthorized", 403: b"Forbidden", 404: b"Not Found",
            405: b"Method Not Allowed", 408: b"Request Timeout", 409: b"Conflict", 413: b"Content Too Large",
            417: b"Expectation Failed", 429: b"Too Many Requests", 431: b"Request Header Fields Too Large",
            500: b"Internal Server Error", 502: b"Bad Gateway", 503: b"Service Unavailable",
            504: b"Gateway Timeout", 529: b"Overloaded"}  # fmt: skip


class ClientGone(Exception):
    """The client left: nothing more can be read from it or written to it."""


class Listener(Protocol):
    """What a request asks of the server that took it."""

    body_idle_seconds: float
    draining: bool


class Incoming:
    """One request as it came, and the way to answer it."""

    __slots__ = (
        "_bodyless", "_chunked", "_continued", "_framed", "_head", "_http_1_1", "_idle", "_left", "_listener",
        "_payload", "_protocol", "_started", "_version", "bytes_in", "bytes_out", "headers", "keep_alive", "length",
        "method", "secure", "target",
    )  # fmt: skip

    def __init__(self, request: web.BaseRequest, protocol: RequestHandler, listener: Listener) -> None:
        message = request._message
        self.method = message.method
        self.target = message.path
        self.headers: Headers = list(message.raw_headers)
        self.length = _declared_length(self.headers)  # None: chunked, or no body at all
        self.secure = protocol.ssl_context is not None
        self.bytes_in = 0
        self.bytes_out = 0
        self._protocol = protocol
        self._payload = request._payload
        self._listener = listener
        self._idle = listener.body_idle_seconds
        self._version = message.version
        self._http_1_1 = message.version == HttpVersion11
        self._framed = message.chunked
        # Two things that aiohttp's parser leaves behind for the next request of a connection: a chunked body's last
        # trailer, which becomes a header of that request; and the wish for an upgrade, which drops bytes after it.
        self.keep_alive = not (message.should_close or message.chunked or message.upgrade)
        self._head: bytes | None = None
        self._started = False
        self._chunked = False
        self._bodyless = False
        self._left: int | None = None  # what a declared length still owes
        # Who speaks HTTP/1.0, or sends no body, would take a `100 Continue` for the answer (RFC 9110 10.1.1).
        self._continued = not (self._http_1_1 and self.has_body and _waits(self.headers))

    @property
    def gone(self) -> bool:
        """Whether the client left (or closed its half of the connection)."""
        transport = self._protocol.transport
        return transport is None or transport.is_closing()

    @property
    def started(self) -> bool:
        """Whether any byte of an answer was handed to the socket."""
        return self._started

    @property
    def has_body(self) -> bool:
        return self._framed or bool(self.length)

    @property
    def fault(self) -> str | None:
        """What is wrong with a head that the parser let through, in words for the client."""
        if self._version not in (HttpVersion10, HttpVersion11):
            return "Only HTTP/1.1 and HTTP/1.0 are spoken here."
        if not self._http_1_1 and any(name.lower() == b"transfer-encoding" for name, _ in self.headers):
            return "HTTP/1.0 has no transfer codings. Send a Content-Length, or HTTP/1.1."
        if "#" in self.target:
            return "The request target has a fragment. Leave out the '#' and what follows."
        if self.length is not None and self.length > _LONGEST_BODY:
            return "The Content-Length is longer than any body."
        return None

    async def read(self) -> bytes:
        """The next bytes of the body, b"" at its end. A client that waits for a `100 Continue` gets it now."""
        if not self._continued:
            self._continued = True
            self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            async with asyncio.timeout(self._idle):
                chunk = await self._payload.readany()
        except TimeoutError:
            raise GatewayError(
                "body_timeout",
                f"No byte of the request body came for {self._idle:g} seconds. Send it again.",
                code="request_body_timeout",
                close=True,
            ) from None
        except (RequestPayloadError, HttpProcessingError) as error:
            raise GatewayError(
                "malformed", "The request body's framing is broken.", detail=type(error).__name__, close=True
            ) from None
        except ConnectionError:
            raise ClientGone from None
        self.bytes_in += len(chunk)
        return chunk

    def begin(self, status: int, headers: Headers, *, length: int | None, stream: bool, reason: bytes = b"") -> None:
        """Set the answer's head. It leaves with the first bytes of the body, or by `flush`.

        `length` None frames the body by chunks (a client of HTTP/1.0 gets it until the close). On a stream
        `Connection: close` is never sent: it would hide a cut from Node's fetch.
        """
        lines = [b"HTTP/1.1 %d %b\r\n" % (status, reason or _REASONS.get(status, b"-"))]
        lines.extend(b"%b: %b\r\n" % pair for pair in headers)
        if not any(name.lower() == b"date" for name, _ in headers):
            lines.append(b"date: %b\r\n" % formatdate(usegmt=True).encode())
        self._bodyless = self.method == "HEAD" or status in (204, 304) or status < 200
        self._chunked = False
        self._left = length
        if length is not None:
            if status != 204:
                lines.append(b"content-length: %d\r\n" % length)
        elif not self._bodyless:
            if self._http_1_1:
                self._chunked = True
                lines.append(b"transfer-encoding: chunked\r\n")
            else:
                self.keep_alive = False
        if not self._payload.is_eof() or self._listener.draining:
            self.keep_alive = False
        if not self.keep_alive and not stream:
            lines.append(b"connection: close\r\n")
        elif not self._http_1_1 and self.keep_alive:
            lines.append(b"connection: keep-alive\r\n")
        lines.append(b"\r\n")
        self._head = b"".join(lines)

    async def flush(self) -> None:
        """Send the head now, before there is a body."""
        if head := self._taken_head():
            self._write(head)
        await self._drain()

    async def write(self, chunk: bytes) -> None:
        """Send bytes of the body; returns when the client keeps up."""
        self.write_now(chunk)
        await self._drain()

    def write_now(self, chunk: bytes) -> None:
        """Send bytes without waiting for the client: for the last words of a stream."""
        if not chunk or self._bodyless:
            return
        self.bytes_out += len(chunk)
        if self._left is not None:
            self._left -= len(chunk)
        head = self._taken_head()
        if not self._chunked:
            if head:
                self._write(head)
            self._write(chunk)
        elif len(chunk) < _JOIN_BELOW:
            self._write(b"%b%x\r\n%b\r\n" % (head, len(chunk), chunk))
        else:
            self._write(b"%b%x\r\n" % (head, len(chunk)))
            self._write(chunk)
            self._write(b"\r\n")

    def end(self) -> None:
        """Mark the answer as complete."""
        if self.gone:
            return
        last = self._taken_head() + (b"0\r\n\r\n" if self._chunked else b"")
        if last:
            self._write(last)
        if self._left and not self._bodyless:
            self.cut()

    def cut(self) -> None:
        """Close the connection without an end mark, so that the client can tell a cut from an end."""
        self.keep_alive = False
        self._protocol.force_close()

    def _taken_head(self) -> bytes:
        head, self._head = self._head or b"", None
        self._started = True
        return head

    def _write(self, data: bytes) -> None:
        transport = self._protocol.transport
        if transport is None or transport.is_closing():
            raise ClientGone
        transport.write(data)

    async def _drain(self) -> None:
        if self._protocol.writing_paused:
            try:
                await self._protocol._drain_helper()
            except ConnectionError:
                raise ClientGone from None
        elif self.gone:
            raise ClientGone


def _declared_length(headers: Headers) -> int | None:
    for name, value in headers:
        if name.lower() == b"content-length" and value.isdigit():
            return int(value)
    return None


def _waits(headers: Headers) -> bool:
    return any(name.lower() == b"expect" and value.lower() == b"100-continue" for name, value in headers)
