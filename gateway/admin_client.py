"""Asking a running gateway's admin API from the command line."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec

_SECONDS = 30.0


class NotAnswered(Exception):
    """The gateway could not be reached, or refused; the text says what to do."""


def address(said: str | None, env: Mapping[str, str]) -> str:
    """The ops listener's URL: as said, else where this environment's gateway listens."""
    if said is not None:
        return said.rstrip("/")
    host = env.get("GATEWAY_OPS_HOST") or "127.0.0.1"
    if host in ("0.0.0.0", "::"):  # noqa: S104 - a wildcard is reached by loopback
        host = "127.0.0.1"
    scheme = "https" if env.get("GATEWAY_TLS_CERT") else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{env.get('GATEWAY_OPS_PORT') or 9090}"


def ask(
    url: str, token: str | None, path: str, *, query: Mapping[str, str | None] | None = None, body: Any = None
) -> bytes:
    """The answer's body; a body given makes it a POST. Raises NotAnswered."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise NotAnswered(f"--url must be the ops listener's URL such as http://127.0.0.1:9090, not {url[:80]!r}.")
    if not token:
        raise NotAnswered("No admin token: set GATEWAY_ADMIN_TOKEN, or give --token.")
    given = {name: value for name, value in (query or {}).items() if value is not None}
    request = urllib.request.Request(  # noqa: S310 - the scheme was looked at above
        f"{url}/admin/v1/{path}" + (f"?{urlencode(given)}" if given else ""),
        data=None if body is None else msgspec.json.encode(body),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310 - as above
            read: bytes = answer.read()
            return read
    except urllib.error.HTTPError as error:
        raise NotAnswered(_message(error)) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise NotAnswered(f"{url} can't be reached: {reason}. It is the ops listener; name it with --url.") from None


def _message(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read())["error"]["message"])
    except (ValueError, KeyError, TypeError, OSError):
        return f"{error.code} {error.reason}: this is not a gateway's ops listener."
