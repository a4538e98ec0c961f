"""Objects that a body names must exist in the caller's workspace: a foreign id answers like a missing one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.simulator.errors import not_found
from gateway.simulator.world import Workspace

WORDS = {"file": "File", "container": "Container", "skill": "Skill"}


def check_references(body: Mapping[str, Any], workspace: Workspace) -> None:
    """Files, containers and skills that a Messages body names."""
    for kind, name in named(body):
        if kind == "skill" and not name.startswith("skill_"):
            continue  # Anthropic's own skills go by short names
        if name not in workspace.of(kind):
            raise not_found(f"{WORDS[kind]} not found: {name}")


def named(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    container = body.get("container")
    if isinstance(container, str):
        yield "container", container
    elif isinstance(container, dict):
        if isinstance(container.get("id"), str):
            yield "container", container["id"]
        for skill in container.get("skills") or []:
            if isinstance(skill, dict) and isinstance(skill.get("skill_id"), str):
                yield "skill", skill["skill_id"]
    for message in body["messages"]:
        if isinstance(message["content"], list):
            for block in message["content"]:
                yield from files_in(block)


def files_in(block: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(block, dict):
        return
    source = block.get("source")
    if isinstance(source, dict) and isinstance(source.get("file_id"), str):
        yield "file", source["file_id"]
    if block.get("type") == "container_upload" and isinstance(block.get("file_id"), str):
        yield "file", block["file_id"]
    if isinstance(block.get("content"), list):
        for inner in block["content"]:
            yield from files_in(inner)
