"""Large and slow bodies: memory stays bounded, every buffered byte is given back, each body ends where it ends."""

import asyncio
import gc
import tracemalloc
import zlib
from collections.abc import Awaitable, Callable, Iterator
from gzip import compress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateway_process import GatewayProcess, gateway_process
from tests.proxy.conftest import ASK, KEY, Running, Start, starting
from tests.proxy.test_endings import DELTA, FINE, START, STREAM, chunk
from tests.raw import RawClient, request
from tests.sink import Sink, pattern
from tests.wire.scripted import Scripted, close, pause, read_head, read_request, send, serve, stall, tell, until

MIB = 1 << 20
# Growth that no buffering of a 500 MB file could hide in, and no allocator's mood exceeds.
BOUND = 60 * MIB
SIZE = 500_000_000
PIECE = pattern(256 * 1024)
Send = Callable[[GatewayProcess, RawClient], Awaitable[None]]


def pieces() -> Iterator[bytes]:
    """500 MB."""
    whole, rest = divmod(SIZE, len(PIECE))
    for _ in range(whole):
        yield PIECE
    yield PIECE[:rest]


def checksum() -> int:
    value = 0
    for piece in pieces():
        value = zlib.crc32(piece, value)
    return value


async def send_declared(gateway: GatewayProcess, client: RawClient) -> None:
    client.send(request("POST", "/v1/files", [(b"Content-Length", b"%d" % SIZE)], key=gateway.key))
    for piece in pieces():
        client.send(piece)
        await client.writer.drain()


async def send_chunked(gateway: GatewayProcess, client: RawClient) -> None:
    client.send(request("POST", "/v1/files", [(b"Transfer-Encoding", b"chunked")], key=gateway.key))
    for piece in pieces():
        client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await client.writer.drain()
    client.send(b"0\r\n\r\n")


@pytest.mark.parametrize("way", [send_declared, send_chunked])
async def test_500_mb_up(tmp_path: Path, way: Send) -> None:
    """A file of 500 MB reaches Claude byte for byte, and the process never holds more than a little of it."""
    async with Sink(checked=True) as upstream, gateway_process(tmp_path, upstream.url) as gateway:
        before = gateway.rss
        async with gateway.client() as client:
            await way(gateway, client)
            got = await client.answer()
        grown = gateway.peak - before

    assert got.status == 200
    assert [(taken.size, taken.checksum) for taken in upstream.taken] == [(SIZE, checksum())]
    assert grown < BOUND


async def test_500_mb_down(tmp_path: Path) -> None:
    """A file of 500 MB comes back whole, and the process never holds more than a little of it."""
    async with Sink() as upstream, gateway_process(tmp_path, upstream.url) as gateway:
        before, came = gateway.rss, 0
        async with gateway.client() as client:
            asked = [(b"x-sink", b"pour=%d" % SIZE)]
            client.send(request("GET", "/v1/files/file_1/content", asked, key=gateway.key))
            head = await client.head()
            while came < SIZE and (piece := await client.reader.read(MIB)):
                came += len(piece)
        grown = gateway.peak - before

    assert (head.value(b"content-length"), came) == (b"%d" % SIZE, SIZE)
    assert grown < BOUND


async def test_slow_readers(tmp_path: Path) -> None:
    """Clients that stop reading cost what their connections may hold, however much Claude would pour."""
    readers = 20
    async with Sink() as upstream, gateway_process(tmp_path, upstream.url) as gateway:
        before = gateway.rss
        clients = [gateway.client() for _ in range(readers)]
        for client in clients:
            await client.__aenter__()
            asked = [(b"x-sink", b"pour=%d" % SIZE)]
            client.send(request("GET", "/v1/files/file_1/content", asked, key=gateway.key))
            await client.head()
            client.hold()
        await until_steady(lambda: gateway.cpu_seconds)
        grown = gateway.peak - before
        for client in clients:
            client.abort()

    assert grown < BOUND


async def until_steady(look: Callable[[], float]) -> None:
    """Until a figure stands still for half a second."""
    last, same = look(), 0
    async with asyncio.timeout(30):
        while same < 10:
            await asyncio.sleep(0.05)
            now = look()
            same, last = (same + 1 if now == last else 0), now


async def test_silence_is_judged_by_the_first_byte_timeout_alone(start: Start) -> None:
    """Claude may think for long: no shorter timeout, of heads, bodies or idle streams, ends a call that is silent."""
    short = {"head_seconds": 0.2, "body_idle_seconds": 0.2, "idle_seconds": 0.2, "connect_seconds": 0.2}
    async with Sink() as upstream:
        gateway = await start(upstream.url, settings={**short, "first_byte_seconds": 60})
        got = await gateway.ask("POST", "/v1/messages", [(b"x-sink", b"silence=1.5")], ASK)

    assert got.status == 200


