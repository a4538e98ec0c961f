"""From the request line to a row. The path is matched as it was sent: nothing is normalised, oddities are refused.

A path that two parsers could read differently (`..`, an encoded slash, `;params`, `//`) is refused rather than cleaned:
what the gateway checked must be exactly what Claude will see.
"""

import re
from typing import Any

from gateway.core.errors import GatewayError
from gateway.core.routes.route import Matched, Route
from gateway.core.routes.table import ROUTES

# Ids of Claude, of Bedrock (dots, colons) and aliases; a percent sign never: an id needs no encoding.
_SEGMENT = re.compile(r"[A-Za-z0-9_.~:@\-]{1,256}\Z")
_ANY = "{}"
_ROUTE = ""

_REFUSED_PREFIXES = (
    ("/v1/organizations", "The organization admin API is not reachable through the gateway."),
    ("/v1/oauth/token", "The gateway does not exchange tokens. Use your team's gateway key."),
    ("/v1/tunnels", "MCP tunnels are not reachable through the gateway: they need an organization credential."),
)


def _grow() -> dict[str, Any]:
    trie: dict[str, Any] = {}
    for route in ROUTES:
        node = trie
        for segment in route.path.split("/")[1:]:
            node = node.setdefault(_ANY if segment.startswith("{") else segment or "/", {})
        node.setdefault(_ROUTE, {})[route.method] = route
    return trie


_TRIE = _grow()
# A HEAD goes wherever a GET goes, as HTTP asks; rows name HEAD only where there is no GET.
_PARAMETERS = {route.path: [s[1:-1] for s in route.path.split("/") if s.startswith("{")] for route in ROUTES}


_HELLO = frozenset((route.method, route.path) for route in ROUTES if route.name == "hello")


def is_hello(method: str, path: str) -> bool:
    """Whether this is how Claude Code opens its connection, before it has a key."""
    return (method, path) in _HELLO


def query_of(target: str) -> tuple[str, str]:
    """The path and the query (with its question mark) of a request target."""
    path, mark, query = target.partition("?")
    return path, mark + query


def refuse_odd_path(path: str) -> None:
    """404 for every path that could mean something else to the next parser."""
    for prefix, message in _REFUSED_PREFIXES:
        if path == prefix or path.startswith(prefix + "/"):
            raise GatewayError("unknown_route", message)
    if not path.startswith("/"):
        raise GatewayError("unknown_route", "The request target must be a path that begins with '/'.")
    for segment in path.split("/")[1:]:
        if path != "/" and not (_SEGMENT.match(segment) and segment not in (".", "..")):
            raise GatewayError(
                "unknown_route",
                "The path has an empty, dotted, encoded or over-long segment. Send it as the API documents it.",
            )


def match(method: str, path: str) -> Matched:
    """The row for a request, or a 404 (405 when only the method is wrong)."""
    refuse_odd_path(path)
    node: dict[str, Any] = _TRIE
    values: list[str] = []
    for segment in path.split("/")[1:]:
        child = node.get(segment or "/")
        if child is None:
            child = node.get(_ANY)
            values.append(segment)
        if child is None:
            raise GatewayError("unknown_route", f"The gateway has no route for {method} {path}.")
        node = child
    methods: dict[str, Route] | None = node.get(_ROUTE)
    if methods is None:
        raise GatewayError("unknown_route", f"The gateway has no route for {method} {path}.")
    route = methods.get(method) or (methods.get("GET") if method == "HEAD" else None)
    if route is None:
        allowed = ", ".join(sorted(methods))
        raise GatewayError(
            "wrong_method",
            f"{path} does not take {method}. Allowed: {allowed}.",
            headers=((b"allow", allowed.encode()),),
        )
    return Matched(route, dict(zip(_PARAMETERS[route.path], values, strict=True)))
