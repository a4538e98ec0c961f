"""The few words in which the laws of this folder are written: what is asked, and how an answer or a failure reads."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from gateway.core.http import Answer, Client, Headers, Origin, Outgoing, Timeouts, UpstreamFailed
from tests.wire.scripted import Scripted

Make = Callable[..., Client]
Start = Callable[..., Awaitable[Scripted]]

SOON = Timeouts(connect=5.0, first_byte=5.0, idle=5.0)


@dataclass(frozen=True)
class Tls:
    """The two ends of TLS that trust each other: for 127.0.0.1 and claude.test."""

    server: ssl.SSLContext
    client: ssl.SSLContext


def get(origin: Origin, target: bytes = b"/v1/models") -> Outgoing:
    return Outgoing("GET", origin, target)


def post(origin: Origin, body: Any, length: int | None = None) -> Outgoing:
    return Outgoing("POST", origin, b"/v1/messages", [(b"x-api-key", b"made-up")], body, length)


async def whole(answer: Answer) -> bytes:
    pieces = []
    while piece := await answer.read():
        pieces.append(piece)
    answer.close()
    return b"".join(pieces)


async def seen(answer: Answer) -> tuple[int, bytes, Headers, bytes]:
    return answer.status, answer.reason, answer.headers, await whole(answer)


async def failure(asked: Awaitable[object]) -> UpstreamFailed:
    """What `asked` failed with; that it did not fail is the test's failure."""
    try:
        got = await asked
    except UpstreamFailed as failed:
        return failed
    raise AssertionError(f"no failure but {got!r}")


def how(failed: UpstreamFailed) -> tuple[str, str, bool, bool]:
    return failed.stage, failed.fault, failed.reused, failed.answered


async def read_until_failure(answer: Answer) -> tuple[bytes, UpstreamFailed]:
    """The bytes that came, and then the failure."""
    pieces: list[bytes] = []
    while True:
        try:
            piece = await answer.read()
        except UpstreamFailed as failed:
            return b"".join(pieces), failed
        assert piece, "the body ended as if it were whole"
        pieces.append(piece)


async def stream(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
