"""An answer as it is parsed: bytes in, head and pieces of body out. No socket, no clock, no waiting.

Rule: one parser per answer, so nothing of one answer (a trailer, a half-read line) can show up in the next. llhttp
runs in its strict mode; what it lets pass although a relay must not (101, codings other than chunked, HTTP/2.0 in
a status line, status codes outside 100-599) is refused here.
"""

from collections.abc import Callable

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpResponseParser

from gateway.core.http import Headers

_BODYLESS = (204, 304)


class Malformed(Exception):
    """The upstream's bytes are not an answer we understand; the text names no header value and no body."""


class ParsedAnswer:
    """One answer. `pieces` holds body bytes not yet taken; `complete` says that its framing came to its end."""

    __slots__ = (
        "_asked_head",
        "_fed",
        "_head_limit",
        "_parser",
        "_until_close",
        "complete",
        "head_done",
        "headers",
        "keep_alive",
        "on_body",
        "pieces",
        "reason",
        "started",
        "status",
        "surplus",
    )

    def __init__(self, method: str, head_limit: int) -> None:
        self.status = 0
        self.reason = b""
        self.headers: Headers = []
        self.pieces: list[bytes] = []
        self.started = False  # at least one byte came
        self.head_done = False
        self.complete = False
        self.keep_alive = False
        self.surplus = False  # bytes came after the end: whatever they are, the connection is out of step
        # Bound to the list itself, so a chunk of an event stream costs no Python call.
        self.on_body: Callable[[bytes], None] = self.pieces.append
        self._asked_head = method == "HEAD"
        self._head_limit = head_limit
        self._fed = 0
        self._until_close = False
        self._parser: HttpResponseParser | None = HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Take bytes of the wire. Raises Malformed; pieces that came before the fault stay readable."""
        parser = self._parser
        if parser is None:
            self.surplus = True
            return
        self.started = True
        try:
            parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            # After the end only reuse is at stake; the answer itself is whole.
            if not self.complete:
                self._parser = None
                raise _malformed(error) from None
            self.surplus = True
        if self.complete:
            self._parser = None  # it refers to us: without this only the cyclic collector would free both
            if self.pieces and self._has_no_body:
                self.pieces.clear()
                self.surplus = True
        elif not self.head_done:
            # Counted per read and not per header: the segment that completes a head is at most one read long.
            self._fed += len(data)
            if self._fed > self._head_limit:
                self._parser = None
                raise Malformed(f"the head of the answer is longer than {self._head_limit} bytes")
            if self.pieces:
                self._parser = None
                raise Malformed("an interim answer came with a body")

    def feed_eof(self) -> bool:
        """The upstream sent its last byte. True when that is a proper end of this answer."""
        if self._until_close and not self.complete:
            self.complete = True
        self._parser = None
        return self.complete

    def abandon(self) -> None:
        self._parser = None

    @property
    def _has_no_body(self) -> bool:
        return self._asked_head or self.status in _BODYLESS

    # Called by the parser.

    def on_message_begin(self) -> None:
        if self.complete:
            self.surplus = True
            raise Malformed("bytes after the end of the answer")

    def on_status(self, part: bytes) -> None:
        self.reason += part

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.head_done:  # else it is a trailer, which nobody asked for (no TE was sent)
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        parser = self._parser
        if parser is None:
            return
        status = parser.get_status_code()
        if status < 200:
            if status == 101 or status < 100:
                raise Malformed(f"status {status}, which was not asked for")
            self.headers.clear()
            self.reason = b""
            return
        if status > 599:
            raise Malformed(f"status {status} is none of HTTP's")
        self.status = status
        self.keep_alive = parser.should_keep_alive()
        sized = self._framing()
        # llhttp says "keep alive" only of 1.1, or of 1.0 that asked for it; so other versions show up here.
        if not self.keep_alive and parser.get_http_version() not in ("1.1", "1.0"):
            raise Malformed(f"HTTP version {parser.get_http_version()} in a status line")
        self.head_done = True
        if self._asked_head:
            self.complete = True  # llhttp was not told of the method: it would wait for the body
        else:
            self._until_close = not sized and status not in _BODYLESS

    def on_message_complete(self) -> None:
        if self.head_done:
            self.complete = True

    def _framing(self) -> bool:
        """Whether the head says where the body ends. Codings other than chunked would reach the client undecoded."""
        sized = False
        for name, value in self.headers:
            size = len(name)
            if size == 14:
                sized = sized or name.lower() == b"content-length"
            elif size == 17 and name.lower() == b"transfer-encoding":
                if value.strip(b" \t").lower() != b"chunked":
                    raise Malformed("a transfer coding other than chunked")
                sized = True
        return sized


def _malformed(error: Exception) -> Malformed:
    cause = error.__context__
    if isinstance(error, HttpParserCallbackError) and isinstance(cause, Malformed):
        return cause
    if isinstance(error, HttpParserUpgrade):
        return Malformed("status 101, which was not asked for")
    return Malformed(str(error) or type(error).__name__)
