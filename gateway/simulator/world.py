"""Everything this Claude remembers, and the shapes that a request and an answer take between the parts.

One World per simulator. What belongs to a workspace lives in its Workspace and nowhere else: that is the isolation.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from gateway.simulator.bill import Book
from gateway.simulator.errors import invalid
from gateway.simulator.faults import Faults, Struck
from gateway.simulator.limits import Limits
from gateway.simulator.options import Options

Object = dict[str, Any]
ORGANIZATION = "4f0c9f6e-51a1-4c0e-9d1e-000000000001"


def fresh_id(prefix: str) -> str:
    return f"{prefix}_01{secrets.token_hex(11)}"


def stamp(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(slots=True, eq=False)
class Workspace:
    name: str
    kinds: dict[str, dict[str, Object]] = field(default_factory=dict)  # kind → id → object, in order of creation
    cache: dict[bytes, tuple[float, int]] = field(default_factory=dict)  # prefix digest → when it lapses, its lifetime
    threads: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"wrkspc_{self.name}"

    def of(self, kind: str) -> dict[str, Object]:
        found = self.kinds.get(kind)
        if found is None:
            found = self.kinds[kind] = {}
        return found


class World:
    def __init__(self, options: Options) -> None:
        self.options = options
        self.book = Book(options.bill_rows)
        rules = {
            name: {"probability": p, "arg": options.fault_args.get(name, "")} for name, p in options.faults.items()
        }
        self.faults = Faults(rules, options.seed)
        self.limits = Limits(
            options.requests_per_minute,
            options.input_tokens_per_minute,
            options.output_tokens_per_minute,
            options.count_requests_per_minute,
        )
        self.workspaces: dict[str, Workspace] = {}
        self.tokens: dict[str, tuple[str, float]] = {}  # minted token → workspace, when it lapses
        self.revoked: set[str] = set()  # keys that answer 401
        self.keys: dict[str, Object] = {}  # short digest of each key seen → how often and when
        self.tasks: set[asyncio.Task[None]] = set()
        self.open = 0  # requests on their way

    def now(self) -> float:
        return time.time()

    def workspace(self, name: str) -> Workspace:
        found = self.workspaces.get(name)
        if found is None:
            found = self.workspaces[name] = Workspace(name)
        return found

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def close(self) -> None:
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


def key_label(key: str) -> str:
    """A name for a key that does not give it away."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:12]


@dataclass(slots=True)
class Charge:
    """What an answer costs: its full usage, and what of it was due when only some output tokens had been sent."""

    model: str
    usage: Object
    output: int
    free: bool = False
    at: Callable[[int], Object] | None = None

    def after(self, sent: int) -> Object:
        return self.at(sent) if self.at else {**self.usage, "output_tokens": sent}


@dataclass(slots=True)
class Call:
    """One request on its way through."""

    world: World
    request: web.Request
    request_id: str
    route: str
    params: dict[str, str]
    workspace: Workspace
    key: str
    betas: frozenset[str]
    version: str
    struck: Struck
    now: float
    body: bytes = b""
    charge: Charge | None = None
    limit_class: str = ""

    def json(self) -> Object:
        """The body as an object, or Claude's 400."""
        try:
            value = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise invalid(f"The request body is not valid JSON: {error}") from None
        if not isinstance(value, dict):
            raise invalid("The request body is not valid JSON: the top level is not an object")
        return value

    def beta(self, prefix: str) -> bool:
        return any(value.startswith(prefix) for value in self.betas)


@dataclass(slots=True)
class Reply:
    """A whole answer."""

    body: bytes = b""
    status: int = 200
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    paced: bool = False  # waits as long as its charge takes to generate


class Event(NamedTuple):
    data: bytes
    sent: int  # output tokens sent once this event is out


@dataclass(slots=True)
class Stream:
    """A stream of events that is known in full before it starts."""

    events: Sequence[Event]


@dataclass(slots=True)
class Live:
    """Bytes that are not known yet, or too many to hold; with a size when it is known."""

    chunks: AsyncIterator[bytes]
    content_type: str
    size: int | None = None
    headers: dict[str, str] = field(default_factory=dict)


Answer = Reply | Stream | Live


def reply(value: Any, status: int = 200) -> Reply:
    return Reply(msgspec.json.encode(value), status)


def event(name: str, data: Any, sent: int = 0) -> Event:
    return Event(b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(data)), sent)
