"""An upstream that plays a script of bytes on a real socket: send, pause, half-close, reset, read, stall.

A script is a list of steps; each accepted connection plays the next script, and the last one serves all further
connections. What clients sent stands in `requests`; a step that the client's leaving cut short ends its script quietly.

    async with Scripted([read_request(), send(b"HTTP/1.1 204 No Content\\r\\n\\r\\n")]) as upstream:
        ... upstream.origin ...
"""

import asyncio
import contextlib
import re
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from gateway.core.http import Headers, Origin

_READ_AHEAD = 512 * 1024  # asyncio's streams read up to twice this before a script asks for it


@dataclass
class Received:
    """One request as it came: `head` and `raw_body` are the exact bytes, `body` has chunked framing removed."""

    head: bytes = b""
    raw_body: bytes = b""
    body: bytes = b""

    @property
    def line(self) -> bytes:
        return self.head.partition(b"\r\n")[0]

    @property
    def headers(self) -> Headers:
        lines = self.head.removesuffix(b"\r\n\r\n").split(b"\r\n")[1:]
        return [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]

    def values(self, name: bytes) -> list[bytes]:
        return [value for found, value in self.headers if found.lower() == name.lower()]


@dataclass
class Wire:
    """One accepted connection, as the steps see it."""

    upstream: "Scripted"
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    poured: int = 0


Step = Callable[[Wire], Awaitable[None]]


def send(data: bytes) -> Step:
    async def step(wire: Wire) -> None:
        wire.writer.write(data)
        await wire.writer.drain()

    return step


def send_split(data: bytes, size: int = 1) -> Step:
    """The same bytes in segments of `size`, each given its own turn to arrive."""

    async def step(wire: Wire) -> None:
        for start in range(0, len(data), size):
            wire.writer.write(data[start : start + size])
            await wire.writer.drain()
            await asyncio.sleep(0)

    return step


def pour(total: int, piece: bytes = b"x" * 65536) -> Step:
    """Send `total` bytes as fast as the client takes them; `wire.poured` tells how far it came."""

    async def step(wire: Wire) -> None:
        while wire.poured < total:
            part = piece[: total - wire.poured]
            wire.writer.write(part)
            await wire.writer.drain()
            await asyncio.sleep(0)  # uvloop's TLS takes writes to a lost connection without ever pausing the writer
            wire.poured += len(part)

    return step


def pause(seconds: float) -> Step:
    async def step(wire: Wire) -> None:
        await asyncio.sleep(seconds)

    return step


def tell(event: asyncio.Event) -> Step:
    async def step(wire: Wire) -> None:
        event.set()

    return step


def until(event: asyncio.Event) -> Step:
    async def step(wire: Wire) -> None:
        await event.wait()

    return step


def stop_reading() -> Step:
    """Take nothing more out of the socket. Other steps only leave bytes with asyncio's stream, which reads ahead."""

    async def step(wire: Wire) -> None:
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]  # typed as if streams could only write

    return step


def stall() -> Step:
    """Neither read nor write until `settled` is asked, or the upstream stops."""

    async def step(wire: Wire) -> None:
        await wire.upstream.resumed.wait()

    return step


def read_request() -> Step:
    """Read one whole request, by its framing."""

    async def step(wire: Wire) -> None:
        received = Received()
        received.head = await wire.reader.readuntil(b"\r\n\r\n")
        wire.upstream.took(received)
        await _read_body(wire.reader, received)

    return step


def read_head() -> Step:
    """Read a request's head and leave its body in the socket."""

    async def step(wire: Wire) -> None:
        wire.upstream.took(Received(head=await wire.reader.readuntil(b"\r\n\r\n")))

    return step


def read_until(mark: bytes) -> Step:
    async def step(wire: Wire) -> None:
        await wire.reader.readuntil(mark)

    return step


def read_exactly(size: int) -> Step:
    async def step(wire: Wire) -> None:
        await wire.reader.readexactly(size)

    return step


def read_eof() -> Step:
    """Wait until the client closes its side."""

    async def step(wire: Wire) -> None:
        await wire.reader.read()

    return step


def half_close() -> Step:
    """Send FIN and stay able to read."""

    async def step(wire: Wire) -> None:
        wire.writer.write_eof()

    return step


def close() -> Step:
    async def step(wire: Wire) -> None:
        wire.writer.close()

    return step


def reset() -> Step:
    """Send RST: whatever is under way in either direction is lost."""

    async def step(wire: Wire) -> None:
        raw = wire.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.writer.transport.abort()

    return step


