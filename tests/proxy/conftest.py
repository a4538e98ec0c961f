"""A gateway in this process: the production listener, the production client, real sockets on both sides."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

from gateway.app import App, client_of, ledger_of
from gateway.core.http import Headers
from gateway.core.teams import GatewayKey, Policy, Team, UpstreamKey, Workspace
from gateway.policy import assemble
from gateway.prices_file import default_table
from gateway.settings import Settings
from tests.raw import RawAnswer, RawClient

KEY = "gwk_test_of_team_search"
PRICES = default_table()
OTHER_KEY = "gwk_test_of_team_billing"
REAL_KEY = "sk-ant-api03-real-key-of-the-workspace"
ASK = b'{"model": "claude-opus-5", "max_tokens": 16, "messages": [{"role": "user", "content": "Hi"}]}'


@dataclass
class Running:
    """A started gateway, and what it logged."""

    app: App
    lines: list[dict[str, Any]] = field(default_factory=list)

    @property
    def port(self) -> int:
        return self.app.port

    def client(self) -> RawClient:
        return RawClient(self.port)

    async def ask(
        self, method: str, target: str, headers: Headers | None = None, body: bytes = b"", key: str | None = KEY
    ) -> RawAnswer:
        async with self.client() as client:
            return await client.ask(method, target, headers, body, key=key)

    async def requests(self, count: int) -> list[dict[str, Any]]:
        """The log lines of the requests so far, when there are `count` of them."""
        async with asyncio.timeout(10):
            while len(found := [line for line in self.lines if line["event"] == "request"]) < count:
                await asyncio.sleep(0.01)
        return found

    def metric(self, name: str, **labels: str) -> float | None:
        return self.app.registry.get_sample_value(name, labels)


Start = Callable[..., Awaitable[Running]]


def policy_for(
    base_url: str, *, workspace: dict[str, Any] | None = None, others: tuple[Workspace, ...] = (), **team: Any
) -> Policy:
    """Two teams on one workspace with one real key; `workspace` changes it, `others` stand beside it."""
    main = replace(Workspace("main", base_url=base_url, keys=(UpstreamKey("k1", REAL_KEY),)), **(workspace or {}))
    places = {place.name: place for place in (main, *others)}
    search = Team("search", "main", keys=(GatewayKey("prod", sha256(KEY.encode()).digest()),))
    billing = Team("billing", "main", keys=(GatewayKey("prod", sha256(OTHER_KEY.encode()).digest()),))
    policy = assemble("test", places, {"search": replace(search, **team), "billing": billing})
    return replace(policy, prices=PRICES, known_models=frozenset(PRICES.rows))


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """`await start(upstream.url, policy changes of team search…, settings=…)`."""
    async with starting(tmp_path) as begin:
        yield begin


@asynccontextmanager
async def starting(directory: Path) -> AsyncIterator[Start]:
    """The same for a test with a loop of its own; what was started is stopped at the end."""
    started: list[Running] = []

    async def begin(
        upstream: str, *, settings: dict[str, Any] | None = None, env: Mapping[str, str] | None = None, **team: Any
    ) -> Running:
        chosen = Settings(
            _env_file=None, port=0, ops_port=0, state_dir=directory / str(len(started)), **(settings or {})
        )
        running = Running(None)  # type: ignore[arg-type]  # filled in below: the log needs it first
        log = structlog.wrap_logger(_Lines(running.lines), processors=[_keep])
        client = client_of(chosen, env or {})
        running.app = App(
            chosen, policy_for(upstream, **team), lambda observer: ledger_of(chosen, observer), log, client=client
        )
        await running.app.start()
        started.append(running)
        return running

    try:
        yield begin
    finally:
        for running in started:
            hurry = asyncio.Event()
            hurry.set()
            await running.app.stop(hurry)


class _Lines:
    """A logger that keeps its lines."""

    def __init__(self, lines: list[dict[str, Any]]) -> None:
        self._lines = lines

    def info(self, **line: Any) -> None:
        self._lines.append(line)

    warning = error = info


def _keep(logger: Any, level: str, line: MutableMapping[str, Any]) -> dict[str, Any]:
    # Through JSON, so that a fact that could not be logged fails here.
    return {"level": level, **msgspec.json.decode(msgspec.json.encode(line))}
