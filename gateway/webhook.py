"""Calls of the policy's webhook: in the background, one at a time, repeated until they are taken or given up.

Rule: an event never waits for its delivery and a request never for an event. The queue is bounded; what finds it full,
or is refused to the end, is a log line and a count. The URL carries a token, so no line names it.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec

from gateway.core.http import Client, Origin, Outgoing, Timeouts, UpstreamFailed

MOST_WAITING = 200
PAUSES = (1.0, 5.0, 30.0, 120.0, 600.0)  # seconds before each repeat; a receiver may be deployed meanwhile
_TIMEOUTS = Timeouts(connect=5.0, first_byte=10.0, idle=10.0)
_SURE = frozenset((400, 401, 403, 404, 405, 410, 413))  # refused for what it is: a repeat would be refused too


class Delivered(Protocol):
    """Who hears what became of an event: sent, refused, given_up or dropped."""

    def __call__(self, outcome: str, event: Mapping[str, Any], detail: str) -> None: ...


class Webhook:
    """Posts events as JSON, in their order."""

    def __init__(
        self,
        client: Client,
        delivered: Delivered,
        *,
        pauses: Sequence[float] = PAUSES,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._client = client
        self._delivered = delivered
        self._pauses = pauses
        self._most = most_waiting
        self._waiting: deque[tuple[str, Mapping[str, Any]]] = deque()
        self._task: asyncio.Task[None] | None = None

    def post(self, url: str, event: Mapping[str, Any]) -> None:
        """Take an event; never waits."""
        if len(self._waiting) >= self._most:
            self._delivered("dropped", event, f"{self._most} events wait already")
            return
        self._waiting.append((url, event))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._deliver())

    async def stop(self, seconds: float) -> None:
        """Give what waits so long, then name what was not sent."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=seconds)
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        while self._waiting:
            self._delivered("given_up", self._waiting.popleft()[1], "the gateway stopped")

    async def _deliver(self) -> None:
        while self._waiting:
            url, event = self._waiting[0]
            outcome, detail = await self._persist(url, event)
            self._waiting.popleft()
            self._delivered(outcome, event, detail)

    async def _persist(self, url: str, event: Mapping[str, Any]) -> tuple[str, str]:
        body = msgspec.json.encode(event)
        detail = ""
        for pause in (0.0, *self._pauses):
            await asyncio.sleep(pause)
            status, detail = await self._once(url, body)
            if 200 <= status < 300:
                return "sent", detail
            if status in _SURE:
                return "refused", detail
        return "given_up", detail

    async def _once(self, url: str, body: bytes) -> tuple[int, str]:
        try:
            answer = await self._client.open(outgoing(url, body), _TIMEOUTS)
        except UpstreamFailed as failed:
            return 0, f"{failed.stage}: {failed.fault}"
        except ValueError:
            return 410, "the URL can't be called"
        answer.close()
        return answer.status, f"status {answer.status}"


def outgoing(url: str, body: bytes) -> Outgoing:
    """The POST of an event."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    origin = Origin("https" if secure else "http", parts.hostname or "", parts.port or (443 if secure else 80))
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = [(b"content-type", b"application/json"), (b"user-agent", b"claude-gateway"), (b"accept", b"*/*")]
    return Outgoing("POST", origin, target.encode(), headers, body)
