"""The head of a request as bytes.

Rule: nothing that a header's name, its value or the target holds can add a line or change the framing. Host and the
framing headers are written here alone; whoever passes them in is refused, because two of them is request smuggling.
"""

import re

from gateway.core.http import Outgoing

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET = re.compile(rb"[!-~\x80-\xff]+")
_OURS = frozenset({b"host", b"content-length", b"transfer-encoding"})
_EXPECTS_BODY = frozenset({"POST", "PUT", "PATCH"})

# Names repeat from request to request, so each is checked once. Clients choose names: the memory is bounded.
_sound_names: set[bytes] = set()
_SOUND_NAMES_KEPT = 4096


def request_head(
    out: Outgoing, authority: bytes, *, absolute: bool = False, proxy_authorization: bytes | None = None
) -> bytes:
    """Request line, Host, the headers as given, then framing. Raises ValueError, which never quotes a value.

    `authority` is the origin's in wire form, `absolute` the form of the target that a plain HTTP proxy wants.
    """
    parts = [_request_line(out, b"http://" + authority if absolute else b""), b"Host: ", authority, b"\r\n"]
    lines = 2
    for name, value in out.headers:
        if name not in _sound_names:
            _check_name(name)
        parts += (name, b": ", value, b"\r\n")
        lines += 1
    if proxy_authorization is not None:
        parts += (b"Proxy-Authorization: ", proxy_authorization, b"\r\n")
        lines += 1
    framing = _framing(out)
    if framing:
        parts.append(framing)
        lines += 1
    parts.append(b"\r\n")
    head = b"".join(parts)
    # Counting over the whole head costs three scans in C; a loop over every value would cost a microsecond each.
    if head.count(b"\n") != lines + 1 or head.count(b"\r") != lines + 1 or b"\0" in head:
        raise ValueError(_culprit(out))
    return head


def _request_line(out: Outgoing, prefix: bytes) -> bytes:
    method = out.method.encode("ascii", "replace")
    if not _TOKEN.fullmatch(method):
        raise ValueError(f"method {out.method!r} is not a token")
    if not _TARGET.fullmatch(out.target):
        raise ValueError("the target of a request has a blank or a control character, or is empty; percent-encode it")
    return b"%b %b%b HTTP/1.1\r\n" % (method, prefix, out.target)


def _framing(out: Outgoing) -> bytes:
    body = out.body
    if body is None:
        # RFC 9110 8.6: a method that anticipates content says that there is none.
        return b"Content-Length: 0\r\n" if out.method in _EXPECTS_BODY else b""
    if isinstance(body, bytes | bytearray):
        return b"Content-Length: %d\r\n" % len(body)
    if isinstance(body, memoryview):
        return b"Content-Length: %d\r\n" % body.nbytes
    if out.length is None:
        return b"Transfer-Encoding: chunked\r\n"
    if out.length < 0:
        raise ValueError(f"length {out.length} of a streamed body is negative")
    return b"Content-Length: %d\r\n" % out.length


def _check_name(name: bytes) -> None:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"header name {name[:64]!r} is not a token")
    if name.lower() in _OURS:
        raise ValueError(f"header {name!r} is written by the client itself; leave it out")
    if len(_sound_names) >= _SOUND_NAMES_KEPT:
        _sound_names.clear()
    _sound_names.add(name)


def _culprit(out: Outgoing) -> str:
    for name, value in out.headers:
        if b"\r" in value or b"\n" in value or b"\0" in value:
            return f"the value of header {name!r} has CR, LF or NUL"
    return "the head of a request has CR, LF or NUL where none may be"
