"""What most tests send."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import aiohttp
import msgspec

Seen = TypeVar("Seen")
MODEL = "claude-opus-5"
HELLO: list[Any] = [{"role": "user", "content": "Hello there."}]


def body(text: str = "Hello there.", **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "max_tokens": 400, "messages": [{"role": "user", "content": text}], **more}


async def post(http: aiohttp.ClientSession, path: str, value: Any, **headers: str) -> tuple[int, Any]:
    """Status and decoded JSON."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    async with http.post(path, json=value, headers=named) as answer:
        return answer.status, msgspec.json.decode(await answer.read())


async def get(http: aiohttp.ClientSession, path: str, **headers: str) -> tuple[int, Any]:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    async with http.get(path, headers=named) as answer:
        return answer.status, msgspec.json.decode(await answer.read())


def events(raw: bytes) -> list[tuple[str, Any]]:
    """Names and data of the events of a stream."""
    found = []
    for block in raw.decode().split("\n\n"):
        if block:
            name, data = block.split("\n", 1)
            found.append((name.removeprefix("event: "), msgspec.json.decode(data.removeprefix("data: "))))
    return found


async def stream(http: aiohttp.ClientSession, value: Any, **headers: str) -> list[tuple[str, Any]]:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    async with http.post("/v1/messages", json={**value, "stream": True}, headers=named) as answer:
        return events(await answer.read())


async def bill(http: aiohttp.ClientSession) -> Any:
    return (await get(http, "/_simulator/bill"))[1]


async def until(read: Callable[[], Awaitable[Seen]], done: Callable[[Seen], bool]) -> Seen:
    """Read again and again until it is done, for ten seconds at most."""
    async with asyncio.timeout(10):
        while True:
            seen = await read()
            if done(seen):
                return seen
            await asyncio.sleep(0.01)
