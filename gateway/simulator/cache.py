"""Claude's prompt cache: which part of a prompt is read, written or new, remembered per workspace (fact sheet 6.3).

A breakpoint writes the prefix up to it; a later prompt reads the longest stored prefix that ends at most 20 parts
before one of its breakpoints. A read keeps the entry alive for its lifetime again. Prefixes below the model's minimum
are not kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from gateway.simulator.models import Model
from gateway.simulator.prompt import Part
from gateway.simulator.world import Workspace

LIFETIMES = {"5m": 300, "1h": 3600}
LOOK_BACK = 20
MOST_ENTRIES = 20_000


class Split(NamedTuple):
    """The prompt's tokens by what they cost."""

    uncached: int
    written_5m: int
    written_1h: int
    read: int

    @property
    def total(self) -> int:
        return sum(self)


def split(parts: Sequence[Part], model: Model, speed: str, workspace: Workspace, now: float) -> Split:
    """Look the prompt up, remember what it writes, and say how it divides."""
    total = sum(part.tokens for part in parts) + model.frame
    marked = [at for at, part in enumerate(parts) if part.mark]
    if not marked:
        return Split(total, 0, 0, 0)
    ends = prefixes(parts[: marked[-1] + 1], f"{model.id} {speed}")
    entries = workspace.cache
    hit = -1
    for mark in reversed(marked):
        for at in range(mark, max(-1, mark - LOOK_BACK), -1):
            entry = entries.get(ends[at].digest)
            if entry and entry[0] > now:
                entries[ends[at].digest] = (now + entry[1], entry[1])
                hit = max(hit, at)
                break
    read = done = ends[hit].tokens if hit >= 0 else 0
    written = {300: 0, 3600: 0}
    for mark in marked:
        if mark <= hit or ends[mark].tokens < model.cacheable:
            continue
        lifetime = LIFETIMES[(parts[mark].mark or {}).get("ttl") or "5m"]
        entries[ends[mark].digest] = (now + lifetime, lifetime)
        written[lifetime] += ends[mark].tokens - done
        done = ends[mark].tokens
    if len(entries) > MOST_ENTRIES:
        for digest in [digest for digest, (lapses, _) in entries.items() if lapses <= now]:
            del entries[digest]
    return Split(total - read - sum(written.values()), written[300], written[3600], read)


class End(NamedTuple):
    digest: bytes
    tokens: int


def prefixes(parts: Sequence[Part], salt: str) -> list[End]:
    """Digest and size of the prompt up to each part; where a breakpoint stands does not matter to the digest."""
    running = hashlib.blake2b(salt.encode(), digest_size=16)
    tokens = 0
    ends: list[End] = []
    for part in parts:
        running.update(msgspec.json.encode(without_mark(part.source)))
        tokens += part.tokens
        ends.append(End(running.digest(), tokens))
    return ends


def without_mark(source: Any) -> Any:
    if isinstance(source, dict) and "cache_control" in source:
        return {key: value for key, value in source.items() if key != "cache_control"}
    return source
