"""This Claude's own rate limits: token buckets per model class, the 429 and the `anthropic-ratelimit-*` headers.

Fact sheet 3.1 to 3.4. Buckets refill continuously and hold one minute; input counts uncached and written tokens, output
counts what was produced, so an output bucket can go below zero and then refuses the next request.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime

from gateway.simulator.errors import ApiError

KINDS = {"requests": "requests", "input": "input tokens", "output": "output tokens"}


@dataclass(slots=True)
class Bucket:
    limit: int
    level: float
    at: float

    def fill(self, now: float) -> float:
        self.level = min(self.limit, self.level + (now - self.at) * self.limit / 60)
        self.at = now
        return self.level

    def wait(self, amount: float) -> int:
        """Whole seconds until `amount` fits."""
        return max(1, math.ceil((min(amount, self.limit) - self.level) * 60 / self.limit))


@dataclass(slots=True)
class Limits:
    requests: int
    input: int
    output: int
    count: int
    buckets: dict[tuple[str, str], Bucket] = field(default_factory=dict)

    def replace(self, **limits: int) -> None:
        for kind, value in limits.items():
            setattr(self, kind, value)
        self.buckets.clear()

    def bucket(self, limit_class: str, kind: str, now: float) -> Bucket:
        key = (limit_class, kind)
        bucket = self.buckets.get(key)
        if bucket is None:
            limit: int = getattr(self, kind)
            bucket = self.buckets[key] = Bucket(limit, limit, now)
        bucket.fill(now)
        return bucket

    def take(self, limit_class: str, amounts: dict[str, int], now: float) -> None:
        """Take all amounts or refuse with the tightest bucket's 429."""
        buckets = {kind: self.bucket(limit_class, kind, now) for kind in amounts}
        for kind, amount in amounts.items():
            bucket = buckets[kind]
            # A request larger than the whole bucket passes when the bucket is full, or it never would.
            if bucket.level < min(max(amount, 1), bucket.limit):
                raise ApiError(
                    "rate_limited",
                    f"This request would exceed your organization's rate limit of {bucket.limit:,} "
                    f"{KINDS.get(kind, 'requests')} per minute ({limit_class}).",
                    headers={"retry-after": str(bucket.wait(amount)), **self.headers(limit_class, now)},
                )
        for kind, amount in amounts.items():
            buckets[kind].level -= amount

    def produced(self, limit_class: str, tokens: int, now: float) -> None:
        self.bucket(limit_class, "output", now).level -= tokens

    def headers(self, limit_class: str, now: float) -> dict[str, str]:
        found: dict[str, str] = {}
        tokens: list[tuple[float, int, int, float]] = []
        for kind, name in (("requests", "requests"), ("input", "input-tokens"), ("output", "output-tokens")):
            bucket = self.bucket(limit_class, kind, now)
            left = max(0, int(bucket.level))
            if kind != "requests":
                left = min(bucket.limit, round(left, -3))
                tokens.append((bucket.level / bucket.limit, bucket.limit, left, full_in(bucket)))
            trio(found, name, limit=bucket.limit, left=left, resets=now + full_in(bucket))
        if tokens:
            _, limit, left, full = min(tokens)
            trio(found, "tokens", limit=limit, left=left, resets=now + full)
        return found


def full_in(bucket: Bucket) -> float:
    """Seconds until the bucket is full again."""
    return (bucket.limit - bucket.level) * 60 / bucket.limit


def trio(headers: dict[str, str], name: str, *, limit: int, left: int, resets: float) -> None:
    reset = datetime.fromtimestamp(math.ceil(resets), UTC)
    headers[f"anthropic-ratelimit-{name}-limit"] = str(limit)
    headers[f"anthropic-ratelimit-{name}-remaining"] = str(left)
    headers[f"anthropic-ratelimit-{name}-reset"] = f"{reset:%Y-%m-%dT%H:%M:%SZ}"
