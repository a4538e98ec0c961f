"""The Claude API itself: the request as it came, with the workspace's key instead of the team's."""

from gateway.core.http import Headers, Outgoing, address
from gateway.core.routes import Route
from gateway.core.teams import UpstreamKey, Workspace
from gateway.platforms.platform import Draft

# Tokens of a federation are sent with this beta (fact sheet 2.3). A header of its own adds to the client's list.
_TOKEN_BETA = (b"anthropic-beta", b"oauth-2025-04-20")


def _credential(key: UpstreamKey) -> Headers:
    if key.federation is None:
        return [(b"x-api-key", key.secret.encode())]
    return [(b"authorization", b"Bearer " + key.secret.encode()), _TOKEN_BETA]


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
            headers=[*draft.headers, *_credential(key)],
            body=draft.body,
            length=draft.length,
        )
