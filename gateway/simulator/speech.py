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
    """A value that fits the schema, as far as its common keywords go."""
    if not isinstance(schema, Mapping) or depth > DEEPEST:
        return "example"
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for keyword in ("anyOf", "oneOf", "allOf"):
        if schema.get(keyword):
            return sample(schema[keyword][0], depth + 1)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0] if kind else None
    if kind == "object" or "properties" in schema:
        wanted = schema.get("required") or list(schema.get("properties") or {})
        properties = schema.get("properties") or {}
        return {name: sample(properties.get(name), depth + 1) for name in wanted}
    match kind:
        case "array":
            return [sample(schema.get("items"), depth + 1) for _ in range(max(1, schema.get("minItems", 1)))]
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case "null":
            return None
    return "example"
