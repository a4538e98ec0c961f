"""The pipelined connection against servers that answer in every awkward way."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from gateway.store import batcher as batcher_module
from gateway.store.batcher import Batcher, ReplyError
from gateway.store.ledger import StoreDown

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., Awaitable[Batcher]]]:
    """`await connect(serve)`: a batcher on a server that does just what the function says."""
    opened: list[tuple[asyncio.Server, Batcher]] = []

    async def begin(serve: Serve, *, timeout: float = 5.0) -> Batcher:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await serve(reader, writer)
            finally:
                writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(lambda: Batcher(timeout), *server.sockets[0].getsockname())
        opened.append((server, made))
        return made

    yield begin
    for server, made in opened:
        made.close()
        server.close()


def replying(data: bytes, step: int = 1 << 20, read: int = 1) -> Serve:
    """Wait for so many commands, then answer in pieces of `step` bytes, each its own packet."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = b""
        while seen.count(b"PING") < read and (more := await reader.read(65536)):
            seen += more
        for at in range(0, len(data), step):
            writer.write(data[at : at + step])
            await writer.drain()
            await asyncio.sleep(0)
        await reader.read()

    return serve


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
async def test_answers_in_pieces(connect, step: int):
    """However the bytes are cut, each call gets its own answer."""
    data = b"+PONG\r\n:42\r\n$5\r\na\r\nbc\r\n$-1\r\n-ERR no\r\n*2\r\n:1\r\n$0\r\n\r\n"
    batcher = await connect(replying(data, step, read=6))
    answers = await asyncio.gather(*(batcher.call("PING") for _ in range(6)), return_exceptions=True)

    assert [b"PONG", 42, b"a\r\nbc", None, [1, b""]] == [a for a in answers if not isinstance(a, Exception)]
    assert ["ERR no"] == [str(a) for a in answers if isinstance(a, ReplyError)]


async def test_one_turn_is_one_write(connect):
    """Calls of one loop turn leave in one packet, in order."""
    packets: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        packets.append(await reader.read(65536))
        writer.write(b":1\r\n" * 3)
        await reader.read()

    batcher = await connect(serve)
    await asyncio.gather(*(batcher.call("SET", "k", n) for n in range(3)))

    assert [b"".join(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\n%d\r\n" % n for n in range(3))] == packets


async def test_a_caller_that_gives_up(connect):
    """Its answer is thrown away when it comes, and the others keep theirs."""
    batcher = await connect(replying(b":1\r\n:2\r\n:3\r\n", read=3))
    calls = [batcher.call("PING") for _ in range(3)]
    calls[1].cancel()

    assert (1, 3) == (await calls[0], await calls[2])
    assert 0 == batcher.waiting


async def test_a_late_answer_fails_its_caller_only(connect):
    """After the timeout the impatient fail, the patient wait on, and the connection lives."""
    go = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        await go.wait()
        writer.write(b":1\r\n:2\r\n")
        await reader.read(65536)
        writer.write(b":3\r\n")
        await reader.read()

    batcher = await connect(serve, timeout=0.02)
    hasty, patient = batcher.call("PING"), batcher.call("PING", patient=True)
    with pytest.raises(StoreDown, match="no answer within 20 ms"):
        await hasty
    assert batcher.stalled
    go.set()

    assert 2 == await patient
    assert not batcher.stalled
    assert 3 == await batcher.call("PING", patient=True)


async def test_silence(connect, monkeypatch):
    """A connection on which nothing comes for long is given up, and everybody on it is told."""
    monkeypatch.setattr(batcher_module, "DEAD_SECONDS", 0.05)
    batcher = await connect(replying(b"", read=9), timeout=0.01)
    told: list[str] = []
    batcher.lost = told.append
    with pytest.raises(StoreDown, match=r"no answer for 0\.05 s"):
        await batcher.call("PING", patient=True)

    assert ["no answer for 0.05 s"] == told
    with pytest.raises(StoreDown):
        await batcher.call("PING")


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+OK\r\n+ok too many\r\n", b"*-5\r\n", b"$x\r\n"]
)
async def test_not_a_redis_server(connect, data: bytes):
    """Bytes that are no answer, or an answer too many, end the connection instead of confusing the next call."""
    batcher = await connect(replying(data))
    told: list[str] = []
    batcher.lost = told.append
    await asyncio.gather(batcher.call("PING"), return_exceptions=True)
    async with asyncio.timeout(10):
        while not told:
            await asyncio.sleep(0.001)

    assert batcher.closed.startswith("not a Redis server")


@pytest.mark.parametrize("sent", [b"", b":1\r\n", b":1\r\n$5\r\nab"])
async def test_a_cut(connect, sent: bytes):
    """Whoever still waits when the connection breaks is told so; who had its answer keeps it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(sent)
        await writer.drain()

    batcher = await connect(serve)
    answers = await asyncio.gather(batcher.call("PING"), batcher.call("PING"), return_exceptions=True)

    assert [1] * sent.count(b":1") == [answer for answer in answers if answer == 1]
    assert 2 - sent.count(b":1") == sum(isinstance(answer, StoreDown) for answer in answers)
