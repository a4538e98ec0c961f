"""The seam to wherever Claude is served: an address, a credential and, where the dialect differs, a translation."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from gateway.core.http import Headers, Outgoing
from gateway.core.routes import Route
from gateway.core.teams import UpstreamKey, Workspace


@dataclass(slots=True)
class Draft:
    """A request in Claude's own dialect, before it has an address and a credential; may be prepared several times."""

    route: Route
    method: str
    target: str
    headers: Headers
    body: bytes | bytearray | AsyncIterator[bytes] | None = None
    length: int | None = None

    @property
    def replayable(self) -> bool:
        return not isinstance(self.body, AsyncIterator)


class Platform(Protocol):
    """How one platform is spoken to. `prepare` is synchronous: the hot path never waits for a credential."""

    name: str

    def serves(self, route: Route) -> bool: ...

    def prepare(self, draft: Draft, workspace: Workspace, key: UpstreamKey) -> Outgoing: ...
