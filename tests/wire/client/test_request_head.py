"""The head of a request, as bytes: what is written, and what cannot be."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.http import Headers, Origin, Outgoing
from gateway.wire.request_head import request_head
from tests.wire.client.asking import stream

ORIGIN = Origin("https", "api.claude.test", 443)


def head(method: str = "GET", target: bytes = b"/v1", headers: Headers | None = None, **rest: Any) -> bytes:
    return request_head(Outgoing(method, ORIGIN, target, headers or [], **rest), b"api.claude.test")


@pytest.mark.parametrize(
    ("method", "body", "length", "framing"),
    [
        ("GET", None, None, b""),
        ("HEAD", None, None, b""),
        ("DELETE", None, None, b""),
        ("POST", None, None, b"Content-Length: 0\r\n"),
        ("PUT", None, None, b"Content-Length: 0\r\n"),
        ("PATCH", None, None, b"Content-Length: 0\r\n"),
        ("GET", b"", None, b"Content-Length: 0\r\n"),
        ("POST", b"abc", None, b"Content-Length: 3\r\n"),
        ("POST", bytearray(b"abc"), None, b"Content-Length: 3\r\n"),
        ("POST", memoryview(b"abcdef")[2:], None, b"Content-Length: 4\r\n"),
        ("DELETE", b"abc", None, b"Content-Length: 3\r\n"),
        ("POST", stream(), 7, b"Content-Length: 7\r\n"),
        ("POST", stream(), 0, b"Content-Length: 0\r\n"),
        ("POST", stream(), None, b"Transfer-Encoding: chunked\r\n"),
    ],
)
def test_framing_stands_last(method: str, body: Any, length: int | None, framing: bytes) -> None:
    """Request line, Host, the headers as given, then exactly the framing that the body asks for."""
    given_headers = [(b"X-B", b"1"), (b"x-a", b""), (b"X-B", b"2 \xe9")]

    assert method.encode() + (
        b" /v1 HTTP/1.1\r\nHost: api.claude.test\r\nX-B: 1\r\nx-a: \r\nX-B: 2 \xe9\r\n" + framing + b"\r\n"
    ) == head(method, headers=given_headers, body=body, length=length)


def test_the_form_for_a_proxy() -> None:
    """A plain HTTP proxy gets the whole address in the request line, and its own credentials."""
    out = Outgoing("GET", Origin("http", "claude.test", 8080), b"/v1?a=b", [(b"A", b"1")])

    assert (
        b"GET http://claude.test:8080/v1?a=b HTTP/1.1\r\nHost: claude.test:8080\r\nA: 1\r\n"
        b"Proxy-Authorization: Basic eDp5\r\n\r\n"
    ) == request_head(out, b"claude.test:8080", absolute=True, proxy_authorization=b"Basic eDp5")


@pytest.mark.parametrize("name", [b"", b"a b", b"a:", b"a\r\nb", b"a\nb", b"a\0", b"\xe9", b"a\r\n", b"(x)"])
def test_names_are_tokens(name: bytes) -> None:
    """A header's name is a token of RFC 9110, whatever it would do to the line."""
    with pytest.raises(ValueError, match="is not a token"):
        head(headers=[(name, b"v")])


@pytest.mark.parametrize("value", [b"a\r\nX: y", b"a\n", b"\r", b"a\0b", b"\r\n", b"\n\r"])
def test_values_hold_no_line_end(value: bytes) -> None:
    """CR, LF and NUL in a value are refused by the header's name, not by its value."""
    with pytest.raises(ValueError, match=r"the value of header b'X-Key' has CR, LF or NUL"):
        head(headers=[(b"A", b"b"), (b"X-Key", value)])


@pytest.mark.parametrize("target", [b"", b"/a b", b"/a\r\nX: y", b"/\n", b"/\0", b"/\t", b"/\x7f"])
def test_targets_hold_no_blank(target: bytes) -> None:
    """A target is one word."""
    with pytest.raises(ValueError, match="target"):
        head(target=target)


@pytest.mark.parametrize("method", ["", "GET ", "GET / HTTP/1.1\r\nX:", "GÉT"])
def test_methods_are_tokens(method: str) -> None:
    """A method is a token."""
    with pytest.raises(ValueError, match="method"):
        head(method)


@pytest.mark.parametrize("name", [b"Host", b"host", b"CONTENT-LENGTH", b"Transfer-Encoding"])
def test_framing_is_not_the_callers(name: bytes) -> None:
    """A second Host or a second framing is how requests are smuggled: refused."""
    with pytest.raises(ValueError, match="written by the client itself"):
        head(headers=[(name, b"1")])


def test_a_negative_length_is_refused() -> None:
    with pytest.raises(ValueError, match="length -1"):
        head("POST", body=stream(), length=-1)


@given(
    st.text(max_size=8),
    st.binary(max_size=20),
    st.lists(st.tuples(st.binary(max_size=8), st.binary(max_size=12)), max_size=4),
)
def test_nothing_adds_a_line(method: str, target: bytes, headers: Headers) -> None:
    """Whatever is put in, either it is refused or the head has exactly the lines that were asked for."""
    try:
        raw = head(method, target, headers)
    except ValueError:
        return
    lines = raw.split(b"\r\n")

    assert [b"Host: api.claude.test", *(name + b": " + value for name, value in headers)] == [
        line for line in lines[1:-2] if line != b"Content-Length: 0" or method not in ("POST", "PUT", "PATCH")
    ]
    assert len(lines) - 1 == raw.count(b"\n") == raw.count(b"\r")
