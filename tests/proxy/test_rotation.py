"""Rotating a real key under load: nobody notices."""

import asyncio
from dataclasses import replace

from gateway.core.teams import UpstreamKey
from gateway.policy import Loaded
from tests.proxy.conftest import ASK, KEY, Running, Start
from tests.proxy.test_keys import events
from tests.proxy.test_retry import START, STOP, STREAM
from tests.raw import request
from tests.until import until
from tests.wire.scripted import Scripted, Step, Wire, answer, read_request

OLD, NEW = UpstreamKey("k1", "sk-ant-api03-old"), UpstreamKey("k1", "sk-ant-api03-new")
ASK_STREAM = ASK.replace(b'"max_tokens"', b'"stream": true, "max_tokens"')


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def claude(revoked: set[bytes], finish: asyncio.Event) -> Step:
    """Streams begin at once and end when told; a revoked key is refused, as it is at Claude."""
    read = read_request()

    async def step(wire: Wire) -> None:
        while True:
            await read(wire)
            received = wire.upstream.requests[-1]
            if received.values(b"x-api-key")[0] in revoked:
                wire.writer.write(answer(b'{"type":"error","error":{"type":"authentication_error"}}', b"401 x"))
            elif b'"stream": true' in received.body:
                wire.writer.write(STREAM + chunk(START))
                await finish.wait()
                wire.writer.write(chunk(STOP) + b"0\r\n\r\n")
            else:
                wire.writer.write(answer(b'{"usage":{"input_tokens":3,"output_tokens":5}}'))
            await wire.writer.drain()

    return step


async def stream(gateway: Running, begun: asyncio.Event) -> bytes:
    async with gateway.client() as client:
        client.send(request("POST", "/v1/messages", body=ASK_STREAM, key=KEY))
        await client.head()
        first = await client.chunk()
        begun.set()
        return first + await client.chunk() + await client.chunk()


async def test_a_changed_secret_under_load(start: Start) -> None:
    """New requests use the new secret at once, open streams finish on the old one, and not one request fails; the old
    key is said to be silent when its last stream has ended."""
    finish, revoked = asyncio.Event(), set[bytes]()
    async with Scripted([claude(revoked, finish)]) as upstream:
        gateway = await start(upstream.url, workspace={"keys": (OLD,)})
        begun = [asyncio.Event() for _ in range(10)]
        streams = [asyncio.create_task(stream(gateway, each)) for each in begun]
        for each in begun:
            await each.wait()
        calls: list[int] = []
        running = True

        async def load() -> None:
            async with gateway.client() as client:
                while running:
                    calls.append((await client.ask("POST", "/v1/messages", body=ASK, key=KEY)).status)

        loads = [asyncio.create_task(load()) for _ in range(4)]
        await until(lambda: len(calls) > 20)
        policy = gateway.app.policy
        main = replace(policy.workspaces["main"], keys=(NEW,))
        gateway.app.adopt(Loaded(replace(policy, workspaces={"main": main}), (), {}))
        marked = len(upstream.requests)
        await asyncio.sleep(0.05)  # what was on its way with the old key arrives
        revoked.add(OLD.secret.encode())
        before = len(calls)
        await until(lambda: len(calls) > before + 40)
        still_there = events(gateway, "key_silent")
        finish.set()
        bodies = await asyncio.gather(*streams)
        running = False
        await asyncio.gather(*loads)
        await until(lambda: events(gateway, "key_silent"))

    assert {200} == set(calls)
    assert [START + STOP] * 10 == bodies
    assert [] == still_there
    late = [each.values(b"x-api-key")[0] for each in upstream.requests[marked + 4 :]]
    assert {b"sk-ant-api03-new"} == set(late)
    assert [("main", "k1")] == [(line["workspace"], line["key"]) for line in events(gateway, "key_silent")]
