"""From Claude's answer to the client: bytes as they come, and an honest end whatever breaks.

Endings. Claude dies in a stream: an error event, after whatever keeps a broken event from being dispatched. Claude dies
in any other body: the connection closes without an end mark. The gateway drains: session streams end, others get the
error.
"""

import zlib
from collections.abc import Callable

from gateway.core.errors import GatewayError, error_body, error_event, error_headers
from gateway.core.exchange import Exchange
from gateway.core.faults import decoded, failure
from gateway.core.headers import client_headers, content_coding, lookup
from gateway.core.http import Answer, Headers, UpstreamFailed
from gateway.core.meter import Meter
from gateway.core.metering import EventMeter, meter_of
from gateway.wire.incoming import Incoming


def is_stream(answer: Answer) -> bool:
    return (lookup(answer.headers, b"content-type") or b"").lower().startswith(b"text/event-stream")


class Tap:
    """What each chunk is shown to on its way: the meter, through a decoder when the body came compressed.

    A coding that the standard library can't read leaves the meter without usage, which it reports as such.
    """

    def __init__(self, meter: Meter | None, answer: Answer) -> None:
        self.meter = meter
        self.feed = _unmetered if meter is None else _feed_of(meter, answer)


def tap_of(x: Exchange, answer: Answer) -> Tap:
    """The tap of this route's answer."""
    assert x.route is not None
    return Tap(meter_of(x.route.name, stream=is_stream(answer), status=answer.status), answer)


def _feed_of(meter: Meter, answer: Answer) -> Callable[[bytes], None]:
    coding = (lookup(answer.headers, b"content-encoding") or b"").strip().lower()
    if coding in (b"", b"identity"):
        return meter.feed
    if coding not in (b"gzip", b"x-gzip", b"deflate"):
        return _unmetered
    decoder = zlib.decompressobj(47)

    def feed(chunk: bytes) -> None:
        try:
            meter.feed(decoder.decompress(chunk))
        except zlib.error:
            # The client will find out by itself; metering ends here and the usage stays unseen.
            return

    return feed


def _unmetered(chunk: bytes) -> None:
    """What can't be read is relayed without being looked at."""


async def relay(
    x: Exchange, incoming: Incoming, answer: Answer, *, tap: Tap, ours: Headers, now: Callable[[], float]
) -> None:
    """Pass the answer on, chunk by chunk, metering a copy."""
    stream = is_stream(answer)
    x.stream = stream  # what it is counts, not what was asked for
    x.status = answer.status
    headers = client_headers(answer.headers)
    headers.extend(ours)
    incoming.begin(answer.status, headers, length=declared_length(answer), stream=stream, reason=answer.reason)
    if stream:
        await incoming.flush()
    waited = now()
    try:
        chunk = await answer.read()
        x.first_byte = now()
        x.upstream_seconds += x.first_byte - waited
        while chunk:
            tap.feed(chunk)
            await incoming.write(chunk)
            chunk = await answer.read()
    except UpstreamFailed as error:
        x.error = failure(error)
        x.ended = "cut"
        end_broken(x, incoming, tap, x.error)
        return
    incoming.end()


def end_broken(x: Exchange, incoming: Incoming, tap: Tap | None, error: GatewayError) -> None:
    """The last words of an answer that can't be finished."""
    if not x.stream:
        incoming.cut()
        return
    meter = tap.meter if tap is not None else None
    tail = meter.tail_for_error() if isinstance(meter, EventMeter) else b"\n"
    incoming.write_now(tail + error_event(error.row.type, error.message, x.request_id))
    incoming.end()


def end_quietly(incoming: Incoming, tap: Tap | None) -> None:
    """Close an event stream that has no end of its own, so that no broken event is dispatched."""
    if tap is not None and isinstance(tap.meter, EventMeter):
        incoming.write_now(tap.meter.tail_for_error())
    incoming.end()


async def read_whole(answer: Answer, change: Callable[[bytes], bytes], limit: int = 64 * 1024 * 1024) -> Answer:
    """An answer read to its end and changed in one place, for the few whose bytes can't pass as they are."""
    chunks: list[bytes] = []
    size = 0
    try:
        while chunk := await answer.read():
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                raise GatewayError("upstream_broken", f"Claude's answer is larger than {limit >> 20} MiB.")
    except UpstreamFailed as error:
        raise failure(error) from None
    body = b"".join(chunks)
    if coding := content_coding(answer.headers):  # it was not asked for, but what can't be read can't be changed
        body = decoded(body, coding, limit)
        if not body:
            raise GatewayError("upstream_broken", "Claude's answer came in a coding that can't be read. Retry.")
    return WholeAnswer(answer, change(body))


class WholeAnswer:
    """A body in memory under an upstream's head."""

    def __init__(self, answer: Answer, body: bytes) -> None:
        self.status = answer.status
        self.reason = answer.reason
        gone = (b"content-length", b"content-encoding", b"transfer-encoding")
        self.headers: Headers = [
            *(pair for pair in answer.headers if pair[0].lower() not in gone),
            (b"content-length", b"%d" % len(body)),
        ]
        self.reused = answer.reused
        self._body = body
        self._answer = answer

    async def read(self) -> bytes:
        body, self._body = self._body, b""
        return body

    def close(self) -> None:
        self._answer.close()


def declared_length(answer: Answer) -> int | None:
    """The body's length when Claude said it; chunked framing overrules it."""
    if lookup(answer.headers, b"transfer-encoding") is not None:
        return None
    value = lookup(answer.headers, b"content-length")
    return int(value) if value is not None and value.isdigit() else None


def refuse(x: Exchange, incoming: Incoming, error: GatewayError, ours: Headers) -> None:
    """An error of our own as an answer."""
    x.error = error
    x.status = error.row.status
    x.refused_by = error.row.refused_by
    body = error_body(error.row.type, error.message, x.request_id, error.code)
    if error.close:
        incoming.keep_alive = False
    headers = error_headers(error) + ours
    if x.upstream_request_id:  # an answer of Claude's that could not be passed on had it among its own headers
        headers.append((b"request-id", x.upstream_request_id.encode("latin-1")))
    incoming.begin(error.row.status, headers, length=len(body), stream=False)
    incoming.write_now(body)
    incoming.end()


async def answer_json(x: Exchange, incoming: Incoming, body: bytes, ours: Headers, status: int = 200) -> None:
    """A whole JSON answer of our own."""
    x.status = status
    incoming.begin(status, [(b"content-type", b"application/json"), *ours], length=len(body), stream=False)
    await incoming.write(body)
    incoming.end()
