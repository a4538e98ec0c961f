"""How much of Claude's limits a workspace has left, as its answers say, and which limit was used up.

Shown as metrics and used to choose among failover workspaces. Never to choose among keys: they share one limit.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

_PREFIX: Final = b"anthropic-ratelimit-"
LIMITS: Final = ("requests", "tokens", "input-tokens", "output-tokens")
_NAMES: Final = {
    _PREFIX + limit.encode() + b"-" + part.encode(): (limit, part)
    for limit in LIMITS
    for part in ("limit", "remaining", "reset")
}
# Below this share a workspace is as good as full: another one with more is asked first.
LOW: Final = 0.1


def headroom_of(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, float]:
    """The share that is left of each limit, 0 to 1, as far as the answer says."""
    found: dict[str, dict[str, bytes]] = {}
    for key, value in headers:
        name = _NAMES.get(key.lower())
        if name is not None:
            found.setdefault(name[0], {})[name[1]] = value
    shares = {}
    for limit, parts in found.items():
        most, left = parts.get("limit", b""), parts.get("remaining", b"")
        if most.isdigit() and left.isdigit() and int(most) > 0:
            shares[limit] = min(1.0, int(left) / int(most))
    return shares


def reset_of(headers: Iterable[tuple[bytes, bytes]], wall: float) -> float | None:
    """Seconds until the latest reset among the limits with nothing left; None when none is used up."""
    empty: set[str] = set()
    resets: dict[str, float] = {}
    for key, value in headers:
        limit, part = _NAMES.get(key.lower(), ("", ""))
        if part == "remaining" and value.strip() == b"0":
            empty.add(limit)
        elif part == "reset":
            moment = _moment(value)
            if moment is not None:
                resets[limit] = moment - wall
    return max((resets[limit] for limit in empty if limit in resets), default=None)


def about_fast_mode(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """A fast-mode limit was used up (fact sheet 3.4): the same model at standard speed has limits of its own."""
    return any(
        key.lower().startswith(b"anthropic-fast-") and key.lower().endswith(b"-remaining") and value.strip() == b"0"
        for key, value in headers
    )


def _moment(value: bytes) -> float | None:
    try:
        moment = datetime.fromisoformat(value.decode("ascii").strip())
    except ValueError:  # a UnicodeDecodeError is one
        return None
    return moment.timestamp() if moment.tzinfo is not None else None
