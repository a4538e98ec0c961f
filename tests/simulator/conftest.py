"""A simulator on a real socket per test, a bare HTTP session, and the official SDK pointed at it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import anthropic
import pytest

from gateway.simulator import Options, Running, running

KEY = {"x-api-key": "ws-search-0001", "anthropic-version": "2023-06-01"}

Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts a simulator with these options: `await start(latency=1.0)`."""
    async with AsyncExitStack() as stack:

        async def begin(**options: Any) -> Running:
            return await stack.enter_async_context(running(Options(**options)))

        yield begin


@pytest.fixture
async def simulator(start: Start) -> Running:
    return await start(batch_seconds=0.05, dream_seconds=0.05)


@pytest.fixture
async def http(simulator: Running) -> AsyncIterator[aiohttp.ClientSession]:
    """Bare HTTP with a key of workspace `search`."""
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(simulator.url, headers=KEY, auto_decompress=False, timeout=timeout) as session:
        yield session


@pytest.fixture
async def claude(simulator: Running) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """The official SDK with a key of workspace `search`, without retries."""
    async with anthropic.AsyncAnthropic(base_url=simulator.url, api_key="ws-search-0002", max_retries=0) as client:
        yield client


@pytest.fixture
async def other(simulator: Running) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """The same for workspace `ads`."""
    async with anthropic.AsyncAnthropic(base_url=simulator.url, api_key="ws-ads-0001", max_retries=0) as client:
        yield client
