"""Who calls and what they may call: credential, workspace, version, betas, route; all before the body is read.

Any key is accepted. `ws-NAME-…` works in workspace NAME, everything else in `default`; a token minted here works where
it was minted for, until it lapses. `x-api-key` wins when both headers are there (the fact sheet does not know).
"""

from __future__ import annotations

from aiohttp import web

from gateway.simulator.betas import KNOWN
from gateway.simulator.errors import ApiError, invalid
from gateway.simulator.faults import Struck
from gateway.simulator.routes import Route, Table
from gateway.simulator.validate import check_betas, check_version
from gateway.simulator.world import Call, Workspace, World, key_label

MINTED = "sk-ant-oat01-"
ADMIN = "sk-ant-admin"
TOKEN_PATH = "/v1/oauth/token"  # noqa: S105 - a path; the only one that needs no credential
ORGANIZATION_PATH = "/v1/organizations"


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
    seen = world.keys.setdefault(key_label(key), {"workspace": name, "requests": 0})
    seen["requests"] += 1
    seen["last"] = now
    return workspace


def identify(world: World, request: web.Request, path: str, *, request_id: str, struck: Struck, now: float) -> Call:
    """The call of a known caller."""
    headers = request.headers
    public = path == TOKEN_PATH
    key = "" if public else credential(request)
    asked = headers.get("anthropic-workspace-id")
    return Call(
        world=world,
        request=request,
        request_id=request_id,
        route=f"{request.method} {path}",
        params={},
        workspace=world.workspace("default") if public else workspace_of(world, key, asked, now),
        key=key_label(key) if key else "",
        betas=frozenset(word.strip() for word in ",".join(headers.getall("anthropic-beta", ())).split(",")) - {""},
        version=headers.get("anthropic-version", ""),
        struck=struck,
        now=now,
    )


def admit(call: Call, table: Table, path: str) -> Route:
    """The route of the call, its version and betas in order."""
    if path.startswith(ORGANIZATION_PATH):
        raise organization_error(call)
    route, call.params = table.match(call.request.method, path)
    call.route = route.name
    if route.version or call.version:
        check_version(call.version)
    check_betas(call.betas, KNOWN if call.world.options.strict_betas else None)
    if route.beta and route.beta not in call.betas:
        raise invalid(f"This endpoint requires `{route.beta}` in the `anthropic-beta` header.")
    if route.without and route.without in call.betas:
        raise invalid(f"`{route.beta}` and `{route.without}` cannot be used together.")
    return route


def organization_error(call: Call) -> ApiError:
    if credential(call.request).startswith(ADMIN):
        return ApiError("not_found", "Not found")
    return ApiError("forbidden", "This API key cannot call the organization API.")
