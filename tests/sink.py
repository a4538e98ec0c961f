"""An upstream for large bodies: takes any size at full speed, keeps none of it, and answers as the request asks.

The request header `x-sink` says how: `pour=BYTES` (a download), `silence=SECONDS` before a small answer, or
`stream=SECONDS` between the events of a stream without end. Without it, a small message.

Run: python -m tests.sink (prints its URL and serves until its stdin closes)
"""

import asyncio
import contextlib
import sys
import zlib
from dataclasses import dataclass, field
from typing import Self

import httptools

MESSAGE = (
    b'{"id":"msg_1","type":"message","role":"assistant","model":"claude-opus-5","content":[],'
    b'"usage":{"input_tokens":1,"output_tokens":1}}'
)
EVENT = b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"text":"' + b"x" * 40 + b'"}}\n\n'
_PIECE = bytes(256 * 1024)


def pattern(size: int) -> bytes:
    """Bytes whose checksum notices a lost, doubled or moved slice."""
    return b"".join(b"%015d\n" % number for number in range(-(-size // 16)))[:size]


@dataclass
class Taken:
    """One request, and of its body how much there was and its checksum."""

    line: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    size: int = 0
    checksum: int = 0


@dataclass
class Sink:
    """Use as `async with`; what came stands in `taken`."""

    checked: bool = False
    taken: list[Taken] = field(default_factory=list)
    url: str = ""

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self.connections: set[_Connection] = set()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, backlog=2048)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for connection in list(self.connections):
            await connection.abort()


class _Connection(asyncio.Protocol):
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._parser = httptools.HttpRequestParser(self)
        self._asked: dict[str, float] = {}
        self._body = Taken()
        self._writable = asyncio.Event()
        self._writable.set()
        self._answering: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._sink.connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._sink.connections.discard(self)
        if self._answering is not None:
            self._answering.cancel()

    async def abort(self) -> None:
        self._transport.abort()
        if self._answering is not None:
            self._answering.cancel()
            await asyncio.wait([self._answering])

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # httptools

    def on_message_begin(self) -> None:
        self._asked, self._body = {}, Taken()
        self._sink.taken.append(self._body)

    def on_url(self, target: bytes) -> None:
        self._body.line = f"{self._parser.get_method().decode()} {target.decode('latin-1')}"

    def on_header(self, name: bytes, value: bytes) -> None:
        self._body.headers[name.decode().lower()] = value.decode("latin-1")
        if name.lower() == b"x-sink":
            word, _, number = value.decode().partition("=")
            self._asked[word] = float(number)

    def on_body(self, piece: bytes) -> None:
        self._body.size += len(piece)
        if self._sink.checked:
            self._body.checksum = zlib.crc32(piece, self._body.checksum)

    def on_message_complete(self) -> None:
        self._answering = asyncio.create_task(self._answer(self._asked))

    async def _answer(self, asked: dict[str, float]) -> None:
        if (total := int(asked.get("pour", 0))) > 0:
            await self._write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total)
            for at in range(0, total, len(_PIECE)):
                await self._write(_PIECE if total - at >= len(_PIECE) else _PIECE[: total - at])
            return
        if (every := asked.get("stream")) is not None:
            await self._write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            )
            while True:
                await self._write(b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
                await asyncio.sleep(every)
        await asyncio.sleep(asked.get("silence", 0))
        await self._write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (len(MESSAGE), MESSAGE)
        )

    async def _write(self, data: bytes) -> None:
        await self._writable.wait()
        self._transport.write(data)


async def _serve() -> None:
    async with Sink() as sink:
        print(sink.url, flush=True)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        await reader.read()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve())
