"""Rehearses overload, an outage and a rotation on this machine and prints the figures of the promises. No test.

Run: python tests/bench/overload.py [refusals|outage|rotation|holdback ...]
Each takes some ten seconds; upstream, gateway and load share one process, so only the ratios mean something.
"""

import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from gateway.app import App, client_of, ledger_of
from gateway.core.overload.holdback import HoldBack
from gateway.core.teams import UpstreamKey
from gateway.policy import Loaded
from gateway.settings import Settings
from tests.proxy.conftest import ASK, KEY, policy_for
from tests.raw import RawClient, request
from tests.wire.scripted import Scripted, Step, Wire, answer, read_request

FINE = answer(b'{"usage":{"input_tokens":3,"output_tokens":5}}')
BODY = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}'
OVERLOADED = answer(BODY, b"529 Overloaded")
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
START = b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":1}}}\n\n'
STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


ASK_STREAM = ASK.replace(b'"max_tokens"', b'"stream": true, "max_tokens"')


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Claude:
    """An upstream that refuses at random, or altogether, and counts."""

    def __init__(self, refuse: float = 0.0, *, seed: int = 7) -> None:
        self.refuse = refuse
        self.dice = random.Random(seed)
        self.calls = 0
        self.finish = asyncio.Event()
        self.revoked: set[bytes] = set()
        self.pause = 0.0  # between a stream's head and its first event

    def script(self) -> list[Step]:
        read = read_request()

        async def step(wire: Wire) -> None:
            while True:
                await read(wire)
                received = wire.upstream.requests.pop()
                self.calls += 1
                if self.dice.random() < self.refuse:
                    wire.writer.write(OVERLOADED)
                elif received.values(b"x-api-key")[0] in self.revoked:
                    wire.writer.write(answer(BODY.replace(b"overloaded", b"authentication"), b"401 x"))
                elif b'"stream": true' in received.body:
                    wire.writer.write(STREAM)
                    if self.pause:
                        await wire.writer.drain()
                        await asyncio.sleep(self.pause)
                    wire.writer.write(chunk(START))
                    await self.finish.wait()
                    wire.writer.write(chunk(STOP) + b"0\r\n\r\n")
                else:
                    wire.writer.write(FINE)
                await wire.writer.drain()

        return [step]


@asynccontextmanager
async def gateway(upstream: str, **workspace: Any) -> AsyncIterator[App]:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(_env_file=None, port=0, ops_port=0, state_dir=Path(folder))
        log = structlog.wrap_logger(structlog.ReturnLogger(), processors=[_drop])
        app = App(
            settings, policy_for(upstream, workspace=workspace), lambda observer: ledger_of(settings, observer), log,
            client=client_of(settings, {}),
        )  # fmt: skip
        await app.start()
        try:
            yield app
        finally:
            hurry = asyncio.Event()
            hurry.set()
            await app.stop(hurry)


def _drop(*_: Any) -> Any:
    raise structlog.DropEvent


