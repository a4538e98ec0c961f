"""Runs a simulator: as a context in a test or a demo, or until it is told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiohttp import web

from gateway.simulator.app import WORLD, create_app
from gateway.simulator.options import Options
from gateway.simulator.world import World


class Running(NamedTuple):
    url: str
    world: World


@asynccontextmanager
async def running(options: Options | None = None, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Running]:
    """A simulator that listens while the context is open; port 0 takes a free one."""
    app = create_app(options)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        bound = runner.addresses[0][1]
        name = f"[{host}]" if ":" in host else host
        yield Running(f"http://{name}:{bound}", app[WORLD])
    finally:
        await runner.cleanup()


async def serve(
    host: str, port: int, *, options: Options | None = None, started: Callable[[str], None] | None = None
) -> None:
    """Serve until cancelled; `started` is called with the URL once it listens."""
    async with running(options, host, port) as simulator:
        if started:
            started(simulator.url)
        await asyncio.Event().wait()
