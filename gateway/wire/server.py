"""The listener for teams: aiohttp's HTTP/1.1 server, and a request as the proxy sees it.

The proxy answers through `Incoming`; the head is written as raw bytes, because aiohttp's own responses would fold
duplicate headers and re-encode bytes outside ASCII. aiohttp's error pages and its log of malformed requests (which
would show a team's key) are replaced here.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.web_protocol import RequestHandler, RequestPayloadError

from gateway.core.errors import GatewayError
from gateway.core.http import Headers
from gateway.wire.keepalive import keep_alive

# Well above what real clients send (a JWT, dozens of betas) and what load balancers let through.
_LONGEST_HEADER = 256 * 1024
_MOST_HEADERS = 512
# Longer than any load balancer's idle timeout, so that the balancer, which knows, is the one that closes.
_KEEP_ALIVE_SECONDS = 650.0
_LINGER_SECONDS = 2.0
_LAST_WORDS_SECONDS = 2.0
_JOIN_BELOW = 16 * 1024

_REASONS = {200: b"OK", 400: b"Bad Request", 401: b"Unauthorized", 403: b"Forbidden", 404: b"Not Found",
            405: b"Method Not Allowed", 408: b"Request Timeout", 409: b"Conflict", 413: b"Content Too Large",
            417: b"Expectation Failed", 429: b"Too Many Requests", 431: b"Request Header Fields Too Large",
            500: b"Internal Server Error", 502: b"Bad Gateway", 503: b"Service Unavailable",
            504: b"Gateway Timeout", 529: b"Overloaded"}  # fmt: skip


class ClientGone(Exception):
    """The client left: nothing more can be read from it or written to it."""


class Incoming:
    """One request as it came, and the way to answer it."""

    __slots__ = (
        "_bodyless", "_chunked", "_continued", "_head", "_idle", "_left", "_payload", "_protocol", "_server",
        "_started", "bytes_in", "bytes_out", "headers", "keep_alive", "length", "method", "secure", "target",
    )  # fmt: skip

    def __init__(self, request: web.BaseRequest, protocol: "Connection", server: "Server") -> None:
        message = request._message
        self.method = message.method
        self.target = message.path
        self.headers: Headers = list(message.raw_headers)
        self.keep_alive = not message.should_close
        self.length = _declared_length(self.headers)  # None: chunked, or no body at all
        self.secure = protocol.ssl_context is not None
        self.bytes_in = 0
        self.bytes_out = 0
        self._protocol = protocol
        self._payload = request._payload
        self._server = server
        self._idle = server.body_idle_seconds
        self._head: bytes | None = None
        self._started = False
        self._chunked = False
        self._bodyless = False
        self._left: int | None = None  # what a declared length still owes
        self._continued = not any(
            name.lower() == b"expect" and value.lower() == b"100-continue" for name, value in self.headers
        )

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
        return not self._payload.is_eof() or self.length not in (None, 0)

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
        if length is not None:
            if status != 204:
                lines.append(b"content-length: %d\r\n" % length)
            self._left = length
        elif not self._bodyless:
            if self._protocol.http_1_1:
                self._chunked = True
                lines.append(b"transfer-encoding: chunked\r\n")
            else:
                self.keep_alive = False
        if self._unread or self._server.draining:
            self.keep_alive = False
        if not self.keep_alive and not stream:
            lines.append(b"connection: close\r\n")
        elif not self._protocol.http_1_1 and self.keep_alive:
            lines.append(b"connection: keep-alive\r\n")
        lines.append(b"\r\n")
        self._head = b"".join(lines)

    async def flush(self) -> None:
        """Send the head now, before there is a body."""
        if self._head is not None:
            head, self._head = self._head, None
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
        head, self._head = self._head or b"", None
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
        head, self._head = self._head or b"", None
        mark = b"0\r\n\r\n" if self._chunked else b""
        if head or mark:
            self._write(head + mark)
        if self._left and not self._bodyless:
            self.cut()

    def cut(self) -> None:
        """Close the connection without an end mark, so that the client can tell a cut from an end."""
        self.keep_alive = False
        self._protocol.force_close()

    @property
    def _unread(self) -> bool:
        return not self._payload.is_eof()

    def _write(self, data: bytes) -> None:
        transport = self._protocol.transport
        if transport is None or transport.is_closing():
            raise ClientGone
        self._started = True
        transport.write(data)

    async def _drain(self) -> None:
        if self._protocol.writing_paused:
            try:
                await self._protocol._drain_helper()
            except ConnectionError:
                raise ClientGone from None
        elif self.gone:
            raise ClientGone


class _Answered:
    """What aiohttp gets back from the handler: the answer is on its way already."""

    __slots__ = ("keep_alive", "status")

    def __init__(self, *, keep_alive: bool) -> None:
        self.keep_alive = keep_alive
        self.status = 200

    async def prepare(self, request: web.BaseRequest) -> None:
        """Nothing is left to prepare."""

    async def write_eof(self) -> None:
        """Nothing is left to write."""


class Connection(RequestHandler):
    """aiohttp's connection, less its error pages, with a limit on how long a head may take."""

    __slots__ = ("_owner", "head_since", "http_1_1")

    def __init__(self, owner: "Server", manager: web.Server, **options: Any) -> None:
        super().__init__(manager, **options)
        self._owner = owner
        self.head_since: float | None = None
        self.http_1_1 = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in {socket.AF_INET, socket.AF_INET6}:
            keep_alive(sock)

    def data_received(self, data: bytes) -> None:
        if self.head_since is None and not self._request_in_progress:
            self.head_since = self._loop.time()
        super().data_received(data)
        if self._messages or self._request_in_progress:
            self.head_since = None

    def eof_received(self) -> None:
        # A half-closed client counts as gone: it can't be told from one that left, and its stream costs money.
        if self._request_in_progress and self.transport is not None:
            self.transport.abort()

    def head_overdue(self, now: float, limit: float) -> bool:
        return self.head_since is not None and now - self.head_since > limit and not self._request_in_progress

    def give_up_on_head(self) -> None:
        """Answer a client that began a request head and never finished it."""
        if self.transport is not None:
            error = GatewayError(
                "head_timeout",
                f"The request head was not complete within {self._owner.head_seconds:g} seconds.",
            )
            self.transport.write(self._owner.raw_error(error))
        self.force_close()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> Any:
        # Never logs: aiohttp's own version prints the raw bytes of a malformed request, the key among them.
        if status == 500:
            error = GatewayError("internal", "The gateway failed to handle the request.", detail=repr(type(exc)))
        elif isinstance(exc, LineTooLong):
            error = GatewayError("head_too_large", "The request line or a header is too long.")
        else:
            error = GatewayError("malformed", "The request is not valid HTTP/1.1.", detail=type(exc).__name__)
        if self.transport is not None:
            self.transport.write(self._owner.raw_error(error))
        return _Answered(keep_alive=False)

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Said by type only: an exception's text may carry what the client sent."""
        self._owner.faulted(kw.get("exc_info") or (args[1] if len(args) > 1 else None))