async def test_trickled_body(start: Start) -> None:
    """A body may come byte by byte: its idle timeout is about silence, not about how long it takes in all."""
    async with Scripted([serve(FINE)]) as upstream:
        gateway = await start(upstream.url, settings={"body_idle_seconds": 1.0})
        async with gateway.client() as client:
            client.send(request("POST", "/v1/messages", [(b"Content-Length", b"%d" % len(ASK))], key=KEY))
            for at in range(len(ASK)):
                client.send(ASK[at : at + 1])
                await asyncio.sleep(1.5 / len(ASK))
            got = await client.answer()

    assert (got.status, upstream.requests[0].body) == (200, ASK)


def framed(body: bytes, sizes: list[int]) -> bytes:
    """`body` in chunks of these sizes, then in one."""
    parts, at = [], 0
    for size in [*sizes, len(body)]:
        if piece := body[at : at + size]:
            parts.append(b"%x\r\n%b\r\n" % (len(piece), piece))
        at += size
    return b"".join([*parts, b"0\r\n\r\n"])


async def test_body_split_at_every_byte(start: Start) -> None:
    """Wherever a network cuts a request in two, Claude gets the same body."""
    declared = request("POST", "/v1/messages", body=ASK, key=KEY)
    chunked = request("POST", "/v1/messages", [(b"Transfer-Encoding", b"chunked")], key=KEY) + framed(ASK, [1, 40])
    async with Scripted([serve(FINE)]) as upstream:
        gateway = await start(upstream.url)

        async def ask(raw: bytes, cut: int) -> int:
            async with gateway.client() as client:
                client.send(raw[:cut])
                await asyncio.sleep(0.01)
                client.send(raw[cut:])
                return (await client.answer()).status

        for raw in (declared, chunked):
            for first in range(1, len(raw), 50):
                cuts = range(first, min(first + 50, len(raw)))
                assert await asyncio.gather(*(ask(raw, cut) for cut in cuts)) == [200] * len(cuts)

    assert {received.body for received in upstream.requests} == {ASK}
    assert len(upstream.requests) == len(declared) + len(chunked) - 2


async def test_pipelined_bodies(start: Start) -> None:
    """Requests sent without waiting are answered in order, each with its own body, however the bytes are cut."""
    bodies = [ASK[:-1] + b', "n": "%b"}' % (b"x" * size) for size in (1, 70_000, 3, 300_000, 2)]
    raw = b"".join(request("POST", "/v1/messages", body=body, key=KEY) for body in bodies)
    async with Scripted([serve(FINE)]) as upstream:
        gateway = await start(upstream.url)
        async with gateway.client() as client:
            for at in range(0, len(raw), 50_021):
                client.send(raw[at : at + 50_021])
                await client.writer.drain()
            statuses = [(await client.answer()).status for _ in bodies]

    assert statuses == [200] * len(bodies)
    assert [received.body for received in upstream.requests] == bodies


async def test_body_is_let_go_when_the_answer_begins(start: Start) -> None:
    """A body is kept while it may be sent again, and not for the hour that a stream may last."""
    arrived, answered, over = asyncio.Event(), asyncio.Event(), asyncio.Event()
    script = [
        read_request(),
        tell(arrived),
        until(answered),
        send(STREAM + chunk(START + DELTA)),
        until(over),
        send(b"0\r\n\r\n"),
    ]
    async with Scripted(script) as upstream:
        gateway = await start(upstream.url)
        async with gateway.client() as client:
            client.send(request("POST", "/v1/messages", body=ASK, key=KEY))
            await arrived.wait()
            silent = held(gateway)
            answered.set()
            await client.head()
            await client.chunk()
            streaming = held(gateway)
            over.set()
            assert await client.chunk() == b""

    assert (silent, streaming) == (len(ASK), 0)


def held(gateway: Running) -> int:
    return gateway.app._proxy._bodies.held


LARGE = ASK[:-1] + b', "n": "%b"}' % (b"x" * 200_000)
Ending = Callable[[Running], Awaitable[None]]


def leaving(raw: bytes, *, after: str = "") -> Ending:
    """A client that sends this and leaves: at once, or after the head of an answer."""

    async def end(gateway: Running) -> None:
        async with gateway.client() as client:
            client.send(raw)
            await client.writer.drain()
            if after == "head":
                await client.head()
            client.abort()

    return end


def staying(raw: bytes) -> Ending:
    """A client that sends this and reads its answer."""

    async def end(gateway: Running) -> None:
        async with gateway.client() as client:
            client.send(raw)
            await client.answer()

    return end


def post(body: bytes, *headers: tuple[bytes, bytes], declare: int = 0) -> bytes:
    framing = [(b"Content-Length", b"%d" % declare)] if declare else []
    raw = request("POST", "/v1/messages", [*headers, *framing], b"" if declare else body, key=KEY)
    return raw + body if declare else raw


