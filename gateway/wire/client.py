"""The client towards Claude: `Client` of gateway.core.http, HTTP/1.1 on asyncio and llhttp.

Rule: it does exactly one exchange per `open` and leaves out on purpose what a relay must not have: retries,
redirects, cookies, content decoding, headers of its own beyond Host and the framing.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial

from gateway.core.http import LiveAnswer, Origin, Outgoing, Timeouts, UpstreamFailed
from gateway.wire.answer import WireAnswer
from gateway.wire.connection import ALONG, Connection
from gateway.wire.dial import dial, tls_context
from gateway.wire.pool import Pool, PoolLimits
from gateway.wire.proxies import DIRECT, Proxies
from gateway.wire.request_head import request_head


@dataclass(frozen=True, slots=True)
class _Way:
    """How requests get to one origin, worked out once."""

    pool: Pool
    authority: bytes
    forwards: bool  # a proxy reads our requests (plain http) instead of tunnelling them
    authorization: bytes | None = field(repr=False)


class HttpClient:
    """Belongs to the loop it is first used in. `tls` is used as it is given (see dial.tls_context)."""

    def __init__(
        self, *, limits: PoolLimits | None = None, proxies: Proxies = DIRECT, tls: ssl.SSLContext | None = None
    ) -> None:
        self._limits = limits or PoolLimits()
        self._proxies = proxies
        self._tls = tls
        self._ways: dict[Origin, _Way] = {}
        self._closed = False

    async def open(self, out: Outgoing, timeouts: Timeouts) -> LiveAnswer:
        """Send one request and wait for the final head. ValueError: the request could not be written safely."""
        way = self._ways.get(out.origin) or self._way(out.origin)
        head = request_head(out, way.authority, absolute=way.forwards, proxy_authorization=way.authorization)
        connection = await way.pool.acquire(timeouts.connect)
        answer = WireAnswer(connection, out.method, timeouts, self._limits.head_bytes)
        body = out.body
        try:
            if body is None:
                connection.begin(head, answer)
                answer.sent()
            elif not isinstance(body, bytes | bytearray | memoryview):
                connection.begin(head, answer)
                await _pump(connection, body, out.length, answer)
            elif len(body) <= ALONG:
                connection.begin(b"".join((head, body)), answer)
                answer.sent()
            else:
                connection.begin(head, answer)
                await connection.send_bytes(memoryview(body).cast("B"), answer)
            await answer.head()
            if way.forwards and answer.status == 407:
                raise UpstreamFailed(
                    "head", "proxy", "the proxy answered 407: it wants (other) credentials", answered=True
                )
        except BaseException:
            answer.close()
            raise
        return answer

    async def close(self) -> None:
        self._closed = True
        for way in self._ways.values():
            way.pool.close()
        await asyncio.sleep(0)  # the loop closes the sockets in its next turn

    def _way(self, origin: Origin) -> _Way:
        proxy = self._proxies.towards(origin)
        tls = None
        if origin.scheme == "https":
            tls = self._tls = self._tls or tls_context()
        forwards = proxy is not None and tls is None
        way = _Way(
            pool=Pool(self._limits, partial(dial, origin, proxy, tls)),
            authority=origin.authority.encode("idna"),
            forwards=forwards,
            authorization=proxy.authorization if forwards and proxy is not None else None,
        )
        if self._closed:
            way.pool.close()
        self._ways[origin] = way
        return way


async def _pump(connection: Connection, body: AsyncIterator[bytes], length: int | None, answer: WireAnswer) -> None:
    """Send a streamed body until it is sent or not wanted any more.

    A task of its own, since the answer may come while the body's next piece does not. Its exceptions, the body's own
    included, leave here.
    """
    pump = asyncio.create_task(connection.send_stream(body, length, answer))
    pump.add_done_callback(partial(_pumped, answer))
    try:
        while not pump.done() and not answer.over:
            await answer.wait()
    finally:
        if not pump.done():
            pump.cancel()
            await asyncio.wait([pump])
    if not pump.cancelled():
        pump.result()  # a body that failed fails the exchange even when an early answer is here


def _pumped(answer: WireAnswer, pump: "asyncio.Task[None]") -> None:
    if not pump.cancelled():
        pump.exception()  # looked at here too, since a cancelled `open` will not
    answer.wake()
