"""The words of an answer: text of exactly so many tokens, and values that fit a JSON schema; all deterministic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.simulator.tokens import WORDS


def make_cycle() -> tuple[str, ...]:
    """One token each: words with the blank before them, a full stop after every twelfth."""
    cycle: list[str] = []
    at = 7
    for n in range(1, 2_048):
        at = (at * 75 + 74) % 65_537
        cycle.append(" " + WORDS[at % len(WORDS)])
        if n % 12 == 0:
            cycle.append(".")
    return tuple(cycle)


CYCLE = make_cycle()
OPENING = ("this", " is", " a", " simulated", " answer", ".")
DEEPEST = 12
MOST_ITEMS = 100


def speak(seed: int, tokens: int) -> list[str]:
    """That many tokens; joined they are the text."""
    words = list(OPENING[:tokens])
    start = seed % len(CYCLE)
    while len(words) < tokens:
        words.extend(CYCLE[start : start + tokens - len(words)])
        start = 0
    return words


def in_events(words: list[str], per_event: int) -> Iterator[tuple[str, int]]:
    for at in range(0, len(words), per_event):
        some = words[at : at + per_event]
        yield "".join(some), len(some)


def cut(text: str, tokens: int, per_event: int) -> Iterator[tuple[str, int]]:
    """A text of known size in as many events as its tokens fill."""
    events = max(1, -(-tokens // per_event))
    for n in range(events):
        piece = text[len(text) * n // events : len(text) * (n + 1) // events]
        yield piece, tokens * (n + 1) // events - tokens * n // events


def sample(schema: Any, depth: int = 0) -> Any:
    """A value that fits the schema, as far as its common keywords go; schemas that make no sense give a word."""
    if not isinstance(schema, Mapping) or depth > DEEPEST:
        return "example"
    if "const" in schema:
        return schema["const"]
    for keyword in ("enum", "anyOf", "oneOf", "allOf"):
        choices = schema.get(keyword)
        if isinstance(choices, list) and choices:
            return choices[0] if keyword == "enum" else sample(choices[0], depth + 1)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0] if kind else None
    properties = schema.get("properties")
    if kind == "object" or isinstance(properties, Mapping):
        known = properties if isinstance(properties, Mapping) else {}
        wanted = schema.get("required")
        names = (
            [name for name in wanted if isinstance(name, str)] if isinstance(wanted, list) and wanted else list(known)
        )
        return {name: sample(known.get(name), depth + 1) for name in names}
    return plain(kind, schema, depth)


def plain(kind: Any, schema: Mapping[str, Any], depth: int) -> Any:
    match kind:
        case "array":
            least = schema.get("minItems")
            items = least if isinstance(least, int) and 1 <= least <= MOST_ITEMS else 1
            return [sample(schema.get("items"), depth + 1)] * items
        case "integer" | "number":
            least = schema.get("minimum")
            return least if isinstance(least, (int, float)) else 1
        case "boolean":
            return True
        case "null":
            return None
    return "example"
