"""Both stores behind one fixture: what is asked of `ledger` holds for each of them."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest

from gateway.core.limits import Bucket, Budget, Claim, Kind
from gateway.store.embedded import Embedded
from gateway.store.ledger import Ledger
from gateway.store.redis import RedisLedger

_numbers = itertools.count(1)


class Heard:
    """An observer that keeps what it was told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []
        self.calls: list[tuple[str, bool]] = []

    def event(self, name: str, facts: Mapping[str, object]) -> None:
        self.events.append((name, dict(facts)))

    def timed(self, operation: str, seconds: float, *, failed: bool) -> None:
        self.calls.append((operation, failed))

    def named(self, name: str) -> list[dict[str, object]]:
        return [facts for event, facts in self.events if event == name]


def bucket(kind: Kind = Kind.REQUESTS, per_minute: int = 10, *, owner: str = "team:search", **more: Any) -> Bucket:
    return Bucket(owner, kind, more.pop("pattern", "*"), per_minute, **more)


def budget(dollars: float, *, owner: str = "team:search", **more: Any) -> Budget:
    return Budget(owner, round(dollars * 10**9), more.pop("per", "month"), **more)


def claim(*takes: tuple[Bucket, int], hold: str | None = None, **more: Any) -> Claim:
    """A claim of team `search` with key `prod`, under an id of its own."""
    return Claim(hold or f"gwr_{next(_numbers):024x}", "search", "prod", "main", takes, **more)


class Open(Protocol):
    def __call__(self, directory: Path | None = None, **options: Any) -> Awaitable[Ledger]: ...


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
async def redis_ledger(tmp_path: Path, valkey, heard: Heard) -> AsyncIterator[Callable[..., Awaitable[RedisLedger]]]:
    """Starts ledgers on one Redis; each is a process of its own to the store."""
    started: list[RedisLedger] = []

    async def start(directory: Path | None = None, *, url: str | None = None, **options: Any) -> RedisLedger:
        ledger = RedisLedger(url or valkey.url, directory or tmp_path, observer=heard, timeout_ms=1000, **options)
        await ledger.start()
        started.append(ledger)
        return ledger

    yield start
    for ledger in started:
        await ledger.stop()


@pytest.fixture(params=["embedded", "redis"])
async def open_ledger(request: pytest.FixtureRequest, tmp_path: Path, heard: Heard) -> AsyncIterator[Open]:
    """Starts a ledger of either kind; a directory may be given to start it where another one ended."""
    started: list[Ledger] = []

    async def start(directory: Path | None = None, **options: Any) -> Ledger:
        where = directory or tmp_path
        ledger: Ledger
        if request.param == "embedded":
            ledger = Embedded(where, observer=heard, **options)
        else:
            url = request.getfixturevalue("valkey").url
            ledger = RedisLedger(url, where, observer=heard, timeout_ms=1000, **options)
        await ledger.start()
        started.append(ledger)
        return ledger

    yield start
    for ledger in started:
        await ledger.stop()


@pytest.fixture
async def ledger(open_ledger: Open) -> Ledger:
    return await open_ledger()


@pytest.fixture
async def open_embedded(heard: Heard) -> AsyncIterator[Callable[..., Awaitable[Embedded]]]:
    """Starts embedded ledgers in a given directory."""
    started: list[Embedded] = []

    async def start(directory: Path, **options: Any) -> Embedded:
        ledger = Embedded(directory, observer=heard, **options)
        await ledger.start()
        started.append(ledger)
        return ledger

    yield start
    for ledger in started:
        await ledger.stop()
