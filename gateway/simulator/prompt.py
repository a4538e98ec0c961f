"""How many tokens a prompt has: every part of a Messages body in the order Claude reads it (fact sheet 7).

Base64 is never text: images count by their size in pixels, documents by their pages. Thinking of earlier turns is free.
"""

from __future__ import annotations

import base64
import math
import re
import struct
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from gateway.simulator.models import Model
from gateway.simulator.tokens import Generation, count

PER_MESSAGE = 3
PAGE = 2_100  # text and image of one page of a PDF
COUNTED_LARGE = 2_048
UNSEEN = {"thinking", "redacted_thinking", "fallback", "compaction", "cache_control"}

large: dict[tuple[str, int, int], int] = {}


class Part(NamedTuple):
    """A stretch of the prompt that a cache breakpoint may follow."""

    source: Any
    tokens: int
    mark: dict[str, Any] | None


def text_tokens(text: str, generation: Generation) -> int:
    """Tokens of a text; long ones are remembered, because clients send the same long prefix again and again."""
    if len(text) < COUNTED_LARGE:
        return count(text, generation)
    key = (generation.name, hash(text), len(text))
    found = large.get(key)
    if found is None:
        if len(large) > 50_000:
            large.clear()
        found = large[key] = count(text, generation)
    return found


def json_tokens(value: Any, generation: Generation) -> int:
    return text_tokens(msgspec.json.encode(value).decode(), generation)


def parts_of(body: dict[str, Any], model: Model, files: dict[str, Any]) -> list[Part]:
    """The prompt's parts: tools, system, messages; without the frame around them."""
    generation = model.tokenizer
    parts: list[Part] = []
    tools = body.get("tools") or []
    if tools:
        choice = (body.get("tool_choice") or {}).get("type", "auto")
        hidden = model.hidden[choice in ("any", "tool")]
        for at, tool in enumerate(tools):
            seen = {key: value for key, value in tool.items() if key != "cache_control"}
            parts.append(
                Part(tool, json_tokens(seen, generation) + (hidden if at == 0 else 0), tool.get("cache_control"))
            )
    parts.extend(blocks(body.get("system"), model, files, 0))
    for message in body.get("messages") or []:
        parts.extend(blocks(message.get("content"), model, files, PER_MESSAGE))
    if parts and body.get("cache_control"):
        parts[-1] = parts[-1]._replace(mark=body["cache_control"])
    return parts


def blocks(content: Any, model: Model, files: dict[str, Any], extra: int) -> Iterator[Part]:
    if isinstance(content, str):
        yield Part(content, text_tokens(content, model.tokenizer) + extra, None)
    elif content:
        for block in content:
            mark = block.get("cache_control") if isinstance(block, dict) else None
            yield Part(block, block_tokens(block, model, files) + extra, mark)
            extra = 0


def block_tokens(block: Any, model: Model, files: dict[str, Any]) -> int:
    generation = model.tokenizer
    if isinstance(block, str):
        return text_tokens(block, generation)
    if not isinstance(block, dict):
        return 0
    match block.get("type"):
        case "text":
            return text_tokens(block.get("text", ""), generation)
        case "image":
            return image_tokens(source_of(block), model)
        case "document":
            return document_tokens(block, model, files)
        case "tool_use" | "server_tool_use" | "mcp_tool_use":
            return text_tokens(block.get("name", ""), generation) + json_tokens(block.get("input", {}), generation) + 8
        case "tool_result" | "mcp_tool_result" | "search_result":
            return nested(block.get("content"), model, files) + 8
        case kind if kind in UNSEEN:
            return 0
        case _:
            return nested(block.get("content"), model, files) if "content" in block else json_tokens(block, generation)


def nested(content: Any, model: Model, files: dict[str, Any]) -> int:
    items: Iterable[Any] = [content] if isinstance(content, (str, dict)) else (content or [])
    return sum(block_tokens(item, model, files) for item in items)


def source_of(block: dict[str, Any]) -> dict[str, Any]:
    """The source of a block; a search result's is a word and says nothing about size."""
    source = block.get("source")
    return source if isinstance(source, dict) else {}


def document_tokens(block: dict[str, Any], model: Model, files: dict[str, Any]) -> int:
    source = source_of(block)
    titles = text_tokens(f"{block.get('title') or ''}{block.get('context') or ''}", model.tokenizer)
    match source.get("type"):
        case "text":
            return titles + text_tokens(source.get("data", ""), model.tokenizer)
        case "content":
            return titles + nested(source.get("content"), model, files)
        case "file":
            size: int = files.get(source.get("file_id", ""), {}).get("size_bytes", 0)
            return titles + max(1, size // 4 if size < 100_000 else size // 50_000 * PAGE)
        case "base64":
            return titles + pdf_pages(source.get("data", "")) * PAGE
        case _:
            return titles + PAGE


def pdf_pages(data: str) -> int:
    raw = decoded(data)
    return len(re.findall(rb"/Type\s*/Page\b(?!s)", raw)) or max(1, len(raw) // 50_000)


def image_tokens(source: dict[str, Any], model: Model) -> int:
    edge, most = model.image_cap
    size = dimensions(decoded(source.get("data", "")[:65_536])) if source.get("type") == "base64" else None
    if size is None:
        return most
    width, height = size
    shrink = min(1.0, edge / max(width, height))
    return min(most, math.ceil(width * shrink / 28) * math.ceil(height * shrink / 28))


def decoded(data: str) -> bytes:
    try:
        return base64.b64decode(data[: len(data) // 4 * 4])
    except ValueError:
        return b""


def dimensions(head: bytes) -> tuple[int, int] | None:
    """Width and height from the first bytes of a PNG, GIF, WebP or JPEG."""
    if head[:8] == b"\x89PNG\r\n\x1a\n" and len(head) >= 24:
        return at_least_one(struct.unpack(">II", head[16:24]))
    if head[:4] == b"GIF8" and len(head) >= 10:
        return at_least_one(struct.unpack("<HH", head[6:10]))
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP" and len(head) >= 30:
        return webp(head)
    if head[:2] == b"\xff\xd8":
        return jpeg(head)
    return None


def webp(head: bytes) -> tuple[int, int] | None:
    kind = head[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", head[26:30])
        return at_least_one((width & 0x3FFF, height & 0x3FFF))
    return None


def jpeg(head: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 < len(head) and head[at] == 0xFF:
        marker, size = head[at + 1], int.from_bytes(head[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", head[at + 5 : at + 9])
            return at_least_one((width, height))
        at += 2 + size
    return None


def at_least_one(size: tuple[int, ...]) -> tuple[int, int]:
    return max(1, size[0]), max(1, size[1])
