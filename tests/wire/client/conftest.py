"""The suite's two doors: `make_client` (the client under test) and `scripted` (an upstream that plays a script).

Both end with the test and look for what was left behind: tasks, connections, mistakes of a script. Every asynchronous
test of this folder runs on asyncio's own loop and on uvloop, because their transports differ where it hurts: when
reading is paused, when a peer resets, at the end of TLS.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest
import trustme
import uvloop

from gateway.core.http import Client
from gateway.wire.client import HttpClient
from gateway.wire.dial import tls_context
from gateway.wire.pool import PoolLimits
from tests.wire.client.asking import Tls
from tests.wire.scripted import Scripted, Step

LEAVE_WITHIN = 5.0


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def our_client(**options: Any) -> HttpClient:
    """Options by the names of PoolLimits, and `tls`, `proxies`."""
    rest = {name: options.pop(name) for name in ("tls", "proxies") if name in options}
    return HttpClient(limits=PoolLimits(**options), **rest)


@pytest.fixture(params=[our_client], ids=["own"])
async def make_client(request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Client]]:
    made: list[Client] = []

    def make(**options: Any) -> Client:
        made.append(request.param(**options))
        return made[-1]

    before = asyncio.all_tasks()
    yield make
    for client in made:
        await client.close()
    async with asyncio.timeout(LEAVE_WITHIN):
        while left := {task for task in asyncio.all_tasks() - before if not task.done() and _ours(task)}:
            await asyncio.wait(left)


def _ours(task: "asyncio.Task[Any]") -> bool:
    return "Scripted" not in repr(task.get_coro()) and task is not asyncio.current_task()


@pytest.fixture
async def scripted(make_client: object) -> AsyncIterator[Callable[..., Awaitable[Scripted]]]:
    """Ends before the client does; a test that wants every socket closed says `await upstream.settled()` itself."""
    running: list[Scripted] = []

    async def start(*scripts: Sequence[Step], **options: Any) -> Scripted:
        running.append(await Scripted(*scripts, **options).__aenter__())
        return running[-1]

    yield start
    for upstream in running:
        await upstream.__aexit__()
    assert [] == [fault for upstream in running for fault in upstream.faults]


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def tls(authority: trustme.CA) -> Tls:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "claude.test").configure_cert(server)
    server.set_alpn_protocols(["h2", "http/1.1"])
    client = tls_context()
    authority.configure_trust(client)
    return Tls(server, client)
