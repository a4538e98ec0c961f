"""The listener for teams: aiohttp's HTTP/1.1 server, with each request handed on as `Incoming`.

Rule: what aiohttp says by itself is replaced here. Its error pages have not the API's shape, and its log of a malformed
request would show a team's key. Between the head of one request and the next nothing may be carried over.
"""

import asyncio
import logging
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler, RequestPayloadError, _ErrInfo

from gateway.core.errors import GatewayError
from gateway.wire.incoming import Incoming
from gateway.wire.keepalive import keep_alive

# Well above what real clients send (a JWT, dozens of betas) and what load balancers let through.
_LONGEST_HEADER = 256 * 1024
_MOST_HEADERS = 512
# Of bytes that bring neither a request nor a part of a body: heads, and trailers or chunk extensions without end.
_LONGEST_HEAD = 1024 * 1024
# Longer than any load balancer's idle timeout, so that the balancer, which knows, is the one that closes.
_KEEP_ALIVE_SECONDS = 650.0
_LINGER_SECONDS = 2.0
_LAST_WORDS_SECONDS = 2.0


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
    """aiohttp's connection, less its error pages, with limits on how long a head may take and be."""

    __slots__ = ("_barren", "_body", "_mark", "_owner", "answering", "head_since")

    def __init__(self, owner: "Server", manager: web.Server, **options: Any) -> None:
        super().__init__(manager, **options)
        self._owner = owner
        self.head_since: float | None = None
        self.answering: Incoming | None = None
        self._body: StreamReader | None = None  # the one that still comes
        self._mark: tuple[int, int] = (0, -1)
        self._barren = 0  # bytes since the last request or part of a body

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in {socket.AF_INET, socket.AF_INET6}:
            keep_alive(sock)

    def data_received(self, data: bytes) -> None:
        if self._force_close:
            return
        blank = not data or data.isspace()  # old clients end a body with a line of its own
        if self.head_since is None and not self._request_in_progress and not blank:
            self.head_since = self._loop.time()
        super().data_received(data)
        if self._messages:
            self._took_messages()
        body = self._body
        if body is not None and body.is_eof():
            self._body = body = None
        mark = (self._request_count, body.total_bytes if body is not None else -1)
        if mark != self._mark:
            self._mark, self._barren = mark, 0
        elif not blank:
            self._barren += len(data)
            if self._barren > _LONGEST_HEAD:
                self._barren = 0
                self._refuse_head()

    def _took_messages(self) -> None:
        self.head_since = None
        head, body = self._messages[-1]
        if not isinstance(head, _ErrInfo):
            self._body = body
            return
        head.exc.__traceback__ = None  # its frames hold the connection, and the connection holds it
        # The parser gave up within a body and forgot it: its reader would wait for the idle timeout.
        if len(self._messages) > 1:
            self._body = self._messages[-2][1]
        if self._body is not None and not self._body.is_eof():
            self._body.set_exception(RequestPayloadError("the framing is broken"))
        self._body = None

    def _refuse_head(self) -> None:
        if self._request_in_progress or self._messages:
            self.force_close()
        else:
            self.refuse(GatewayError("head_too_large", "The request head is too long."))

    def answered(self) -> None:
        """The request is over; what came after it may be the beginning of the next head."""
        self.answering = None
        if self._barren and not self._messages:
            self.head_since = self._loop.time()

    def eof_received(self) -> None:
        # A half-closed client counts as gone: it can't be told from one that left, and its stream costs money.
        if self._request_in_progress and self.transport is not None:
            self.transport.abort()

    def head_overdue(self, now: float, limit: float) -> bool:
        return self.head_since is not None and now - self.head_since > limit and not self._request_in_progress

    def give_up_on_head(self) -> None:
        """Answer a client that began a request head and never finished it."""
        seconds = f"{self._owner.head_seconds:g} seconds"
        self.refuse(GatewayError("head_timeout", f"The request head was not complete within {seconds}."))

    def refuse(self, error: GatewayError) -> None:
        """Answer what never became a request, and take no more.

        The socket stays open for a while for a client that is still sending: bytes that nobody reads would make the
        kernel reset the connection, and the client lose the answer.
        """
        transport = self.transport
        if self._force_close or transport is None or transport.is_closing():
            return
        transport.write(self._owner.raw_error(error))
        if transport.can_write_eof():
            transport.write_eof()
        self._force_close = True  # for aiohttp: nothing is parsed any more
        self.head_since = None
        if self._waiter is not None:
            self._waiter.cancel()
        self._loop.call_later(_LINGER_SECONDS, self.force_close)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> Any:
        # Never logs: aiohttp's own version prints the raw bytes of a malformed request, the key among them.
        if status >= 500:
            self._owner.faulted(exc or sys.exception())  # a TimeoutError is not passed on
        if self.answering is not None and self.answering.started:
            self.force_close()
        elif status >= 500:
            self.refuse(GatewayError("internal", "The gateway failed to handle the request."))
        elif isinstance(exc, LineTooLong):
            self.refuse(GatewayError("head_too_large", "The request line or a header is too long."))
        else:
            self.refuse(GatewayError("malformed", "The request is not valid HTTP/1.1.", detail=type(exc).__name__))
        return _Answered(keep_alive=False)

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Said by type only: an exception's text may carry what the client sent."""
        fault = kw.get("exc_info") or (args[1] if len(args) > 1 else None)
        if isinstance(fault, RequestPayloadError):  # of a body that nobody read to its broken end
            fault.__traceback__ = None  # kept by the body, whose reader's frames it would keep
        else:
            self._owner.faulted(fault)


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
        incoming = Incoming(request, connection, self)
        if fault := incoming.fault:
            connection.refuse(GatewayError("malformed", fault))
            return _Answered(keep_alive=False)
        connection.answering = incoming
        await self._handle(incoming)
        connection.answered()
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
