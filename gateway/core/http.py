"""HTTP as values: what leaves for Claude, what comes back, and how it can fail.

Headers are pairs of bytes in the order of the wire, never a dict: duplicates, case and bytes outside ASCII
survive the passage. No type of an HTTP library is named above `gateway/wire/`.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, Protocol
from urllib.parse import urlsplit

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a connection goes; the pool's key."""

    scheme: Literal["http", "https"]
    host: str
    port: int

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.scheme == "https" else 80
        return host if self.port == default else f"{host}:{self.port}"


@lru_cache(maxsize=256)
def address(base_url: str) -> tuple[Origin, str]:
    """The origin of a base URL and the path prefix it carries."""
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"base_url {base_url!r} must be an http or https URL")
    scheme, port = parts.scheme, parts.port
    if scheme == "https":
        return Origin("https", parts.hostname, port or 443), parts.path.rstrip("/")
    return Origin("http", parts.hostname, port or 80), parts.path.rstrip("/")


@dataclass(slots=True)
class Outgoing:
    """One request as it leaves. The client adds Host and the framing headers, nothing else."""

    method: str
    origin: Origin
    target: bytes  # path and query, exactly the bytes of the request line
    headers: Headers = field(default_factory=list)
    body: bytes | bytearray | memoryview | AsyncIterator[bytes] | None = None
    length: int | None = None  # of a streamed body; None with a streamed body means chunked


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds; `idle` is the longest silence between two reads of an answer's body, or of a request's body."""

    connect: float = 10.0
    first_byte: float = 600.0
    idle: float = 600.0


Stage = Literal["connect", "send", "head", "body"]
Fault = Literal["refused", "dns", "tls", "proxy", "timeout", "reset", "protocol"]


class UpstreamFailed(Exception):
    """The exchange with the upstream broke: where, how, and the facts that decide whether a repeat is free."""

    def __init__(
        self,
        stage: Stage,
        fault: Fault,
        detail: str = "",
        *,
        reused: bool = False,
        answered: bool = False,
        seconds: float = 0.0,
    ) -> None:
        super().__init__(f"{stage}: {fault}" + (f" ({detail})" if detail else ""))
        self.stage = stage
        self.fault = fault
        self.detail = detail  # for the log: never a header value, never a body
        self.reused = reused  # the connection had served an earlier request
        self.answered = answered  # at least one byte of an answer (a 1xx included) had come
        self.seconds = seconds  # since the request's first byte was written


class Answer(Protocol):
    """An upstream's answer: its head is here, its body still flows."""

    status: int
    reason: bytes
    headers: Headers  # as received, hop-by-hop ones included
    reused: bool

    async def read(self) -> bytes:
        """The next bytes of the body (framing removed, content coding kept), b"" at its proper end.

        Raises UpstreamFailed when the body is cut, stalls or breaks its framing.
        """
        ...

    def close(self) -> None:
        """Give the connection up: back to the pool when the body was read to its end, else closed at once."""
        ...


class LiveAnswer(Answer, Protocol):
    """An answer straight from the wire."""

    async def arrives(self, within: float) -> bool:
        """Whether `read` would have something to say, bytes, the end or a failure, within so many seconds."""
        ...


class Client(Protocol):
    """The seam to the upstream's wire. `open` returns when the final head (1xx skipped) is complete."""

    async def open(self, out: Outgoing, timeouts: Timeouts) -> LiveAnswer: ...

    async def close(self) -> None: ...
