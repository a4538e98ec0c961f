"""Answers that were looked into before they are relayed: what was read is given again, unchanged."""

from collections.abc import Callable

from gateway.core.http import Answer, Headers, LiveAnswer, UpstreamFailed
from gateway.core.overload.holdback import MOST_SECONDS, HoldBack


class ReadAnswer:
    """An error whose body was read to be judged; `rest` still has what was beyond the limit."""

    def __init__(self, answer: Answer, headers: Headers, body: bytes, *, rest: Answer | None) -> None:
        self.status = answer.status
        self.reason = answer.reason
        self.headers = headers
        self.reused = answer.reused
        self._body = body
        self._rest = rest

    async def read(self) -> bytes:
        if self._body:
            body, self._body = self._body, b""
            return body
        return await self._rest.read() if self._rest is not None else b""

    def close(self) -> None:
        if self._rest is not None:
            self._rest.close()


class PassedAnswer:
    """An answer on its way to the client: what was held back, then the rest. `left` is called once, at its end."""

    __slots__ = ("_answer", "_held", "_left", "headers", "reason", "reused", "status")

    def __init__(self, answer: Answer, left: Callable[[], None], held: bytes = b"") -> None:
        self.status = answer.status
        self.reason = answer.reason
        self.headers = answer.headers
        self.reused = answer.reused
        self._answer = answer
        self._held = held
        self._left: Callable[[], None] | None = left

    async def read(self) -> bytes:
        if self._held:
            held, self._held = self._held, b""
            return held
        return await self._answer.read()

    def close(self) -> None:
        left, self._left = self._left, None
        if left is not None:
            left()
        self._answer.close()


async def held_back(answer: LiveAnswer, route: str, clock: Callable[[], float]) -> HoldBack:
    """Read a stream's beginning until it is known not to be a refusal. A failure or an end is left for its reader."""
    hold = HoldBack(route)
    until = clock() + MOST_SECONDS
    while not hold.done and await answer.arrives(until - clock()):
        try:
            chunk = await answer.read()
        except UpstreamFailed:
            break  # it is raised again when the rest is read
        if not chunk:
            break
        hold.feed(chunk)
    return hold


async def read_up_to(answer: Answer, limit: int) -> tuple[bytes, bool]:
    """The beginning of a body, and whether that is all of it. Raises UpstreamFailed."""
    chunks: list[bytes] = []
    size = 0
    while size < limit:
        chunk = await answer.read()
        if not chunk:
            return b"".join(chunks), True
        chunks.append(chunk)
        size += len(chunk)
    return b"".join(chunks), False
