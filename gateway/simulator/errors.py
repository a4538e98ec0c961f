"""Claude's errors: one exception, one table from kind to status and type, one place that writes the JSON shape.

Texts and codes are those of the fact sheet, sections 3.4 and 4.1; the simulator invents a text only where it has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec


class Kind(NamedTuple):
    status: int
    type: str


KINDS = {
    "invalid": Kind(400, "invalid_request_error"),
    "unauthenticated": Kind(401, "authentication_error"),
    "billing": Kind(402, "billing_error"),
    "forbidden": Kind(403, "permission_error"),
    "not_found": Kind(404, "not_found_error"),
    "method": Kind(405, "invalid_request_error"),
    "conflict": Kind(409, "conflict_error"),
    "too_large": Kind(413, "request_too_large"),
    "rate_limited": Kind(429, "rate_limit_error"),
    "internal": Kind(500, "api_error"),
    "unavailable": Kind(503, "overloaded_error"),
    "timeout": Kind(504, "timeout_error"),
    "overloaded": Kind(529, "overloaded_error"),
}


class ApiError(Exception):
    """An answer of Claude's that is an error."""

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        code: str | None = None,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = KINDS[kind]
        self.message = message
        self.details = {"error_code": code, **(details or {})} if code else None
        self.headers = dict(headers or {})

    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = {"type": self.kind.type, "message": self.message}
        if self.details:
            error["details"] = self.details
        return error

    def body(self, request_id: str) -> bytes:
        return msgspec.json.encode({"type": "error", "error": self.error(), "request_id": request_id})


def invalid(message: str, *, code: str | None = None, **details: Any) -> ApiError:
    return ApiError("invalid", message, code=code, details=details)


def not_found(message: str = "Not found", *, code: str | None = None) -> ApiError:
    return ApiError("not_found", message, code=code)
