"""Errors of our own, from one table, in the shape every Claude client knows.

Raise `GatewayError(kind, message)` where the fault is known; it is turned into an answer in one place (proxy.py).
Claude's own error bodies never pass through here: they are relayed byte for byte.
"""

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

RefusedBy = Literal["limit", "budget", "policy", "gateway"]

# A retry-after up to this many seconds is worth a client's own retry. Above it new SDKs would sleep for hours and
# old ones hammer (fact sheet 4.2), so the answer says `x-should-retry: false`.
LONGEST_RETRY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """One row: the answer's status and type, whose refusal it is, and whether the same call may succeed soon."""

    status: int
    type: str
    refused_by: RefusedBy
    retry: bool


KINDS: dict[str, ErrorKind] = {
    #                                status  type                       refused by  retry
    "malformed":           ErrorKind(400, "invalid_request_error",      "gateway",  retry=False),
    "body_timeout":        ErrorKind(400, "invalid_request_error",      "gateway",  retry=False),
    "usage_limit":         ErrorKind(400, "invalid_request_error",      "limit",    retry=False),
    "unauthenticated":     ErrorKind(401, "authentication_error",       "gateway",  retry=False),
    "not_allowed":         ErrorKind(403, "permission_error",           "policy",   retry=False),
    "not_found":           ErrorKind(404, "not_found_error",            "policy",   retry=False),
    "unknown_route":       ErrorKind(404, "not_found_error",            "gateway",  retry=False),
    "wrong_method":        ErrorKind(405, "invalid_request_error",      "gateway",  retry=False),
    "head_timeout":        ErrorKind(408, "timeout_error",              "gateway",  retry=True),
    "unsettled":           ErrorKind(409, "conflict_error",             "gateway",  retry=True),
    "too_large":           ErrorKind(413, "request_too_large",          "gateway",  retry=False),
    "rate_limited":        ErrorKind(429, "rate_limit_error",           "limit",    retry=True),
    "budget_exhausted":    ErrorKind(429, "billing_error",              "budget",   retry=False),
    "head_too_large":      ErrorKind(431, "invalid_request_error",      "gateway",  retry=False),
    "internal":            ErrorKind(500, "api_error",                  "gateway",  retry=True),
    "unreachable":         ErrorKind(502, "api_error",                  "gateway",  retry=True),
    "upstream_broken":     ErrorKind(502, "api_error",                  "gateway",  retry=True),
    "workspace_key":       ErrorKind(503, "api_error",                  "gateway",  retry=True),
    "upstream_timeout":    ErrorKind(504, "timeout_error",              "gateway",  retry=True),
    "busy":                ErrorKind(529, "overloaded_error",           "gateway",  retry=True),
    "overloaded":          ErrorKind(529, "overloaded_error",           "gateway",  retry=True),
    "draining":            ErrorKind(529, "overloaded_error",           "gateway",  retry=True),
    "store_down":          ErrorKind(529, "overloaded_error",           "gateway",  retry=True),
}  # fmt: skip


# Claude's faults; all other kinds are the client's or ours.
UPSTREAM_KINDS = frozenset({"unreachable", "upstream_broken", "upstream_timeout", "workspace_key"})


class GatewayError(Exception):
    """A refusal or a fault: `message` is for the client, `detail` for the log alone."""

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        detail: str = "",
        retry_after: float | None = None,
        code: str | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        close: bool = False,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.row = KINDS[kind]
        self.message = message
        self.detail = detail
        self.retry_after = retry_after
        self.code = code  # becomes error.details.error_code, as Claude does
        self.headers = headers
        self.close = close  # the connection can't be used again (an unread body, a broken head)

    @property
    def should_retry(self) -> bool:
        if not self.row.retry:
            return False
        return self.retry_after is None or self.retry_after <= LONGEST_RETRY_SECONDS


def error_body(error_type: str, message: str, request_id: str, code: str | None = None) -> bytes:
    """The JSON body of an error, as Claude writes it."""
    error: dict[str, Any] = {"type": error_type, "message": message}
    if code is not None:
        error["details"] = {"error_code": code}
    return msgspec.json.encode({"type": "error", "error": error, "request_id": request_id})


def error_headers(error: GatewayError) -> list[tuple[bytes, bytes]]:
    """What every answer with an error of ours says of it, besides the ids."""
    headers = [(b"content-type", b"application/json"), *error.headers]
    headers.append((b"x-should-retry", b"true" if error.should_retry else b"false"))
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % whole_seconds(error.retry_after)))
    headers.append((b"x-gateway-refused-by", error.row.refused_by.encode()))
    return headers


def error_event(error_type: str, message: str, request_id: str) -> bytes:
    """The same error as one SSE event, for a stream whose head has gone out."""
    return b"event: error\ndata: " + error_body(error_type, message, request_id) + b"\n\n"


def whole_seconds(seconds: float) -> int:
    """Seconds for a `retry-after`: rounded up, at least 1 (a fast-paced caller must not come too early)."""
    return max(1, -int(-seconds // 1))
