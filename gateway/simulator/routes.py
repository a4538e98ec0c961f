"""Every path this Claude answers, one row each, and the match from a method and a path to its row."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from gateway.simulator.errors import ApiError, not_found

MB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    handler: Callable[[Any], Any]
    limit: int = 32 * MB  # 0: the handler reads the request itself
    inference: bool = False  # has latency and rate limit headers
    version: bool = True  # wants the anthropic-version header
    beta: str = ""  # wants this beta value
    without: str = ""  # refuses this beta value
    openai: bool = False  # errors in OpenAI's shape

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(slots=True)
class Node:
    children: dict[str, Node] = field(default_factory=dict)
    param: str = ""
    routes: dict[str, Route] = field(default_factory=dict)


class Table:
    def __init__(self, rows: Iterable[Route]) -> None:
        self.root = Node()
        self.names: list[str] = []
        for row in rows:
            self.names.append(row.name)
            node = self.root
            for segment in row.path.strip("/").split("/"):
                key = "*" if segment.startswith("{") else segment
                node = node.children.setdefault(key, Node(param=segment.strip("{}") if key == "*" else ""))
            node.routes[row.method] = row

    def match(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        node = self.root
        params: dict[str, str] = {}
        for segment in path.lstrip("/").split("/"):
            child = node.children.get(segment)
            if child is None:
                child = node.children.get("*")
                if child is None or not segment:
                    raise not_found()
                params[child.param] = unquote(segment)
            node = child
        route = node.routes.get(method)
        if route is None:
            raise ApiError("method", "Method Not Allowed") if node.routes else not_found()
        return route, params
