"""Streams that test a relay: big, slow, compressed, broken, left, many at once."""

import asyncio
import hashlib
import time
from typing import Any

import anthropic

from tests.conformance.clients.python_sdk.seen import HELLO, LONG, MODEL, outcome_of, probe, raised, seen, under


@probe
def big_stream(client: Any) -> Any:
    """Thousands of events, by number and digest."""
    text, count = hashlib.sha256(), 0
    for event in client.messages.create(model=MODEL, max_tokens=20_000, messages=LONG, stream=True):
        count += 1
        if event.type == "content_block_delta":
            text.update(event.delta.text.encode())
    return {"events": count, "text": text.hexdigest()}


@probe
def slow_stream(client: Any) -> Any:
    """Events reach the caller one by one as they are made, not all at the end."""
    asked = {"model": MODEL, "max_tokens": 40, "messages": HELLO, **under("slow_drip=0.1")}
    arrived: list[float] = []
    kinds = []
    for event in client.messages.create(**asked, stream=True):
        kinds.append(event.type)
        arrived.append(time.monotonic())
    return {"events": kinds, "one by one": arrived[-1] - arrived[0] > 0.1 * len(arrived) / 2}


@probe
def compressed(client: Any) -> Any:
    """Answers that arrive gzipped: plain, streamed event by event, and an error."""
    asked = {"model": MODEL, "max_tokens": 60, "messages": HELLO}
    plain = client.messages.with_raw_response.create(**asked, **under("gzip"))
    with client.messages.stream(**asked, **under("gzip")) as answer:
        streamed = seen(answer.get_final_message())
    return {
        "encoding": plain.headers.get("content-encoding"),
        "plain": seen(plain.parse()),
        "streamed": streamed,
        "error": outcome_of(lambda: client.messages.create(**asked, **under("gzip, error"))),
    }


def watched(client: Any, fault: str) -> tuple[list[str], Exception | None]:
    """The events of a stream under a fault, and what ended it."""
    asked = {"model": MODEL, "max_tokens": 400, "messages": HELLO, **under(fault)}
    kinds: list[str] = []
    try:
        for event in client.messages.create(**asked, stream=True):
            kinds.append(event.type)  # noqa: PERF401 - what came before the exception counts
    except Exception as error:  # noqa: BLE001 - the SDK lets its HTTP library's own through when a body breaks off
        return kinds, error
    return kinds, None


@probe
def broken_streams(client: Any, fault: str) -> Any:
    """What was seen before the stream broke, and the exception that tells."""
    kinds, error = watched(client, fault)
    return {"events": kinds, "raised": error and raised(error)}


@probe
def cut_stream(client: Any) -> Any:
    """A connection that dies in mid-stream: some exception, never a message that looks whole."""
    kinds, error = watched(client, "cut=4")
    return {"events": kinds, "whole": error is None}


@probe
def left_midway(client: Any) -> Any:
    """The caller closes the stream after the first words."""
    asked = {"model": MODEL, "max_tokens": 4000, "messages": LONG, **under("slow_drip=0.05")}
    with client.messages.stream(**asked) as answer:
        return next(event.type for event in answer if event.type == "content_block_delta")


def asynchronously(client: Any) -> anthropic.AsyncAnthropic:
    """The asynchronous twin of a client."""
    return anthropic.AsyncAnthropic(base_url=client.base_url, api_key=client.api_key, max_retries=0, timeout=30)


@probe
def left_before_the_first_byte(client: Any) -> Any:
    """A task of an asyncio program is cancelled while it waits for the head of the answer."""

    async def leave() -> str:
        async with asynchronously(client) as other:
            call: Any = other.messages.create
            asked = {"model": MODEL, "max_tokens": 400, "messages": HELLO}
            task = asyncio.create_task(call(**asked, **under("slow_first_byte=20")))
            await asyncio.sleep(0.5)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                return "cancelled"
            return "answered"

    return asyncio.run(leave())


@probe
def asynchronous(client: Any) -> Any:
    """Twenty calls and streams at once over one asynchronous client."""

    async def both(client: Any, n: int) -> Any:
        asked = {"model": MODEL, "max_tokens": 40, "messages": [{"role": "user", "content": f"Number {n}."}]}
        async with client.messages.stream(**asked) as answer:
            streamed = seen(await answer.get_final_message())
        return [seen(await client.messages.create(**asked)), streamed]

    async def all_at_once() -> Any:
        async with asynchronously(client) as other:
            return await asyncio.gather(*(both(other, n) for n in range(20)))

    return asyncio.run(all_at_once())
