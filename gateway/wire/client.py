"""The client towards Claude: `Client` of gateway.core.http, HTTP/1.1 on asyncio and llhttp.

Rule: it does exactly one exchange per `open` and leaves out on purpose what a relay must not have: retries,
redirects, cookies, content decoding, headers of its own beyond Host and the framing.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from functools import partial

from gateway.core.http import Answer, Origin, Outgoing, Timeouts
from gateway.wire.answer import WireAnswer
from gateway.wire.connection import ALONG, Connection
from gateway.wire.dial import dial, tls_context
from gateway.wire.outgoing import request_head
from gateway.wire.pool import Limits, Pool
from gateway.wire.proxies import DIRECT, Proxies, ProxyServer


class HttpClient:
    """Belongs to the loop it is first used in. `tls` is used as it is given (see dial.tls_context)."""

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        proxies: Proxies = DIRECT,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._limits = limits or Limits()
        self._proxies = proxies
        self._tls = tls
        self._pools: dict[Origin, tuple[Pool, ProxyServer | None]] = {}
        self._closed = False

    async def open(self, out: Outgoing, timeouts: Timeouts) -> Answer:
        """Send one request and wait for the final head. ValueError: the request could not be written safely."""
        pool, proxy = self._pools.get(out.origin) or self._pool(out.origin)
        if proxy is not None and out.origin.scheme == "http":
            head = request_head(out, absolute=True, proxy_authorization=proxy.authorization)
        else:
            head = request_head(out)
        connection = await pool.acquire(timeouts.connect)
        answer = WireAnswer(connection, out.method, timeouts, self._limits.head_bytes)
        body = out.body
        try:
            if body is None:
                connection.begin(head, None, answer)
                answer.sent()
            elif isinstance(body, bytes | bytearray | memoryview):
                view = memoryview(body).cast("B")
                if view.nbytes <= ALONG:
                    connection.begin(head, view, answer)
                    answer.sent()
                else:
                    connection.begin(head, None, answer)
                    await connection.send_bytes(view, answer)
            else:
                connection.begin(head, None, answer)
                await _pump(connection, body, out.length, answer)
            await answer.head()
        except BaseException:
            answer.close()
            raise
        return answer

    async def close(self) -> None:
        self._closed = True
        for pool, _ in self._pools.values():
            pool.close()
        await asyncio.sleep(0)  # the loop closes the sockets in its next turn

    def _pool(self, origin: Origin) -> tuple[Pool, ProxyServer | None]:
        proxy = self._proxies.towards(origin)
        tls = None
        if origin.scheme == "https":
            tls = self._tls = self._tls or tls_context()
        made = Pool(self._limits, partial(dial, origin, proxy, tls)), proxy
        if self._closed:
            made[0].close()
        self._pools[origin] = made
        return made


async def _pump(
    connection: Connection,
    body: AsyncIterator[bytes],
    length: int | None,
    answer: WireAnswer,
) -> None:
    """Send a streamed body until it is sent or not wanted any more.

    A task of its own, since the answer may come while the body's next piece does not. Its exceptions, the body's own
    included, leave here.
    """
    pump = asyncio.create_task(connection.send_stream(body, length, answer))
    pump.add_done_callback(lambda _: answer.wake())
    try:
        while not pump.done() and not answer.over:
            await answer.wait()
    finally:
        if not pump.done():
            pump.cancel()
            await asyncio.wait([pump])
    if not pump.cancelled():
        pump.result()  # a body that failed fails the exchange even when an early answer is here