class _Manager(web.Server):
    """aiohttp's server with our connections."""

    def __init__(self, owner: "Server", **options: Any) -> None:
        super().__init__(owner.entry, handler_cancellation=True, **options)
        self._owner = owner

    def __call__(self) -> RequestHandler:
        return Connection(self._owner, self, loop=self._loop, **self._kwargs)


class Server:
    """Listens, and calls `handle` once for each request."""

    def __init__(
        self,
        handle: Callable[[Incoming], Awaitable[None]],
        *,
        raw_error: Callable[[GatewayError], bytes],
        faulted: Callable[[BaseException | None], None],
        head_seconds: float = 10.0,
        body_idle_seconds: float = 60.0,
    ) -> None:
        self._handle = handle
        self.raw_error = raw_error  # a whole HTTP answer, for requests that never became an exchange
        self.faulted = faulted
        self.head_seconds = head_seconds
        self.body_idle_seconds = body_idle_seconds
        self.draining = False
        self._manager: _Manager | None = None
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def entry(self, request: web.BaseRequest) -> Any:
        connection: Connection = request._protocol  # type: ignore[assignment]  # the factory above made it
        connection.http_1_1 = request._message.version >= (1, 1)
        incoming = Incoming(request, connection, self)
        await self._handle(incoming)
        return _Answered(keep_alive=incoming.keep_alive and not self.draining)

    async def start(self, host: str, port: int, *, tls: ssl.SSLContext | None = None, reuse_port: bool = False) -> int:
        """Begin to listen; returns the port (of use with port 0)."""
        loop = asyncio.get_running_loop()
        self._manager = _Manager(
            self,
            access_log=None,
            logger=logging.getLogger("gateway.wire"),
            keepalive_timeout=_KEEP_ALIVE_SECONDS,
            lingering_time=_LINGER_SECONDS,
            max_line_size=_LONGEST_HEADER,
            max_field_size=_LONGEST_HEADER,
            max_headers=_MOST_HEADERS,
            auto_decompress=False,
        )
        self._listener = await loop.create_server(
            self._manager, host, port, ssl=tls, backlog=1024, reuse_port=reuse_port or None
        )
        self._sweeper = asyncio.create_task(self._sweep_heads())
        bound: int = self._listener.sockets[0].getsockname()[1]
        return bound

    def stop_accepting(self) -> None:
        """Close the listener and the idle connections; running requests go on."""
        if self._listener is not None:
            self._listener.close()
        if self._manager is not None:
            self._manager.pre_shutdown()

    @property
    def running(self) -> int:
        """How many requests are being handled."""
        if self._manager is None:
            return 0
        return sum(1 for connection in self._manager.connections if connection._request_in_progress)

    async def stop(self) -> None:
        """Cancel what still runs and close every connection."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        self.stop_accepting()
        if self._manager is None:
            return
        # aiohttp's own shutdown closes the socket before it cancels; a handler must first say its last words.
        tasks = [task for connection in self._manager.connections if (task := connection._task_handler) is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_LAST_WORDS_SECONDS)
        await self._manager.shutdown(timeout=0)

    async def _sweep_heads(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(1.0, self.head_seconds / 4))
            now = loop.time()
            for connection in self._manager.connections if self._manager else []:
                assert isinstance(connection, Connection)
                if connection.head_overdue(now, self.head_seconds):
                    connection.give_up_on_head()


def _declared_length(headers: Headers) -> int | None:
    for name, value in headers:
        if name.lower() == b"content-length" and value.isdigit():
            return int(value)
    return None
