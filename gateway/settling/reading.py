"""Reading at Claude what work has come to, with the workspace's own key and the headers of the call that began it.

Rule: a body is read to its end before anything of it counts. Results over 8 MiB go through a file that has no name any
more, so neither memory nor a crash keeps anything of them.
"""

import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from gateway.core.answers import UNREADABLE
from gateway.core.errors import GatewayError
from gateway.core.exchange import Exchange
from gateway.core.headers import lookup
from gateway.core.http import Answer, UpstreamFailed
from gateway.core.routes import ROUTES
from gateway.core.teams import Policy, Team
from gateway.core.work import Item
from gateway.platforms.platform import Draft
from gateway.upstream import Upstream

SPOOL_BYTES = 8 * 2**20
OBJECT_BYTES = 8 * 2**20
VERSION = "2023-06-01"
_ROUTES = {route.name: route for route in ROUTES}


class Unreadable(Exception):
    """Not to be known at the moment; `reason` is a fixed word for log and metric."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Gone(Exception):
    """Claude says 404: there is no such object, and there will be none."""


@dataclass(frozen=True, slots=True)
class Object:
    """An object as Claude shows it now: its bytes, and the same decoded."""

    body: bytes
    fields: dict[str, Any]

    def text(self, name: str) -> str:
        value = self.fields.get(name)
        return value if isinstance(value, str) else ""

    def count(self, *names: str) -> int | None:
        value: Any = self.fields
        for name in names:
            value = value.get(name) if isinstance(value, dict) else None
        return value if type(value) is int and value >= 0 else None


class Reader:
    """Asks Claude on the gateway's own account."""

    def __init__(self, upstream: Upstream, policy: Callable[[], Policy], spool_dir: Path) -> None:
        self._upstream = upstream
        self._policy = policy
        self._spool_dir = spool_dir

    async def object(self, item: Item, route: str, target: str) -> Object:
        """GET one object. Raises Gone or Unreadable."""
        answer = await self._open(item, route, target)
        try:
            chunks, size = [], 0
            feed = _plain_of(answer)
            while chunk := await answer.read():
                chunks.append(feed(chunk))
                size += len(chunks[-1])
                if size > OBJECT_BYTES:
                    raise Unreadable("too_large")
            body = b"".join(chunks)
            return Object(body, msgspec.json.decode(body, type=dict[str, Any]))
        except UpstreamFailed as error:
            raise Unreadable(f"body_{error.fault}") from None
        except UNREADABLE:
            raise Unreadable("not_json") from None
        finally:
            answer.close()

    async def spooled(self, item: Item, route: str, target: str) -> "Spool":
        """GET a long body whole. Raises Gone or Unreadable."""
        answer = await self._open(item, route, target)
        spool = Spool(self._spool_dir)
        try:
            feed = _plain_of(answer)
            while chunk := await answer.read():
                spool.write(feed(chunk))
        except UpstreamFailed as error:
            spool.close()
            raise Unreadable(f"body_{error.fault}") from None
        except OSError:
            spool.close()
            raise Unreadable("spool_full") from None
        except BaseException:
            spool.close()
            raise
        finally:
            answer.close()
        return spool

    async def _open(self, item: Item, route: str, target: str) -> Answer:
        policy = self._policy()
        if item.workspace not in policy.workspaces:
            raise Unreadable("no_workspace")
        x = Exchange.open(policy, time.monotonic(), "GET", target)
        # The workspace it was made in, wherever its team's calls go by now.
        x.team = Team(item.team, item.workspace)
        x.route = _ROUTES[route]
        headers = [(name.encode(), value.encode("latin-1", "replace")) for name, value in item.headers]
        if lookup(headers, b"anthropic-version") is None:
            headers.append((b"anthropic-version", VERSION.encode()))
        headers += [(b"accept", b"application/json"), (b"accept-encoding", b"identity")]
        try:
            answer = await self._upstream.send(x, Draft(x.route, "GET", target, headers))
        except GatewayError as error:
            raise Unreadable(error.kind) from None
        if answer.status == 200:
            return answer
        answer.close()
        if answer.status == 404:
            raise Gone
        raise Unreadable(f"status_{answer.status}")


class Spool:
    """Bytes written once and read once, in memory up to a size and then in an unlinked file."""

    def __init__(self, directory: Path) -> None:
        self._file = tempfile.SpooledTemporaryFile[bytes](max_size=SPOOL_BYTES, dir=str(directory))  # see close
        self.size = 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self.size += len(data)

    def rewind(self) -> None:
        self._file.seek(0)

    def read(self, size: int) -> bytes:
        data: bytes = self._file.read(size)
        return data

    def close(self) -> None:
        self._file.close()


def _plain_of(answer: Answer) -> Callable[[bytes], bytes]:
    """What turns a chunk into plain bytes; it was asked for so, but an edge may compress all the same."""
    coding = (lookup(answer.headers, b"content-encoding") or b"").strip().lower()
    if coding in (b"", b"identity"):
        return lambda chunk: chunk
    if coding not in (b"gzip", b"x-gzip", b"deflate"):
        raise Unreadable("coding")
    decoder = zlib.decompressobj(47)

    def plain(chunk: bytes) -> bytes:
        try:
            return decoder.decompress(chunk)
        except zlib.error:
            raise Unreadable("coding") from None

    return plain
