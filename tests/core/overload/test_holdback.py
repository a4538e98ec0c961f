"""The beginning of a stream is held no longer than needed, and released as it came."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.overload.holdback import MOST_HELD, HoldBack

START = b'event: message_start\ndata: {"type":"message_start","message":{"model":"m","usage":{"input_tokens":1}}}\n\n'
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
COMMENT = b": hello\n\n"
UNKNOWN = b"event: new\ndata: {}\n\n"
CHAT = b'data: {"id":"x","choices":[]}\n\n'
CHAT_ERROR = b'data: {"error":{"type":"overloaded_error"}}\n\n'
DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta"}\n\n'


def error(kind: str) -> bytes:
    return b'event: error\ndata: {"type":"error","error":{"type":"%b","message":"no"}}\n\n' % kind.encode()


def run(route: str, chunks: list[bytes]) -> tuple[int, str | None]:
    """After how many bytes it was done, and the error it saw."""
    hold, size = HoldBack(route), 0
    for chunk in chunks:
        if hold.done:
            break
        hold.feed(chunk)
        size += len(chunk)
    assert b"".join(hold.held) == b"".join(chunks)[:size]
    return (size if hold.done else -1), hold.error


def bytewise(data: bytes) -> list[bytes]:
    return [data[n : n + 1] for n in range(len(data))]


OVERLOADED, API = error("overloaded_error"), error("api_error")
CRLF = (PING + API).replace(b"\n", b"\r\n")

# The route, the stream, where it is known what it is, and the error it begins with.
CASES = {
    "start":             ("messages",         START + DELTA,               START,               None),
    "ping first":        ("messages",         PING + PING + START + DELTA, PING + PING + START, None),
    "comment first":     ("messages",         COMMENT + START,             COMMENT + START,     None),
    "unknown event":     ("messages",         UNKNOWN + DELTA,             UNKNOWN,             None),
    "overloaded":        ("messages",         OVERLOADED,                  OVERLOADED,          "overloaded_error"),
    "ping, then api":    ("messages",         PING + API,                  PING + API,          "api_error"),
    "CRLF":              ("messages",         CRLF,                        CRLF[:-1],           "api_error"),
    "error after start": ("messages",         START + OVERLOADED,          START,               None),
    "chat":              ("chat_completions", CHAT,                        CHAT,                None),
    "chat error":        ("chat_completions", CHAT_ERROR,                  CHAT_ERROR,          "overloaded_error"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_when_it_is_done(name: str) -> None:
    """At the last byte of the first event other than ping, split anywhere; an error event there is the attempt's."""
    route, stream, until, expected = CASES[name]

    assert (len(until), expected) == run(route, bytewise(stream))
    assert expected == run(route, [stream])[1]


@given(st.data())
def test_splits_change_nothing(data: st.DataObject) -> None:
    """The verdict depends on the bytes alone."""
    _, stream, _, expected = CASES[data.draw(st.sampled_from(["ping first", "ping, then api", "overloaded", "start"]))]
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=6)))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    assert expected == run("messages", chunks)[1]


def test_sixty_four_kilobytes_are_enough() -> None:
    """A first event that does not end is released at 64 KiB, judged by nobody."""
    done, seen = run("messages", [b"event: error\n", *[b"data: " + b"x" * 1018] * 80])

    assert (True, None) == (MOST_HELD <= done < MOST_HELD + 1024, seen)


def test_pings_alone_are_bounded() -> None:
    """An upstream that only pings is released at 64 KiB as well."""
    assert MOST_HELD <= run("messages", [PING] * 4000)[0] < MOST_HELD + len(PING)


def test_streams_without_a_reader_are_not_held() -> None:
    """A route whose events nobody here understands passes at once."""
    assert HoldBack("sessions.events.stream").done
