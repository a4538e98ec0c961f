"""A client that sees every byte: requests are written as given, answers are read with their head untouched."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec

from gateway.core.http import Headers


@dataclass
class RawAnswer:
    """An answer as it came; `ended` tells a proper end from a cut."""

    status: int
    headers: Headers
    body: bytes = b""
    ended: bool = True
    interim: list[int] = field(default_factory=list)  # 1xx answers before it

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def value(self, name: bytes) -> bytes:
        values = self.values(name)
        assert len(values) == 1, (name, self.headers)
        return values[0]

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def error(self) -> tuple[int, str, str]:
        """(status, type, message) of an error body, whose shape is checked on the way."""
        value = self.json
        assert value["type"] == "error"
        assert value["request_id"].encode() == self.value(b"request-id")
        return self.status, value["error"]["type"], value["error"]["message"]


class RawClient:
    """One connection; use as `async with`."""

    def __init__(self, port: int, *, patience: float = 10.0) -> None:
        self._port = port
        self._patience = patience  # seconds until the head of an answer

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port, limit=2**26)
        return self

    async def __aexit__(self, *details: object) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def hold(self) -> None:
        """Stop reading from the socket."""
        self._transport.pause_reading()

    def go_on(self) -> None:
        self._transport.resume_reading()

    @property
    def _transport(self) -> asyncio.Transport:
        assert isinstance(self.writer.transport, asyncio.Transport)
        return self.writer.transport

    def abort(self) -> None:
        self.writer.transport.abort()

    async def ask(
        self, method: str, target: str, headers: Headers | None = None, body: bytes = b"", *, key: str | None = None
    ) -> RawAnswer:
        """Send one request with a Host and, with a body, its length; read the answer."""
        self.send(request(method, target, headers, body, key=key))
        return await self.answer(method)

    async def answer(self, method: str = "POST") -> RawAnswer:
        answer = await self.head()
        if method == "HEAD" or answer.status in (204, 304):
            return answer
        await self._body(answer)
        return answer

    async def head(self) -> RawAnswer:
        interim: list[int] = []
        while True:
            raw = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), self._patience)
            first, *lines = raw.removesuffix(b"\r\n\r\n").split(b"\r\n")
            status = int(first.split(b" ")[1])
            if status >= 200:
                pairs = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
                return RawAnswer(status, pairs, interim=interim)
            interim.append(status)

    async def chunk(self) -> bytes:
        """The next chunk of a chunked body; b"" at its end. Raises IncompleteReadError when it was cut."""
        size = int(await asyncio.wait_for(self.reader.readuntil(b"\r\n"), 10), 16)
        data = await asyncio.wait_for(self.reader.readexactly(size + 2), 10)
        return data[:-2]

    async def _body(self, answer: RawAnswer) -> None:
        lengths = answer.values(b"content-length")
        try:
            if answer.values(b"transfer-encoding") == [b"chunked"]:
                while chunk := await self.chunk():
                    answer.body += chunk
            elif lengths:
                answer.body = await asyncio.wait_for(self.reader.readexactly(int(lengths[0])), 20)
            else:
                answer.body = await asyncio.wait_for(self.reader.read(), 20)
        except asyncio.IncompleteReadError as cut:
            answer.body += cut.partial
            answer.ended = False

    async def closed(self) -> bool:
        """Whether the other side closes the connection without another byte."""
        return await asyncio.wait_for(self.reader.read(1), 10) == b""


def request(
    method: str, target: str, headers: Headers | None = None, body: bytes = b"", *, key: str | None = None
) -> bytes:
    """The bytes of one request."""
    lines = [f"{method} {target} HTTP/1.1".encode(), b"Host: gateway.test"]
    if key is not None:
        lines.append(b"x-api-key: " + key.encode())
    lines.extend(b"%b: %b" % pair for pair in headers or [])
    if body:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", b""]) + body
