"""Who calls: the credential, the workspace it means, and what no credential may do.

Any key is accepted. `ws-NAME-…` works in workspace NAME, everything else in `default`; a token minted here works where
it was minted for, until it lapses. `x-api-key` wins when both headers are there (the fact sheet does not know).
"""

from __future__ import annotations

from aiohttp import web

from gateway.simulator.errors import ApiError
from gateway.simulator.world import Workspace, World, key_label

MINTED = "sk-ant-oat01-"
ADMIN = "sk-ant-admin"


def credential(request: web.Request) -> str:
    key = request.headers.get("x-api-key")
    if key:
        return key
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    raise ApiError("unauthenticated", "x-api-key header is required")


def workspace_of(world: World, key: str, asked: str | None, now: float) -> Workspace:
    """The workspace of a valid credential; 401 for a revoked or lapsed one, 403 for the wrong workspace."""
    if key in world.revoked:
        raise ApiError("unauthenticated", "invalid x-api-key")
    if key.startswith(MINTED):
        name, lapses = world.tokens.get(key, ("", 0.0))
        if lapses <= now:
            raise ApiError("unauthenticated", "Invalid bearer token")
    elif key.startswith("ws-"):
        name = key.split("-", 2)[1] or "default"
    else:
        name = "default"
    workspace = world.workspace(name)
    if asked is not None and asked != workspace.id:
        raise ApiError("forbidden", "anthropic-workspace-id does not match the workspace of this credential")
    label = key_label(key)
    seen = world.keys.setdefault(label, {"workspace": name, "requests": 0})
    seen["requests"] += 1
    seen["last"] = now
    return workspace