class Load:
    """So many requests a second from as many connections as that needs, whatever becomes of them."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.idle: list[RawClient] = []
        self.done: list[tuple[float, int, bool]] = []  # when, status, with retry-after

    async def one(self) -> None:
        client = self.idle.pop() if self.idle else await RawClient(self.port).__aenter__()
        got = await client.ask("POST", "/v1/messages", body=ASK, key=KEY)
        self.done.append((time.monotonic(), got.status, bool(got.values(b"retry-after"))))
        self.idle.append(client)

    async def run(self, per_second: float, seconds: float) -> None:
        began, count, running = time.monotonic(), 0, set[asyncio.Task[None]]()
        while time.monotonic() - began < seconds:
            while count < (time.monotonic() - began) * per_second:
                count += 1
                task = asyncio.create_task(self.one())
                running.add(task)
                task.add_done_callback(running.discard)
            await asyncio.sleep(0.002)
        await asyncio.gather(*running)

    async def close(self) -> None:
        for client in self.idle:
            await client.__aexit__()


@dataclass(frozen=True, slots=True)
class Refused:
    """What became of a load of which a fifth of all calls was refused."""

    share: float
    requests: int
    calls: int
    visible: int
    with_retry_after: int

    def __str__(self) -> str:
        promise = "<= 1.27 calls, < 1 %" if self.share == 0.25 else "<= 1.12 calls, about 12 %"
        return (
            f"20 % of calls refused, retry_budget {self.share}: {self.requests} requests, "
            f"{self.calls / self.requests:.3f} calls each, {self.visible / self.requests:.2%} visible, "
            f"{self.with_retry_after} of {self.visible} with retry-after ({promise})"
        )


async def refusals(share: float = 0.25, *, per_second: float = 250, seconds: float = 12) -> Refused:
    claude = Claude(0.2)
    async with Scripted(claude.script()) as upstream, gateway(upstream.url, retry_budget=share) as app:
        load = Load(app.port)
        await load.run(per_second, seconds)
        await load.close()
    failed = [after for _, status, after in load.done if status != 200]
    return Refused(share, len(load.done), claude.calls, len(failed), sum(failed))


@dataclass(frozen=True, slots=True)
class Outage:
    """What an outage saw of its load, and how long the gateway needed after it."""

    seconds: float
    offered: int
    calls: int
    back_after: float

    def __str__(self) -> str:
        return (
            f"{self.seconds:g} s without one answer: {self.calls} calls for {self.offered} requests offered, "
            f"{self.calls / self.offered:.3f} each (< 1.1); last failure {self.back_after:.2f} s after recovery (< 5)"
        )


async def outage(*, per_second: float = 100, before: float = 2, down: float = 10, after: float = 6) -> Outage:
    claude = Claude()
    async with Scripted(claude.script()) as upstream, gateway(upstream.url) as app:
        load = Load(app.port)
        await load.run(per_second, before)
        calls, offered = claude.calls, len(load.done)
        claude.refuse = 1.0
        await load.run(per_second, down)
        calls, offered = claude.calls - calls, len(load.done) - offered
        claude.refuse = 0.0
        ended = time.monotonic()
        await load.run(per_second, after)
        await load.close()
    bad = [at - ended for at, status, _ in load.done if at > ended and status != 200]
    return Outage(down, offered, calls, max(bad, default=0.0))


@dataclass(frozen=True, slots=True)
class Rotated:
    """Requests that failed while a secret was changed, and streams that ended well."""

    per_second: float
    requests: int
    failed: int
    streams: int
    whole: int

    def __str__(self) -> str:
        return (
            f"rotation under {self.per_second:g} requests/s: {self.failed} of {self.requests} requests failed, "
            f"{self.whole} of {self.streams} open streams ended well (0 failures)"
        )


async def rotation(*, per_second: float = 200, streams: int = 50, step: float = 1.0) -> Rotated:
    old, new = UpstreamKey("k1", "sk-ant-api03-old"), UpstreamKey("k1", "sk-ant-api03-new")
    claude = Claude()
    async with Scripted(claude.script()) as upstream, gateway(upstream.url, keys=(old,)) as app:
        open_streams = [await RawClient(app.port).__aenter__() for _ in range(streams)]
        for client in open_streams:
            client.send(request("POST", "/v1/messages", body=ASK_STREAM, key=KEY))
            await client.head()
            await client.chunk()
        load = Load(app.port)
        loading = asyncio.create_task(load.run(per_second, 4 * step))
        await asyncio.sleep(step)
        main = replace(app.policy.workspaces["main"], keys=(new,))
        app.adopt(Loaded(replace(app.policy, workspaces={"main": main}), (), {}))
        await asyncio.sleep(step)  # "within a second" is the promise; then the old key is revoked
        claude.revoked.add(old.secret.encode())
        await asyncio.sleep(step)
        claude.finish.set()
        whole = 0
        for client in open_streams:
            whole += await client.chunk() == STOP
            await client.__aexit__()
        await loading
        await load.close()
    failed = sum(status != 200 for _, status, _ in load.done)
    return Rotated(per_second, len(load.done), failed, streams, whole)


@dataclass(frozen=True, slots=True)
class Held:
    """Median seconds until a stream's first event: straight, through the gateway, and what judging it takes alone."""

    pause: float
    straight: float
    through: float
    judging: float

    def __str__(self) -> str:
        return (
            f"first event {self.pause * 1e3:g} ms behind its head: {self.straight * 1e3:.2f} ms straight, "
            f"{self.through * 1e3:.2f} ms through the gateway; judging it takes {self.judging * 1e6:.1f} us of that"
        )


async def holdback(pause: float = 0.0, *, times: int = 400) -> Held:
    claude = Claude()
    claude.pause = pause
    claude.finish.set()
    async with Scripted(claude.script()) as upstream, gateway(upstream.url) as app:
        straight = [await first_event(upstream.port) for _ in range(times // 4)]
        through = [await first_event(app.port) for _ in range(times)]
    return Held(pause, statistics.median(straight), statistics.median(through[times // 4 :]), judging())


def judging() -> float:
    began = time.perf_counter()
    for _ in range(10_000):
        HoldBack("messages").feed(START)
    return (time.perf_counter() - began) / 10_000


async def first_event(port: int) -> float:
    async with RawClient(port) as client:
        began = time.perf_counter()
        client.send(request("POST", "/v1/messages", body=ASK_STREAM, key=KEY))
        await client.head()
        await client.chunk()
        return time.perf_counter() - began


REHEARSALS: dict[str, Sequence[Callable[[], Awaitable[object]]]] = {
    "refusals": (partial(refusals, 0.25), partial(refusals, 0.10)),
    "outage": (outage,),
    "rotation": (rotation,),
    "holdback": (partial(holdback, 0.0), partial(holdback, 0.02)),
}


async def main(names: list[str]) -> None:
    for name in names or REHEARSALS:
        for rehearse in REHEARSALS[name]:
            print(await rehearse())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
