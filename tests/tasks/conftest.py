"""A gateway and a simulator in this process, real sockets between them; the gateway looks at its work often."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

from gateway.app import App, ledger_of
from gateway.core.limits import Budget
from gateway.core.periods import day_of
from gateway.settings import Settings
from gateway.simulator import Options, running
from gateway.simulator import Running as Simulator
from gateway.wire.client import HttpClient
from tests.proxy.conftest import KEY, _keep, _Lines, policy_for
from tests.raw import RawAnswer, RawClient

PACE = 0.02
PURSE = Budget("team:search", 1000 * 10**9, "month")
AGENTS = (b"anthropic-beta", b"managed-agents-2026-04-01")
DREAMS = (b"anthropic-beta", b"dreaming-2026-04-21")
VERSION = (b"anthropic-version", b"2023-06-01")

Amounts = dict[tuple[str, str], dict[str, int]]  # by model and route


@dataclass
class Gateway:
    """A started gateway, its simulator, and what it logged."""

    app: App
    simulator: Simulator
    lines: list[dict[str, Any]] = field(default_factory=list)

    async def ask(
        self, method: str, target: str, body: Any = None, *headers: tuple[bytes, bytes], key: str = KEY
    ) -> RawAnswer:
        data = b"" if body is None else msgspec.json.encode(body)
        async with RawClient(self.app.port) as client:
            return await client.ask(method, target, [VERSION, *headers], data, key=key)

    async def made(self, target: str, body: Any, *headers: tuple[bytes, bytes]) -> str:
        """The id of what a create made."""
        answer = await self.ask("POST", target, body, *headers)
        assert answer.status == 200, answer.body
        return str(answer.json["id"])

    async def rows(self) -> Amounts:
        today = day_of(int(time.time() * 1000))
        rows = await self.app._ledger.rows("day", today, today)
        return {(row.model, row.kind): dict(row.amounts) for row in rows}

    async def nano(self) -> int:
        return sum(amounts.get("nano", 0) for amounts in (await self.rows()).values())

    async def purse(self) -> tuple[int, int]:
        """What the team's budget has spent and held."""
        (standing,) = (await self.app._ledger.peek([], [PURSE])).standings
        return standing.spent_nano, standing.held_nano

    def billed(self, *objects: str) -> dict[str, int]:
        """The simulator's bill for these objects by model, in nano-dollars: exact, rounded once per model."""
        exact: dict[str, int] = {}
        for row in self.simulator.world.book.rows:
            if row.get("object_id") in objects:
                model = self.app.policy.canonical(row["model"])
                exact[model] = exact.get(model, 0) + row["exact_e4"]
        return {model: int(Fraction(parts, 10_000) + Fraction(1, 2)) for model, parts in exact.items()}

    async def done(self, id: str, seconds: float = 20.0) -> dict[str, Any]:
        """The log line that says what became of a piece of work."""
        async with asyncio.timeout(seconds):
            while True:
                for line in self.lines:
                    if line["event"] == "work_done" and line["id"] == id:
                        return line
                await asyncio.sleep(0.005)

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == event]

    def metric(self, name: str, **labels: str) -> float | None:
        return self.app.registry.get_sample_value(name, labels)


Start = Callable[..., Awaitable[Gateway]]


@pytest.fixture(params=["embedded", "redis"])
def store(request: pytest.FixtureRequest) -> str | None:
    """Where the store is; None for the embedded one."""
    return request.getfixturevalue("valkey").url if request.param == "redis" else None


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """`await start(simulator options…, store=…, team={…}, simulator=…, directory=…)`."""
    async with AsyncExitStack() as stack:
        count = 0

        async def begin(
            *,
            store: str | None = None,
            team: dict[str, Any] | None = None,
            simulator: Simulator | None = None,
            directory: Path | None = None,
            settings: dict[str, Any] | None = None,
            **options: Any,
        ) -> Gateway:
            nonlocal count
            count += 1
            if simulator is None:
                simulator = await stack.enter_async_context(running(Options(**{"batch_seconds": 0.05, **options})))
            chosen = Settings(
                _env_file=None, port=0, ops_port=0, state_dir=directory or tmp_path / f"state-{count}",
                redis_url=store, **{"store_timeout_ms": 1000, **(settings or {})},
            )  # fmt: skip
            lines: list[dict[str, Any]] = []
            log = structlog.wrap_logger(_Lines(lines), processors=[_keep])
            policy = policy_for(simulator.url, **{"budgets": (PURSE,), **(team or {})})
            app = App(chosen, policy, lambda observer: ledger_of(chosen, observer), log, client=HttpClient(), pace=PACE)
            await app.start()
            stack.push_async_callback(stop, app)
            return Gateway(app, simulator, lines)

        yield begin


async def stop(app: App) -> None:
    hurry = asyncio.Event()
    hurry.set()
    await app.stop(hurry)


def batch_of(*params: dict[str, Any]) -> dict[str, Any]:
    return {"requests": [{"custom_id": f"r{n}", "params": one} for n, one in enumerate(params)]}


def params(text: str = "Hello there.", model: str = "claude-opus-5", **more: Any) -> dict[str, Any]:
    return {"model": model, "max_tokens": 400, "messages": [{"role": "user", "content": text}], **more}
