"""What may differ between two runs of one probe: ids, dates, the address, the gateway's own headers, nothing else.

An id is replaced by its kind and the order in which it was first seen, so that two runs still have to agree on which
places name the same object.
"""

import re
from collections.abc import Iterator
from typing import Any

# An id that the API draws is a prefix of its kind and `01…`; a name that a client chose (a custom_id, a model) is none.
ID = re.compile(r"\b([a-z]+(?:_[a-z]+)*)_01[0-9A-Za-z]{8,}\b|\b(wrkspc)_[\w.]+")
UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
DATE = re.compile(r"\b20\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)?")

# Where the API gave no id, the gateway gives its own: both count as none.
NO_ID = re.compile(r"None|'gwr_[0-9a-f]+'|\['gwr_[0-9a-f]+'\]")

# Headers that speak of the moment or of one connection, and those in which the gateway speaks for itself: its id, and
# the team's own limits in place of the workspace's.
VOLATILE = re.compile(r"date|connection|x-gateway-request-id|anthropic-ratelimit-.*")
# An overload that Claude leaves without a wait gets a short one from the gateway.
SHORT_WAIT = re.compile(r"None|\[\]|\[?'?[123]'?\]?")


def comparable(outcome: Any, base_url: str) -> Any:
    """The outcome with everything replaced or left out that differs from run to run by its nature."""
    host = base_url.partition("//")[2]
    names: dict[str, str] = {}

    def name(match: re.Match[str]) -> str:
        kind = next((group for group in match.groups() if group), "uuid")
        return names.setdefault(
            match[0], f"<{kind} {1 + sum(known.startswith(f'<{kind} ') for known in names.values())}>"
        )

    def text(value: str) -> str:
        value = DATE.sub("<date>", value.replace(base_url, "<address>").replace(host, "<host>"))
        return UUID.sub(name, ID.sub(name, value))

    def walk(thing: Any) -> Any:
        match thing:
            case str():
                return text(thing)
            case dict():
                return {
                    text(key): "<moment>" if key == "created" and is_moment(value) else walk(value)
                    for key, value in thing.items()
                    if not forgiven(key, value)
                }
            case list():
                return [walk(value) for value in thing]
            case _:
                return thing

    return walk(outcome)


def is_moment(value: Any) -> bool:
    """Whether this is a time in OpenAI's shape: seconds since the epoch, which tick between two runs."""
    return isinstance(value, int) and value > 1_700_000_000


def forgiven(name: str, value: Any) -> bool:
    if name in ("request-id", "request_id", "_request_id"):
        return NO_ID.fullmatch(repr(value)) is not None
    if name == "retry-after":
        return SHORT_WAIT.fullmatch(repr(value)) is not None
    return VOLATILE.fullmatch(name) is not None


def differences(one: Any, other: Any, where: str = "") -> Iterator[str]:
    """Each place where the two are not the same, with both values: what a reader of a failed test looks for."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from differences(one.get(key, "(absent)"), other.get(key, "(absent)"), f"{where}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for n, (mine, yours) in enumerate(zip(one, other, strict=True)):
            yield from differences(mine, yours, f"{where}[{n}]")
    elif one != other or type(one) is not type(other):
        yield f"{where or '.'}: {shortened(one)} / {shortened(other)}"


def shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 400 else f"{text[:300]} ... {text[-80:]}"
