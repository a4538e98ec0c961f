"""What an upstream's failure means for the team: pure judgements over heads, bodies and broken connections."""

import re
import zlib

import msgspec

from gateway.core.errors import GatewayError, error_body
from gateway.core.http import Fault, Headers, Stage, UpstreamFailed

# The longest error body that is looked into; a longer one is relayed as it is.
ERROR_BODY_LIMIT = 256 * 1024

_TIMEOUTS: dict[Stage, str] = {
    "connect": "No connection to Claude could be made in time. Retry in a moment.",
    "send": "Claude did not take the request in time. Retry with a smaller body or in a moment.",
    "head": "Claude sent no answer in time. Ask for a stream, or retry.",
    "body": "Claude's answer stalled. Retry.",
}
_BROKEN: dict[Fault, str] = {
    "refused": "Claude could not be reached. Retry in a moment.",
    "dns": "Claude's host name could not be resolved. The platform team must check the gateway's DNS.",
    "tls": "No secure connection to Claude could be made. The platform team must check the gateway's certificates.",
    "proxy": "The corporate proxy refused the way to Claude. The platform team must check the gateway's proxy.",
    "reset": "The connection to Claude broke before it answered. Retry.",
    "protocol": "Claude's answer was not valid HTTP. Retry.",
}
_CUT = "The connection to Claude broke in the middle of its answer. Retry."


def failure(error: UpstreamFailed) -> GatewayError:
    """A broken exchange as an answer for the client."""
    if error.fault == "timeout":
        kind = "unreachable" if error.stage == "connect" else "upstream_timeout"
        return GatewayError(kind, _TIMEOUTS[error.stage], detail=str(error), retry_after=1)
    kind = "unreachable" if error.stage == "connect" else "upstream_broken"
    message = _CUT if error.stage == "body" else _BROKEN[error.fault]
    return GatewayError(kind, message, detail=str(error), retry_after=1)


class _Detail(msgspec.Struct):
    error_code: str | None = None


class _Error(msgspec.Struct):
    type: str | None = None
    message: str | None = None
    details: _Detail | None = None


class _ErrorBody(msgspec.Struct):
    error: _Error | None = None


_error_body = msgspec.json.Decoder(_ErrorBody)


def read_error(body: bytes) -> tuple[str, str, str]:
    """(type, message, code) of an error body in Claude's shape; empty strings for what is not there."""
    try:
        error = _error_body.decode(body).error
    except (msgspec.MsgspecError, RecursionError):
        return "", "", ""
    if error is None:
        return "", "", ""
    return error.type or "", error.message or "", (error.details and error.details.error_code) or ""


def about_our_key(status: int, body: bytes) -> bool:
    """Whether an error is about the workspace's key, which no team can mend (fact sheet 4.1).

    A 401 always is: the credential was ours. A 403 is when it names the key or its scope; other 403s (a feature the
    organization lacks, a billing profile) are the request's own and pass.
    """
    if status == 401:
        return True
    if status != 403:
        return False
    _, message, code = read_error(body)
    return code == "api_key_scope_missing" or "API key" in message


def decoded(body: bytes, coding: bytes | None, limit: int = ERROR_BODY_LIMIT) -> bytes:
    """A compressed body as text to be judged; empty when it can't be read."""
    if coding is None or coding.strip().lower() in (b"", b"identity"):
        return body
    try:
        return zlib.decompressobj(47).decompress(body, limit)
    except zlib.error:
        return b""


def is_json(body: bytes) -> bool:
    """Whether an error body is the API's and passes as it is; an edge's HTML page is not."""
    return body.lstrip()[:1] in (b"{", b"[")


_TYPE_OF_STATUS = {
    400: "invalid_request_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def wrapped(status: int, request_id: str) -> bytes:
    """The error that stands for an edge's HTML page: same status, the API's shape."""
    if status == 413:
        message = "The request is too large for Claude. Send less at once."
    elif status >= 500:
        message = f"The edge in front of Claude answered {status} without an API error. Retry in a moment."
    else:
        message = f"The edge in front of Claude refused the request with {status} and no API error."
    fallback = "api_error" if status >= 500 else "invalid_request_error"
    return error_body(_TYPE_OF_STATUS.get(status, fallback), message, request_id)


def wrapped_headers(headers: Headers) -> Headers:
    """The page's headers, less what described its body."""
    gone = (b"content-type", b"content-encoding", b"content-length", b"transfer-encoding")
    return [*(pair for pair in headers if pair[0].lower() not in gone), (b"content-type", b"application/json")]


_RESULTS_URL = re.compile(rb'("results_url"[ \t\r\n]*:[ \t\r\n]*)("(?:[^"\\]|\\.)*")')
_ORIGIN = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.\-]*:)?//[^/?#]*|[^/]*")


def rewrite_results_urls(body: bytes, public_url: str) -> bytes:
    """Point every `results_url` at the gateway; all other bytes stay.

    SDKs GET that absolute URL with the client's own credential: unrewritten, team keys leave the company (clients.md).
    """

    def replaced(match: re.Match[bytes]) -> bytes:
        try:
            url = msgspec.json.decode(match[2], type=str)
        except msgspec.MsgspecError:
            return match[1] + b"null"  # no URL at all is better than one that leads away
        path = _ORIGIN.sub("", url, count=1)
        at = path.find("/v1/")
        return match[1] + msgspec.json.encode(public_url.rstrip("/") + (path[at:] if at >= 0 else path))

    return _RESULTS_URL.sub(replaced, body)
