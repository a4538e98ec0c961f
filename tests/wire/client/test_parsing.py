"""The parser alone: no socket, so every split and every cut can be tried."""

import contextlib
import gc
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.http import Headers
from gateway.wire.parsing import Malformed, ParsedAnswer
from tests.wire.scripted import answer, chunked

LIMIT = 64 * 1024

_NAMES = st.from_regex(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,20}", fullmatch=True).filter(
    lambda name: name.lower() not in {b"content-length", b"transfer-encoding", b"connection", b"upgrade"}
)
_VALUES = st.from_regex(rb"([!-~\x80-\xff]([ \t!-~\x80-\xff]{0,30}[!-~\x80-\xff])?)?", fullmatch=True)
_LINES = st.lists(st.tuples(_NAMES, _VALUES).map(b": ".join), max_size=6)
_BODIES = st.lists(st.binary(min_size=1, max_size=60), max_size=5)


@st.composite
def _wires(draw: st.DrawFn) -> tuple[bytes, Headers, bytes]:
    """(bytes on the wire, headers, body) of a sound answer, perhaps behind interim ones."""
    lines, pieces = draw(_LINES), draw(_BODIES)
    if draw(st.booleans()):
        wire = chunked(*pieces, headers=lines, trailers=draw(_LINES))
        framing = (b"Transfer-Encoding", b"chunked")
    else:
        wire = answer(b"".join(pieces), b"200 OK", *lines)
        framing = (b"Content-Length", b"%d" % len(b"".join(pieces)))
    interim = b"".join(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" for _ in range(draw(st.integers(0, 2))))
    headers = [framing, *((name, value) for name, _, value in (line.partition(b": ") for line in lines))]
    return interim + wire, headers, b"".join(pieces)


def parse(segments: list[bytes], method: str = "GET") -> ParsedAnswer:
    parsed = ParsedAnswer(method, LIMIT)
    for segment in segments:
        parsed.feed(segment)
    return parsed


def read(parsed: ParsedAnswer) -> tuple[int, bytes, Headers, bytes, bool, bool, bool]:
    return (
        parsed.status,
        parsed.reason,
        parsed.headers,
        b"".join(parsed.pieces),
        parsed.complete,
        parsed.keep_alive,
        parsed.surplus,
    )


@given(_wires(), st.data())
def test_any_split_of_an_answer_reads_the_same(wire: tuple[bytes, Headers, bytes], data: st.DataObject) -> None:
    """Segments mean nothing: head and body are those of the bytes."""
    raw, headers, body = wire
    cuts = sorted(data.draw(st.sets(st.integers(0, len(raw)), max_size=8)))
    segments = [raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True) if start < end]

    assert (200, b"OK", headers, body, True, True, False) == read(parse(segments))


@given(_wires(), st.binary(min_size=1, max_size=40), st.data())
def test_bytes_after_the_end_are_surplus(wire: tuple[bytes, Headers, bytes], more: bytes, data: st.DataObject) -> None:
    """Whatever follows the end in the same segment never changes the answer, and marks the connection unless it is
    the start of a blank line."""
    raw, headers, body = wire
    parsed = parse([raw + more])

    assert (200, b"OK", headers, body, True, True) == read(parsed)[:-1]
    assert parsed.surplus or not more.strip(b"\r\n")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "raw",
    [
        answer(b"hello", b"200 OK", b"X-A: 1", b"X-B:"),
        chunked(b"he", b"llo", trailers=[b"T: 1"]),
        b"HTTP/1.1 100 Continue\r\n\r\n" + answer(b"x"),
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ],
)
def test_every_cut_of_an_answer_is_noticed(raw: bytes, method: str) -> None:
    """No proper prefix of an answer with a length passes for the answer, whatever byte it ends with."""
    raw = raw if method == "GET" else raw[: raw.rindex(b"\r\n\r\n") + 4] if raw.startswith(b"HTTP/1.1 2") else raw
    for end in range(len(raw)):
        parsed = parse([raw[:end]], method)
        if parsed.complete:  # HEAD ends with its head, which stands before the body
            assert method == "HEAD"
            continue
        assert not parsed.feed_eof(), raw[:end]


def test_an_open_ended_body_ends_with_the_connection() -> None:
    """Without a length and without chunks, end of file is the end."""
    parsed = parse([b"HTTP/1.1 200 OK\r\n\r\nab", b"cd"])

    assert (False, True, b"abcd", False) == (
        parsed.complete,
        parsed.feed_eof(),
        b"".join(parsed.pieces),
        parsed.keep_alive,
    )


def test_a_fault_leaves_what_came_before_it() -> None:
    """Pieces before a broken chunk stay readable, in the same segment too."""
    parsed = ParsedAnswer("GET", LIMIT)
    with pytest.raises(Malformed, match="chunk size"):
        parsed.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n")

    assert (True, [b"abc"], False) == (parsed.head_done, parsed.pieces, parsed.complete)


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_waits(raw: bytes) -> None:
    """No bytes make the parser fail otherwise than by Malformed, or end without a status line."""
    parsed = ParsedAnswer("GET", LIMIT)
    try:
        parsed.feed(raw)
    except Malformed:
        return

    assert not parsed.complete or raw.lstrip(b"\r\n").startswith(b"HTTP/")


def test_messages_name_no_value() -> None:
    """A fault's text goes to the log: it repeats nothing that the upstream sent."""
    for raw in (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: secret\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: secret\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: secret\n\r\n",
        b"secret",
    ):
        with pytest.raises(Malformed) as caught:
            parse([raw])
        assert b"secret" not in str(caught.value).encode()


@pytest.mark.parametrize("raw", [answer(b"hello"), chunked(b"hello"), b"nonsense"])
def test_a_parser_is_freed_without_the_cyclic_collector(raw: bytes) -> None:
    """Answers come by the thousand each second: none may wait for a garbage collection."""

    class Held(ParsedAnswer):
        __slots__ = ("__weakref__",)

    gc.disable()
    try:
        parsed: Held | None = Held("GET", LIMIT)
        assert parsed is not None
        seen = weakref.ref(parsed)
        with contextlib.suppress(Malformed):
            parsed.feed(raw)
        parsed = None
        assert seen() is None
    finally:
        gc.enable()