def serve(answer: bytes) -> Step:
    """Answer request after request on this connection with the same bytes."""
    read = read_request()

    async def step(wire: Wire) -> None:
        while True:
            await read(wire)
            wire.writer.write(answer)
            await wire.writer.drain()

    return step


def start_tls(context: ssl.SSLContext) -> Step:
    """Become a TLS server in the middle of the connection, as the far end of a proxy's tunnel does."""

    async def step(wire: Wire) -> None:
        await wire.writer.start_tls(context)

    return step


@dataclass
class Scripted:
    """Use as `async with`. At its end every connection is closed."""

    scripts: Sequence[Sequence[Step]]
    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    buffer: int | None = None  # of the kernel, per direction; small ones let backpressure show early
    requests: list[Received] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)
    faults: list[BaseException] = field(default_factory=list)

    def __init__(self, *scripts: Sequence[Step], **options: Any) -> None:
        self.scripts = scripts
        self.tls = options.pop("tls", None)
        self.host = options.pop("host", "127.0.0.1")
        self.buffer = options.pop("buffer", None)
        if options:
            raise TypeError(f"unknown options {sorted(options)}")
        self.requests, self.wires, self.faults = [], [], []
        self.resumed = asyncio.Event()
        self._news = asyncio.Event()
        self._playing: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"{self.origin.scheme}://{self.origin.authority}"

    @property
    def origin(self) -> Origin:
        return Origin("https" if self.tls is not None else "http", self.host, self.port)

    @property
    def connections(self) -> int:
        """Accepted so far."""
        return len(self.wires)

    async def __aenter__(self) -> Self:
        sock = socket.create_server((self.host, 0), backlog=512)
        if self.buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.buffer)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.buffer)
        self.port = sock.getsockname()[1]
        self._server = await asyncio.start_server(self._accept, sock=sock, ssl=self.tls, limit=_READ_AHEAD)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._playing):
            task.cancel()
        await asyncio.gather(*self._playing, return_exceptions=True)
        for wire in self.wires:
            wire.writer.transport.abort()
            with contextlib.suppress(OSError):
                await wire.writer.wait_closed()

    async def asked(self, count: int = 1) -> None:
        """Until the heads of so many requests were read."""
        async with asyncio.timeout(10):
            while len(self.requests) < count:
                self._news.clear()
                await self._news.wait()

    def took(self, received: Received) -> None:
        self.requests.append(received)
        self._news.set()

    async def settled(self) -> None:
        """Until every script has come to its end and every client has gone, so a leaked socket hangs the test.

        Stalled scripts go on: what they left unread hides the client's end from us.
        """
        self.resumed.set()
        while self._playing:
            await asyncio.wait(self._playing)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Not a coroutine: asyncio would make the task its own and log its end. Nor does it see that this is TCP, for
        # the socket came ready made: without NODELAY each second small write would wait 40 ms for an acknowledgement.
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire = Wire(self, reader, writer)
        script = self.scripts[min(len(self.wires), len(self.scripts) - 1)]
        self.wires.append(wire)
        task = asyncio.get_running_loop().create_task(self._play(wire, script))
        self._playing.add(task)
        task.add_done_callback(self._playing.discard)

    async def _play(self, wire: Wire, script: Sequence[Step]) -> None:
        try:
            for step in script:
                await step(wire)
            while await wire.reader.read(65536):
                pass
        except (asyncio.IncompleteReadError, OSError):
            pass  # the client left, as many of the laws want it to
        except Exception as fault:  # noqa: BLE001  # a mistake of the script: the fixture shows it
            self.faults.append(fault)
        finally:
            wire.writer.close()


async def _read_body(reader: asyncio.StreamReader, received: Received) -> None:
    if received.values(b"transfer-encoding"):
        while True:
            line = await reader.readuntil(b"\r\n")
            size = int(line.partition(b";")[0], 16)
            data = await reader.readexactly(size + 2)
            received.raw_body += line + data
            received.body += data[:-2]
            if size == 0:
                return
    found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", received.head)
    if found:
        received.raw_body = received.body = await reader.readexactly(int(found[1]))


def answer(body: bytes = b"", status: bytes = b"200 OK", *headers: bytes) -> bytes:
    """A sound answer with Content-Length."""
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def chunked(*pieces: bytes, headers: Sequence[bytes] = (), trailers: Sequence[bytes] = ()) -> bytes:
    """A sound answer in chunks."""
    head = b"\r\n".join([b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked", *headers])
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return head + b"\r\n\r\n" + body + b"0\r\n" + b"".join(line + b"\r\n" for line in trailers) + b"\r\n"