CHUNKED = (b"Transfer-Encoding", b"chunked")
GZIP = (b"Content-Encoding", b"gzip")
SINK = b"x-sink"
ENDINGS: dict[str, Ending] = {
    "fine": staying(post(LARGE)),
    "fine-gzip": staying(post(compress(LARGE), GZIP)),
    "fine-chunked": staying(request("POST", "/v1/messages", [CHUNKED], key=KEY) + framed(LARGE, [9, 9000])),
    "no-json": staying(post(LARGE[:-1])),
    "no-gzip": staying(post(LARGE, GZIP)),
    "bomb": staying(post(compress(bytes(40 << 20)), GZIP)),
    "over-the-cap": staying(post(b"", declare=31 << 20)),
    "broken-chunk": staying(request("POST", "/v1/messages", [CHUNKED], key=KEY) + framed(LARGE, [])[:-5] + b"zz\r\n"),
    "body-stops": staying(post(LARGE, declare=len(LARGE) + 1)),
    "leaves-in-the-body": leaving(post(LARGE, declare=len(LARGE) + 1)),
    "leaves-in-a-gzip-body": leaving(post(compress(LARGE)[:-9], GZIP, declare=len(compress(LARGE)))),
    "leaves-in-a-chunk": leaving(request("POST", "/v1/messages", [CHUNKED], key=KEY) + framed(LARGE, [])[:9000]),
    "leaves-before-the-answer": leaving(post(LARGE, (SINK, b"silence=5"))),
    "leaves-in-the-answer": leaving(post(LARGE, (SINK, b"stream=0.05")), after="head"),
    "claude-is-too-slow": staying(post(LARGE, (SINK, b"silence=5"))),
}


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.sampled_from(sorted(ENDINGS)), min_size=1, max_size=8))
def test_every_ending_gives_the_bytes_back(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    """However requests end, alone or side by side, not one byte stays accounted for."""
    asyncio.run(endings(tmp_path_factory, names))


def test_each_ending_gives_the_bytes_back(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The same for each ending there is, all at once."""
    asyncio.run(endings(tmp_path_factory, sorted(ENDINGS)))


async def endings(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    short = {"body_idle_seconds": 0.3, "first_byte_seconds": 0.3, "max_buffered_bytes": 24 << 20}
    async with Sink() as upstream, starting(tmp_path_factory.mktemp("state")) as start:
        gateway = await start(upstream.url, settings=short)
        await asyncio.gather(*(ENDINGS[name](gateway) for name in names))
        await gateway.requests(len(names))

        assert held(gateway) == 0
        assert gateway.metric("gateway_in_flight_requests", team="search") in (0, None)


@pytest.mark.parametrize("name", sorted(ENDINGS))
async def test_body_goes_with_its_request(start: Start, name: str) -> None:
    """A body is freed when its request is over, not when the collector finds the frames of an error that hold it."""
    short = {"body_idle_seconds": 0.2, "first_byte_seconds": 0.2, "max_buffered_bytes": 24 << 20}
    async with Sink() as upstream:
        gateway = await start(upstream.url, settings=short)
        await ENDINGS[name](gateway)  # once for what is made on first use
        await gateway.requests(1)
        gc.collect()
        gc.disable()
        tracemalloc.start()
        try:
            await asyncio.gather(*(ENDINGS[name](gateway) for _ in range(5)))
            await gateway.requests(6)
            await asyncio.sleep(0.02)
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            gc.enable()

    assert kept < len(LARGE)


async def test_upload_that_claude_cuts_short(start: Start) -> None:
    """When Claude breaks off an upload the client hears of it at once, and the connection takes no rest of the body."""
    async with Scripted([read_head(), pause(0.05), close()]) as upstream:
        gateway = await start(upstream.url)
        async with gateway.client() as client:
            client.send(request("POST", "/v1/files", [(b"Content-Length", b"%d" % (1 << 20))], key=KEY) + b"x" * 1000)
            got = await client.answer()

    assert got.error[:2] == (502, "api_error")
    assert got.value(b"connection") == b"close"


async def test_upload_while_claude_does_not_read(start: Start) -> None:
    """A Claude that takes nothing holds the client back: nothing piles up in between."""
    async with Scripted([read_head(), stall()], buffer=64 * 1024) as upstream:
        gateway = await start(upstream.url)
        async with gateway.client() as client:
            client.send(request("POST", "/v1/files", [(b"Content-Length", b"%d" % (64 << 20))], key=KEY))
            sent = 0

            async def push() -> None:
                nonlocal sent
                while sent < 64 << 20:
                    client.send(PIECE)
                    await client.writer.drain()
                    sent += len(PIECE)

            pushing = asyncio.create_task(push())
            await until_steady(lambda: sent)
            pushing.cancel()
            client.abort()

    assert 0 < sent < 16 << 20
