"""The simulator's own paths under `/_simulator`: the bill, the faults, the limits, the keys. No credential is needed.

GET    /_simulator/bill?since=N   rows after row N, totals since the last clearing; `open` is what may still add rows
DELETE /_simulator/bill           a new book
GET    /_simulator/faults         the global faults and how often each struck
PUT    /_simulator/faults         {NAME: probability | {probability, arg, path, method, times}}, replacing all
PUT    /_simulator/limits         {requests, input, output, count}: per minute
GET    /_simulator/keys           which keys were used (by a short digest), how often, when last
PUT    /_simulator/revoked        ["key", ...]: these keys answer 401 from now on; minted tokens too
GET    /_simulator/files          digest and size of every file, to compare with what was sent
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from gateway.simulator.errors import invalid
from gateway.simulator.world import Reply, World, reply


@dataclass(frozen=True, slots=True)
class Asked:
    world: World
    query: Mapping[str, str]
    body: Any


LIMITS = {"requests", "input", "output", "count"}


def bill(asked: Asked) -> Reply:
    since = asked.query.get("since", "0")
    if not since.isdigit():
        raise invalid(f"since: {since!r} is not a row number")
    return reply({**asked.world.book.since(int(since)), "open": asked.world.open + len(asked.world.tasks)})


def clear_bill(asked: Asked) -> Reply:
    asked.world.book.clear()
    return reply({"cleared": True})


def faults(asked: Asked) -> Reply:
    return reply({"faults": asked.world.faults.rules, "struck": asked.world.faults.struck})


def set_faults(asked: Asked) -> Reply:
    if not isinstance(asked.body, dict):
        raise invalid("faults: write an object of fault names")
    asked.world.faults.replace(asked.body)
    return faults(asked)


def set_limits(asked: Asked) -> Reply:
    if (
        not isinstance(asked.body, dict)
        or set(asked.body) - LIMITS
        or not all(isinstance(n, int) and n > 0 for n in asked.body.values())
    ):
        raise invalid(f"limits: write an object of {', '.join(sorted(LIMITS))} with numbers above 0")
    asked.world.limits.replace(**asked.body)
    return reply(asked.body)


def keys(asked: Asked) -> Reply:
    return reply(asked.world.keys)


def revoke(asked: Asked) -> Reply:
    if not isinstance(asked.body, list) or not all(isinstance(key, str) for key in asked.body):
        raise invalid("revoked: write a list of keys")
    asked.world.revoked = set(asked.body)
    return reply({"revoked": len(asked.world.revoked)})


def stored(asked: Asked) -> Reply:
    found = [
        {"workspace": space.name, "id": file["id"], "size_bytes": file["size_bytes"], "sha256": file.get("_sha256")}
        for space in asked.world.workspaces.values()
        for file in space.of("file").values()
    ]
    return reply(found)


HANDLERS: dict[str, Callable[[Asked], Reply]] = {
    "GET /_simulator/bill": bill,
    "DELETE /_simulator/bill": clear_bill,
    "GET /_simulator/faults": faults,
    "PUT /_simulator/faults": set_faults,
    "PUT /_simulator/limits": set_limits,
    "GET /_simulator/keys": keys,
    "PUT /_simulator/revoked": revoke,
    "GET /_simulator/files": stored,
}


async def control(world: World, request: web.Request) -> Reply:
    handler = HANDLERS.get(f"{request.method} {request.path}")
    if handler is None:
        raise invalid(f"{request.method} {request.path} is none of {', '.join(HANDLERS)}")
    raw = await request.read()
    try:
        body = msgspec.json.decode(raw) if raw else None
    except msgspec.DecodeError as error:
        raise invalid(f"The body is not valid JSON: {error}") from None
    return handler(Asked(world, request.query, body))
