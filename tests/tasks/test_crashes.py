"""kill -9 between each two steps of a batch's and a session's life: what is booked in the end, and that it is once."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.simulator import Options, running
from gateway.simulator import Running as Simulator
from tests.proxy.conftest import KEY
from tests.raw import RawAnswer, RawClient
from tests.tasks.conftest import AGENTS, VERSION, Gateway, batch_of, params, stop
from tests.tasks.process import opened

ROOT = Path(__file__).parents[2]
HAIKU = "claude-haiku-4-5"


class Child:
    """A gateway that stops dead before a step, and is killed there."""

    def __init__(self, port: int, process: asyncio.subprocess.Process) -> None:
        self._port = port
        self._process = process

    async def ask(self, method: str, target: str, body: Any = None, *headers: tuple[bytes, bytes]) -> RawAnswer | None:
        """The answer; None when the process was stopped before it came."""
        data = b"" if body is None else msgspec.json.encode(body)
        asking = asyncio.create_task(self._ask(method, target, [VERSION, *headers], data))
        halting = asyncio.create_task(self.halted())
        await asyncio.wait([asking, halting], return_when=asyncio.FIRST_COMPLETED)
        if asking.done():
            halting.cancel()
            return asking.result()
        asking.cancel()
        return None

    async def _ask(self, method: str, target: str, headers: Any, data: bytes) -> RawAnswer:
        async with RawClient(self._port) as client:
            return await client.ask(method, target, headers, data, key=KEY)

    async def halted(self) -> None:
        assert self._process.stdout is not None
        if not hasattr(self, "_line"):
            self._line = asyncio.create_task(self._process.stdout.readline())
        async with asyncio.timeout(20):
            assert b"halted\n" == await asyncio.shield(self._line)


@contextlib.asynccontextmanager
async def child(simulator: Simulator, store: str, directory: Path, step: str, nth: int) -> AsyncIterator[Child]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.tasks.process", simulator.url, store, str(directory), step, str(nth),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            port = int(await process.stdout.readline())
        yield Child(port, process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def survivor(simulator: Simulator, store: str, directory: Path) -> AsyncIterator[Gateway]:
    lines: list[dict[str, Any]] = []
    app = opened(simulator.url, store, directory, lines)
    await app.start()
    yield Gateway(app, simulator, lines)
    await stop(app)


@pytest.fixture(params=["embedded", "redis"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path, Path]:
    """The store, the directory of the one that dies, and that of the one that takes over; on Redis on two machines."""
    if request.param == "embedded":
        return "", tmp_path, tmp_path
    return request.getfixturevalue("valkey").url, tmp_path / "dead", tmp_path / "other"


async def all_done(gateway: Gateway) -> None:
    """Wait until nothing is on the list."""
    async with asyncio.timeout(20):
        while (await gateway.app._tasks._work.counts()).by_kind:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("step", "nth", "expected"),
    [
        pytest.param("work.add", 1, "nothing", id="before anything"),
        pytest.param("ledger.reserve", 1, "nothing", id="between the announcement and the hold"),
        pytest.param("work.bind", 1, "estimate", id="between Claude's answer and its name"),
        pytest.param("ledger.leave", 1, "exact", id="between its name and the answer to the client"),
        pytest.param("work.keep", 1, "exact", id="between the results and writing down what they cost"),
        pytest.param("ledger.finish", 1, "exact", id="between writing it down and the first booking"),
        pytest.param("ledger.confirm", 1, "exact", id="between the first booking and its confirmation"),
        pytest.param("ledger.book", 1, "exact", id="between the bookings of two models"),
        pytest.param("ledger.confirm", 2, "exact", id="between the last booking and its confirmation"),
        pytest.param("work.done", 1, "exact", id="between the last booking and taking it off the list"),
    ],
)
async def test_a_batch(places: tuple[str, Path, Path], step: str, nth: int, expected: str) -> None:
    """Booked once, exactly, by whoever is left; estimated only where nobody can know that it exists."""
    await life_of_a_batch(places, step, nth, expected)


async def test_a_journal_that_is_found(valkey, tmp_path: Path) -> None:
    """What the dead one had journalled and perhaps sent is sent again by its neighbour, and counts once."""
    await life_of_a_batch((valkey.url, tmp_path, tmp_path), "ledger.confirm", 1, "exact")


async def life_of_a_batch(places: tuple[str, Path, Path], step: str, nth: int, expected: str) -> None:
    store, dead, other = places
    async with running(Options(batch_seconds=0.05)) as simulator:
        async with child(simulator, store, dead, step, nth) as gateway:
            body = batch_of(params("One."), params("Two.", HAIKU), params("Three."))
            await gateway.ask("POST", "/v1/messages/batches", body)
            await gateway.halted()
        async with survivor(simulator, store, other) as after:
            await all_done(after)
            batches = list(simulator.world.workspace("default").of("message_batch"))
            bill = sum(after.billed(*batches).values())
            rows = (await after.rows()).values()
            estimated = sum(row.get("estimated_requests", 0) for row in rows)
            spent, held = await after.purse()

    assert 0 == held
    assert spent == sum(row.get("nano", 0) for row in rows)
    if expected == "exact":
        assert (bill, 0) == (spent, estimated)
    else:
        assert (expected == "estimate", len(batches)) == (spent > 0, estimated)


@pytest.mark.parametrize(
    ("step", "nth"),
    [
        pytest.param("work.keep", 1, id="between reading and writing down what it grew by"),
        pytest.param("ledger.book", 1, id="between writing it down and booking"),
        pytest.param("ledger.confirm", 1, id="between booking and the confirmation"),
        pytest.param("work.let", 3, id="between booking and moving the watermark"),
        pytest.param("ledger.finish", 1, id="before the hold is let go"),
        pytest.param("work.done", 1, id="before it is taken off the list"),
    ],
)
async def test_a_session(places: tuple[str, Path, Path], step: str, nth: int) -> None:
    """Each turn is charged once, whatever the gateway died of in the middle."""
    store, dead, other = places
    async with running(Options()) as simulator:
        async with child(simulator, store, dead, step, nth) as gateway:
            agent = await gateway.ask("POST", "/v1/agents", {"name": "a", "model": "claude-opus-5"}, AGENTS)
            environment = await gateway.ask("POST", "/v1/environments", {"name": "e"}, AGENTS)
            assert agent is not None
            assert environment is not None
            body = {"agent": agent.json["id"], "environment_id": environment.json["id"]}
            made = await gateway.ask("POST", "/v1/sessions", body, AGENTS)
            assert made is not None
            session = made.json["id"]
            path = f"/v1/sessions/{session}"
            say = {"events": [{"type": "user.message", "content": [{"type": "text", "text": "Work."}]}]}
            await gateway.ask("POST", f"{path}/events", say, AGENTS)
            if step in ("ledger.finish", "work.done"):
                await gateway.ask("POST", f"{path}/archive", {}, AGENTS)
            await gateway.halted()
        async with survivor(simulator, store, other) as after:
            await after.ask("POST", f"{path}/events", say, AGENTS)
            await after.ask("POST", f"{path}/archive", {}, AGENTS)
            await after.app._tasks._nudge(session)
            await all_done(after)
            rows = await after.rows()
            purse = await after.purse()
            bill = sum(after.billed(session).values())

    assert (bill, 0) == purse
    assert [bill] == [row["nano"] for row in rows.values()]
