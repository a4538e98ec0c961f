"""Exact input counts, asked of Claude before a call that an estimate alone would refuse (or that must be exact).

Few: at most a tenth of the organization's count rate, so that the teams' own counts never starve. Cached in this
process only, under a salted hash, because a body's digest in a shared place would tell who sent the same. A count
that does not come in time, or that Claude refuses, is no count: the estimate decides.
"""

import asyncio
import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

import msgspec

from gateway.core.errors import GatewayError
from gateway.core.exchange import Exchange
from gateway.core.http import Headers, UpstreamFailed
from gateway.core.json_fields import fields
from gateway.core.routes import match
from gateway.core.weigh import project_for_count
from gateway.platforms.platform import Draft
from gateway.upstream import Upstream

DEADLINE_SECONDS = 1.5
MOST_PER_MINUTE = 200  # a tenth of the smallest tier's 2,000 (fact sheet 3.2)
CACHED = 2048

_COUNT = match("POST", "/v1/messages/count_tokens").route
_PRECOUNT = replace(_COUNT, name="precount")


class _Counted(msgspec.Struct):
    input_tokens: int


class Precounter:
    """Counts by the gateway itself."""

    def __init__(self, upstream: Upstream, finished: Callable[[Exchange], None]) -> None:
        self._upstream = upstream
        self._finished = finished
        self._salt = secrets.token_bytes(16)
        self._cache: OrderedDict[bytes, int] = OrderedDict()
        self._room = float(MOST_PER_MINUTE)
        self._refilled = time.monotonic()

    async def count(self, x: Exchange, body: bytes | bytearray, headers: Headers) -> int | None:
        """The input tokens of a Messages body, None when they can't be had now."""
        projected = project_for_count(fields(body))
        digest = hashlib.blake2b(projected, key=self._salt, digest_size=16).digest()
        if (known := self._cache.get(digest)) is not None:
            self._cache.move_to_end(digest)
            return known
        if not self._take():
            return None
        own = Exchange.open(x.policy, time.monotonic(), "POST", _COUNT.path)
        own.team, own.key, own.route, own.model, own.models = x.team, x.key, _PRECOUNT, x.model, x.models
        counted = None
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                counted = await self._ask(own, projected, headers)
        except (TimeoutError, GatewayError, UpstreamFailed, msgspec.MsgspecError):
            own.ended = "upstream_failed"
        own.finished = time.monotonic()
        self._finished(own)
        if counted is not None:
            self._cache[digest] = counted
            if len(self._cache) > CACHED:
                self._cache.popitem(last=False)
        return counted

    async def _ask(self, own: Exchange, body: bytes, headers: Headers) -> int | None:
        answer = await self._upstream.send(own, Draft(_COUNT, "POST", _COUNT.path, headers, body))
        try:
            own.status = answer.status
            chunks: list[bytes] = []
            while chunk := await answer.read():
                chunks.append(chunk)
        finally:
            answer.close()
        return msgspec.json.decode(b"".join(chunks), type=_Counted).input_tokens if answer.status == 200 else None

    def _take(self) -> bool:
        now = time.monotonic()
        self._room = min(MOST_PER_MINUTE, self._room + (now - self._refilled) * MOST_PER_MINUTE / 60)
        self._refilled = now
        if self._room < 1:
            return False
        self._room -= 1
        return True
