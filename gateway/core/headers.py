"""Which headers pass, in both directions. A pass-list would break the next client; so these tables say what stops.

Requests: the client's credentials, cookies, hop-by-hop, forwarding and framing headers never leave. Responses:
hop-by-hop and framing headers are the wire's own; the workspace's rate limits are replaced by the team's.
"""

import re
from collections.abc import Iterable

from gateway.core.errors import GatewayError
from gateway.core.http import Headers

HOP_BY_HOP = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection",
        b"te", b"trailer", b"trailers", b"transfer-encoding", b"upgrade", b"http2-settings",
    }
)  # fmt: skip

CREDENTIALS = frozenset({b"x-api-key", b"authorization", b"api-key", b"cookie", b"cookie2"})

# What a proxy before us adds, and what would let a team name another workspace, person or payer (fact sheet 2.1).
_FORWARDING = frozenset(
    {
        b"forwarded", b"via", b"x-real-ip", b"true-client-ip", b"x-client-ip", b"x-cluster-client-ip", b"cdn-loop",
        b"x-amzn-trace-id",
    }
)  # fmt: skip
_FORWARDING_PREFIXES = (b"x-forwarded-", b"x-original-", b"cf-", b"x-envoy-", b"x-gateway-")
# What a sign-on proxy before us puts in: tokens and names of the company's own people.
_SIGN_ON_PREFIXES = (
    b"x-amzn-oidc-", b"x-goog-iap-", b"x-goog-authenticated-user-", b"x-ms-token-", b"x-ms-client-principal",
    b"x-auth-request-",
)  # fmt: skip
_POLICED = frozenset({b"anthropic-workspace-id", b"anthropic-user-profile-id"})
_FRAMING = frozenset({b"host", b"content-length", b"expect"})
# The answers are read on the way (usage, ids, results_url), so Claude is asked for them uncompressed.
_OURS = frozenset({b"accept-encoding"})
ASK_PLAIN = (b"accept-encoding", b"identity")

_NEVER_UP_PREFIXES = _FORWARDING_PREFIXES + _SIGN_ON_PREFIXES
_NEVER_UP = HOP_BY_HOP | CREDENTIALS | _FORWARDING | _POLICED | _FRAMING | _OURS

# A browser is told to stay away from a cookie or an alternative route that belongs to Anthropic's edge.
_NEVER_DOWN = HOP_BY_HOP | {b"content-length", b"set-cookie", b"set-cookie2", b"alt-svc", b"strict-transport-security"}
_NEVER_DOWN_PREFIXES = (b"anthropic-ratelimit-", b"anthropic-priority-", b"anthropic-fast-", b"x-gateway-")


def lookup(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """The first value of a header, None when it is absent."""
    size = len(name)
    for key, value in headers:
        if len(key) == size and key.lower() == name:  # lengths differ nearly always: half the time of a lookup
            return value
    return None


def content_coding(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Every coding of a body, b"" for none. A header that is sent twice is one list: both count."""
    values = (value for key, value in headers if key.lower() == b"content-encoding")
    codings = (coding.strip().lower() for value in values for coding in value.split(b","))
    return b", ".join(coding for coding in codings if coding not in (b"", b"identity"))


_HOST = re.compile(rb"(?:[A-Za-z0-9._\-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


def host_of(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The host and port that a client called; None when the header is missing or could be more than that in a URL."""
    host = lookup(headers, b"host")
    return host.decode("ascii") if host is not None and _HOST.fullmatch(host) else None


def named_in_connection(headers: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """The headers that a `Connection` header declares hop-by-hop."""
    named: set[bytes] = set()
    for key, value in headers:
        if key.lower() == b"connection":
            named.update(token.strip().lower() for token in value.split(b","))
    return frozenset(named)


def upstream_headers(headers: Iterable[tuple[bytes, bytes]], *, decoded: bool = False) -> Headers:
    """What of a client's headers goes to Claude, in order and unchanged. `decoded`: the body lost its coding here."""
    headers = list(headers)
    stop = _NEVER_UP | named_in_connection(headers)
    passed: Headers = []
    for key, value in headers:
        name = key.lower()
        if name in stop or name.startswith(_NEVER_UP_PREFIXES) or (decoded and name == b"content-encoding"):
            continue
        passed.append((key, value))
    passed.append(ASK_PLAIN)
    return passed


def client_headers(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """What of Claude's headers goes to the client, in order and unchanged; framing is written by the wire."""
    headers = list(headers)
    stop = _NEVER_DOWN | named_in_connection(headers)
    return [
        (key, value)
        for key, value in headers
        if (name := key.lower()) not in stop and not name.startswith(_NEVER_DOWN_PREFIXES)
    ]


def credentials(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str | None, str | None]:
    """The values of `x-api-key` and of `Authorization: Bearer`. Several different values of either are refused."""
    api_keys: set[str] = set()
    bearers: set[str] = set()
    for key, value in headers:
        name = key.lower()
        if name == b"x-api-key":
            api_keys.add(_text(value))
        elif name == b"authorization":
            scheme, _, token = _text(value).partition(" ")
            if scheme.lower() == "bearer":
                bearers.add(token.strip())
    if len(api_keys) > 1 or len(bearers) > 1:
        raise GatewayError("unauthenticated", "A credential header is sent twice with different keys. Send it once.")
    return (api_keys.pop() if api_keys else None, bearers.pop() if bearers else None)


def _text(value: bytes) -> str:
    return value.strip(b" \t").decode("utf-8", "surrogateescape")
