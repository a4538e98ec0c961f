"""Everything that can go wrong on purpose: names, when each strikes, and the dice.

A fault comes per call in the header `x-simulator-fault: NAME[=ARG], NAME[=ARG]`, or globally by `--fault
NAME=PROBABILITY[:ARG]` and `PUT /_simulator/faults`. One that answers does so before anything is generated: it is free.

| name              | what happens                                                        | ARG, and its default       |
|-------------------|---------------------------------------------------------------------|----------------------------|
| rate_limited      | 429 with retry-after                                                | seconds, 1 (sent as it is) |
| rate_limited_bare | 429 without retry-after and without rate limit headers              |                            |
| ramp              | 429 ramp_limit_exceeded with retry-after                            | seconds, 5                 |
| spend_cap         | 429 enforced_spend_limit_reached, no retry-after                    |                            |
| contract_cap      | 429 contract_spend_limit_reached, no retry-after                    |                            |
| usage_limit       | 400 with the text of an own spend limit                             | organization or workspace  |
| billing           | 402 billing_error                                                   |                            |
| key_revoked       | 401 authentication_error                                            |                            |
| key_scope         | 403 api_key_scope_missing                                           |                            |
| overloaded        | 529                                                                 | retry-after, none          |
| unavailable       | 503                                                                 | retry-after, none          |
| error             | 500                                                                 |                            |
| timeout           | 504 timeout_error                                                   |                            |
| html_502          | 502 with an HTML page and no API headers                            |                            |
| empty_200         | 200 with an empty body                                              |                            |
| status            | that status with a plain api_error body                             | the status                 |
| overloaded_event  | a stream whose first event is an overloaded_error; plain: 529       |                            |
| error_event       | a stream ends with an api_error event after N events; plain: 500    | N, 3                       |
| reset             | the connection is reset: before an answer, or after N events        | N                          |
| cut               | the connection is closed after N events, or bytes (`40b`, or plain) | N, 3                       |
| stall             | nothing more is sent after N events, or bytes; the connection stays | N, 3                       |
| slow_first_byte   | the head is sent that much later                                    | seconds, 1                 |
| slow_drip         | a pause before every event, or every 256 bytes of a plain answer    | seconds, 0.1               |
| gzip              | the answer is gzipped, event by event                               |                            |
| early_hints       | a 103 before the answer                                             |                            |
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.simulator.errors import ApiError, invalid

HTML = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n"
    b"<body><center><h1>502 Bad Gateway</h1></center></body>\r\n</html>\r\n"
)
REGAIN = "You will regain access on 2026-12-01 at 00:00 UTC."
LIMIT_TEXTS = {
    "organization": f"You have reached your specified API usage limits. {REGAIN}",
    "workspace": f"You have reached your specified workspace API usage limits. {REGAIN}",
}


def retry_after(arg: str, default: str = "") -> dict[str, str]:
    value = arg or default
    return {"retry-after": value} if value else {}


def rate_limited(arg: str) -> ApiError:
    return ApiError(
        "rate_limited", "This request would exceed your organization's rate limit.", headers=retry_after(arg, "1")
    )


def spend_cap(code: str, what: str) -> Callable[[str], ApiError]:
    text = f"This request would exceed your {what} spend limit. Access resumes on 2026-12-01 at 00:00 UTC."
    return lambda _: ApiError("rate_limited", text, code=code)


# Faults that are an error answer of the API: name to the error, given the argument.
ANSWERS: dict[str, Callable[[str], ApiError]] = {
    "rate_limited": rate_limited,
    "ramp": lambda arg: ApiError(
        "rate_limited",
        "Your usage is growing too fast for its acceleration limit.",
        code="ramp_limit_exceeded",
        headers=retry_after(arg, "5"),
    ),
    "spend_cap": spend_cap("enforced_spend_limit_reached", "monthly"),
    "contract_cap": spend_cap("contract_spend_limit_reached", "contract"),
    "usage_limit": lambda arg: invalid(LIMIT_TEXTS[arg if arg in LIMIT_TEXTS else "organization"]),
    "billing": lambda _: ApiError("billing", "Your credit balance is too low to access the Claude API."),
    "key_revoked": lambda _: ApiError("unauthenticated", "invalid x-api-key"),
    "key_scope": lambda _: ApiError(
        "forbidden", "This API key lacks the scope for this call.", code="api_key_scope_missing"
    ),
    "overloaded": lambda arg: ApiError("overloaded", "Overloaded", headers=retry_after(arg)),
    "unavailable": lambda arg: ApiError("unavailable", "Service unavailable", headers=retry_after(arg)),
    "error": lambda _: ApiError("internal", "Internal server error"),
    "timeout": lambda _: ApiError("timeout", "Request timed out"),
}
RAW = frozenset(
    {"rate_limited_bare", "html_502", "empty_200", "status"}
)  # answers that bypass the API's own head or body
WIRE = frozenset(
    ("overloaded_event", "error_event", "reset", "cut", "stall", "slow_first_byte", "slow_drip", "gzip", "early_hints")
)
NAMES = frozenset(ANSWERS) | RAW | WIRE

Struck = dict[str, str]  # the faults of one request: name to argument


def parse(header: str) -> Struck:
    struck: Struck = {}
    for word in header.split(","):
        name, _, arg = word.strip().partition("=")
        if name:
            known(name)
            struck[name] = arg.strip()
    return struck


def known(name: str) -> None:
    if name not in NAMES:
        raise invalid(f"x-simulator-fault: {name!r} is no fault; the faults are {', '.join(sorted(NAMES))}.")


@dataclass(slots=True)
class Rule:
    """A global fault: how often, with what, for which paths, and how many times at most."""

    probability: float = 1.0
    arg: str = ""
    path: str = "/"
    method: str = ""
    times: int | None = None

    @classmethod
    def of(cls, name: str, value: Any) -> Rule:
        known(name)
        facts = dict(value) if isinstance(value, Mapping) else {"probability": value}
        if "arg" in facts:
            facts["arg"] = str(facts["arg"])
        try:
            rule = cls(**facts)
            rule.probability = float(rule.probability)
        except (TypeError, ValueError):
            raise invalid(f"faults.{name}: write a probability or {{probability, arg, path, method, times}}.") from None
        return rule


class Faults:
    """The global rules and the dice; the same seed and the same order of requests give the same faults."""

    def __init__(self, rules: Mapping[str, Any], seed: int) -> None:
        self.dice = random.Random(seed)
        self.replace(rules)

    def replace(self, rules: Mapping[str, Any]) -> None:
        self.rules = {name: Rule.of(name, value) for name, value in rules.items()}
        self.struck: dict[str, int] = {}

    def strike(self, method: str, path: str, headers: Iterable[str]) -> Struck:
        struck: Struck = {}
        for name, rule in self.rules.items():
            if not path.startswith(rule.path) or (rule.method and rule.method != method) or rule.times == 0:
                continue
            if rule.probability >= 1.0 or self.dice.random() < rule.probability:
                struck[name] = rule.arg
                if rule.times is not None:
                    rule.times -= 1
        for header in headers:
            struck |= parse(header)
        for name in struck:
            self.struck[name] = self.struck.get(name, 0) + 1
        return struck


def amount(arg: str, default: int) -> tuple[int, bool]:
    """`3` is three events, `40b` forty bytes: the number and whether it is bytes."""
    digits = arg.removesuffix("b")
    return (int(digits) if digits.isdigit() else default), arg.endswith("b")


def seconds(arg: str, default: float) -> float:
    try:
        return max(0.0, float(arg))
    except ValueError:
        return default
