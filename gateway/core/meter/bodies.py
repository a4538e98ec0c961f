"""Meters bodies that are not event streams: one JSON answer, or a batch's results, one JSON answer per line.

Rule: memory is bounded. Of a JSON answer longer than `MOST_BODY` only the end is kept, where Claude puts the usage;
a result line longer than `MOST_LINE` is dropped and said to be unreadable.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import msgspec

from gateway.core.answers import UNREADABLE, BatchLine, from_batch_line, from_message
from gateway.core.usage import NOTHING, Ended, Usage, unknown

MOST_BODY: Final = 256 * 1024
MOST_LINE: Final = 32 * 1024 * 1024  # a message may be as long as the largest request


class JsonMeter:
    """Meters one JSON answer with the reader of its format; see `Meter`."""

    __slots__ = ("_held", "_kept", "_read", "_size")

    def __init__(self, read: Callable[[bytes], Usage] = from_message) -> None:
        self._read = read
        self._kept: deque[bytes] = deque()
        self._held = 0
        self._size = 0

    def feed(self, chunk: bytes) -> None:
        self._size += len(chunk)
        self._kept.append(chunk)
        self._held += len(chunk)
        while self._held - len(self._kept[0]) >= MOST_BODY:
            self._held -= len(self._kept.popleft())

    def finish(self, *, ended: Ended) -> Usage:
        body = b"".join(self._kept)
        if self._size > MOST_BODY:
            body = _end_of(body[-MOST_BODY:])
        usage = self._read(body)
        if usage.oddities == ("unreadable_body",) and ended != "ok":
            return unknown(ended)  # not odd: it is simply not all there
        return usage


def _end_of(tail: bytes) -> bytes:
    """The last fields of a JSON object as an object of their own, from its stop reason or its usage on.

    A key of a deeper object cannot be mistaken for one of the outermost: then more braces would close than open,
    and that is no JSON. Fields before the cut are unknown, above all the content, which is taken for not empty.
    """
    return max((_from(tail, key) for key in (b'"stop_reason"', b'"usage"')), key=len)


def _from(tail: bytes, key: bytes) -> bytes:
    at = tail.find(key)
    while at >= 0:
        end = b"{" + tail[at:]
        try:
            msgspec.json.decode(end, type=dict[str, msgspec.Raw])
        except UNREADABLE:
            at = tail.find(key, at + 1)
        else:
            return end
    return b""


class BatchMeter:
    """Meters a batch's results. Each line is decoded once and waits in `take` to be priced on its own."""

    __slots__ = ("_lines", "_open", "_pieces", "_sum")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._open = 0  # bytes of the open line, also those that were dropped
        self._lines: list[BatchLine] = []
        self._sum = NOTHING

    def feed(self, chunk: bytes) -> None:
        first, *rest = chunk.split(b"\n")
        self._keep(first)
        for part in rest:
            self._line()
            self._keep(part)

    def _keep(self, part: bytes) -> None:
        self._open += len(part)
        if self._open > MOST_LINE:
            self._pieces.clear()
        elif part:
            self._pieces.append(part)

    def _line(self) -> None:
        size, self._open = self._open, 0
        line = b"".join(self._pieces)
        self._pieces.clear()
        if size > MOST_LINE:
            entry = BatchLine(None, "unreadable", unknown("no_usage", "large_line"))
        elif not line.strip():
            return
        else:
            entry = from_batch_line(line)
        self._lines.append(entry)
        self._sum = _added(self._sum, entry.usage)

    def take(self) -> list[BatchLine]:
        """The lines that were completed since the last call."""
        lines, self._lines = self._lines, []
        return lines

    def finish(self, *, ended: Ended) -> Usage:
        """The tokens of all lines together. It has no price: each line has a model and a length of its own."""
        if self._open:
            self._line()
        if ended == "ok":
            return self._sum
        return replace(self._sum, complete=False, estimated=self._sum.estimated or ended)


def _added(total: Usage, usage: Usage) -> Usage:
    run = usage.total()
    oddities = total.oddities + tuple(name for name in usage.oddities if name not in total.oddities)
    return Usage(
        input=total.input + run.input,
        output=total.output + run.output,
        cache_read=total.cache_read + run.cache_read,
        cache_write_5m=total.cache_write_5m + run.cache_write_5m,
        cache_write_1h=total.cache_write_1h + run.cache_write_1h,
        thinking=total.thinking + usage.thinking,
        web_searches=total.web_searches + usage.web_searches,
        web_fetches=total.web_fetches + usage.web_fetches,
        code_executions=total.code_executions + usage.code_executions,
        service_tier="batch",
        complete=total.complete and usage.complete,
        estimated=total.estimated or usage.estimated,
        lacks_input=total.lacks_input or usage.lacks_input,
        lacks_output=total.lacks_output or usage.lacks_output,
        oddities=oddities,
    )
