"""The Claude API itself: the request as it came, with the workspace's key instead of the team's."""

from functools import lru_cache
from urllib.parse import urlsplit

from gateway.core.http import Origin, Outgoing
from gateway.core.routes import Route
from gateway.core.teams import UpstreamKey, Workspace
from gateway.platforms.platform import Draft


@lru_cache(maxsize=256)
def address(base_url: str) -> tuple[Origin, str]:
    """The origin of a base URL and the path prefix it carries."""
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"base_url {base_url!r} must be an http or https URL")
    scheme, port = parts.scheme, parts.port
    if scheme == "https":
        return Origin("https", parts.hostname, port or 443), parts.path.rstrip("/")
    return Origin("http", parts.hostname, port or 80), parts.path.rstrip("/")


class ClaudePlatform:
    """api.anthropic.com, or anything that speaks its API at `base_url`."""

    name = "claude"

    def serves(self, route: Route) -> bool:
        return True

    def prepare(self, draft: Draft, workspace: Workspace, key: UpstreamKey) -> Outgoing:
        origin, prefix = address(workspace.base_url)
        return Outgoing(
            method=draft.method,
            origin=origin,
            target=(prefix + draft.target).encode("utf-8", "surrogateescape"),
            headers=[*draft.headers, (b"x-api-key", key.secret.encode())],
            body=draft.body,
            length=draft.length,
        )
