"""What Claude's own tools add to an answer: searches, fetches, a container, a file that can be downloaded."""

from __future__ import annotations

import base64
from typing import Any

from gateway.simulator.answer import Writer, server_tool
from gateway.simulator.asks import last_text, number
from gateway.simulator.files import generated
from gateway.simulator.task import Task
from gateway.simulator.world import Object, fresh_id, stamp

RESULT_TOKENS = 220  # what a search or a fetch adds to the prompt
CONTAINER_SECONDS = 3600


def server_tools(task: Task, writer: Writer) -> None:
    body, asks = task.body, task.asks
    if server_tool(body, "web_search_"):
        for _ in range(number(asks, "search", 1 if "search" in asks else 0)):
            search(task, writer, failed=False)
        if "failed_search" in asks:
            search(task, writer, failed=True)
    if server_tool(body, "web_fetch_") and "fetch" in asks and writer.left > 0:
        task.fetches += 1
        url = "https://example.com/page"
        call = writer.call("server_tool_use", "srvtoolu", "web_fetch", {"url": url})
        document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "A page."}}
        result = {"type": "web_fetch_result", "url": url, "content": document, "retrieved_at": stamp(task.now)}
        writer.add({"type": "web_fetch_tool_result", "tool_use_id": call["id"], "content": result})
    if server_tool(body, "code_execution_") or body.get("container"):
        task.container = container(task)
        if "file" in asks and writer.left > 0:
            write_file(task, writer)


def search(task: Task, writer: Writer, *, failed: bool) -> None:
    if writer.left <= 0:
        return
    query = last_text(task.body)[:60].split("[[")[0].strip() or "claude"
    call = writer.call("server_tool_use", "srvtoolu", "web_search", {"query": query})
    content: Any = {"type": "web_search_tool_result_error", "error_code": "unavailable"}
    if not failed:
        task.searches += 1
        page = {"type": "web_search_result", "url": "https://example.com/", "title": "Example", "page_age": "1 day"}
        content = [{**page, "encrypted_content": base64.b64encode(b"a page that was found " * 4).decode()}]
    writer.add({"type": "web_search_tool_result", "tool_use_id": call["id"], "content": content})


def container(task: Task) -> Object:
    """The container of the request, or a new one."""
    asked = task.body.get("container")
    known = task.workspace.of("container")
    name = asked if isinstance(asked, str) else (asked or {}).get("id")
    found = known.get(name or "")
    if found is None:
        found = {"id": fresh_id("container"), "expires_at": stamp(task.now + CONTAINER_SECONDS)}
        known[found["id"]] = found
    skills = asked.get("skills") if isinstance(asked, dict) else None
    return {**found, "skills": skills} if skills else found


def write_file(task: Task, writer: Writer) -> None:
    """A file made by a tool: the only kind whose content can be downloaded."""
    file = generated(task.workspace, task.now)
    call = writer.call("server_tool_use", "srvtoolu", "bash_code_execution", {"command": "echo > output.txt"})
    result = {
        "type": "bash_code_execution_result",
        "stdout": "",
        "stderr": "",
        "return_code": 0,
        "content": [{"type": "bash_code_execution_output", "file_id": file["id"]}],
    }
    writer.add({"type": "bash_code_execution_tool_result", "tool_use_id": call["id"], "content": result})
