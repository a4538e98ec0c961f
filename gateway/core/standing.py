"""Where a team stands, in the words of Claude's own rate-limit headers and as JSON; never the workspace's numbers."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from gateway.core.http import Headers
from gateway.core.limits import Bucket, Kind, Level, Standing

# Which trio a kind is shown in. Counting tokens and stored objects have request limits of their own.
_TRIOS: dict[Kind, str] = {
    Kind.REQUESTS: "requests",
    Kind.COUNT_REQUESTS: "requests",
    Kind.OBJECT_REQUESTS: "requests",
    Kind.TOKENS: "tokens",
    Kind.INPUT: "input-tokens",
    Kind.OUTPUT: "output-tokens",
}


def own(levels: Iterable[Level]) -> list[Level]:
    """The levels that are the team's business: of its key and its own, in force."""
    return [level for level in levels if not level.bucket.shadow and level.bucket.owner.startswith(("key:", "team:"))]


def limit_headers(levels: Iterable[Level], now: float) -> Headers:
    """`anthropic-ratelimit-*` with the tightest limit of each kind, as of the reserve.

    `remaining` never exceeds `limit`: a bucket that holds more than a minute's worth would read as an error.
    """
    tightest: dict[str, Level] = {}
    for level in own(levels):
        trio = _TRIOS.get(level.bucket.kind)
        if trio is not None and (trio not in tightest or level.remaining < tightest[trio].remaining):
            tightest[trio] = level
    headers: Headers = []
    for trio, level in tightest.items():
        limit = level.bucket.per_minute
        name = b"anthropic-ratelimit-" + trio.encode()
        headers += [
            (name + b"-limit", b"%d" % limit),
            (name + b"-remaining", b"%d" % max(0, min(limit, level.remaining))),
            (name + b"-reset", rfc3339(now + level.full_after_seconds).encode()),
        ]
    return headers


def rfc3339(seconds: float) -> str:
    """A moment as Claude writes it, rounded up: at that time it really is so."""
    return datetime.fromtimestamp(-int(-seconds // 1), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def limit_rows(levels: Sequence[Level], now: float) -> list[dict[str, Any]]:
    """Each limit for `GET /gateway/v1/limits`."""
    return [
        {
            "of": _owner(level.bucket),
            "kind": level.bucket.kind.value,
            "models": level.bucket.pattern,
            "per_minute": level.bucket.per_minute if level.bucket.kind is not Kind.SLOTS else None,
            "capacity": level.bucket.capacity,
            "remaining": max(0, level.remaining),
            "debt": max(0, -level.remaining),
            "full_at": rfc3339(now + level.full_after_seconds) if level.bucket.kind is not Kind.SLOTS else None,
            "shadow": level.bucket.shadow,
        }
        for level in levels
    ]


def budget_rows(standings: Sequence[Standing]) -> list[dict[str, Any]]:
    """Each budget for `GET /gateway/v1/limits`."""
    return [
        {
            "of": standing.budget.owner.partition(":")[0],
            "per": standing.budget.per,
            "usd": standing.ceiling_nano / 1e9,
            "spent_usd": standing.spent_nano / 1e9,
            "held_usd": standing.held_nano / 1e9,
            "remaining_usd": max(0, standing.ceiling_nano - standing.spent_nano - standing.held_nano) / 1e9,
            "resets": rfc3339(standing.resets),
            "mode": standing.budget.mode,
        }
        for standing in standings
    ]


def _owner(bucket: Bucket) -> str:
    return bucket.owner.partition(":")[0]
