"""Files, skills, agents at work, and what is only stored."""

import hashlib
import io
from collections.abc import Iterator
from typing import Any

from tests.conformance.clients.python_sdk.seen import MODEL, outcome_of, probe, seen


@probe
def files(client: Any) -> Any:
    """Up, seen, listed, refused for download as the API refuses uploads, deleted, gone."""
    content = bytes(range(256)) * 4096
    uploaded = client.files.upload(file=("dä ta.bin", content, "application/octet-stream"))
    return {
        "uploaded": seen(uploaded),
        "seen": seen(client.files.retrieve_metadata(uploaded.id)),
        "listed": [file.id == uploaded.id for file in client.files.list()],
        "download": outcome_of(lambda: client.files.download(uploaded.id)),
        "deleted": seen(client.files.delete(uploaded.id)),
        "afterwards": outcome_of(lambda: client.files.retrieve_metadata(uploaded.id))["class"],
    }


@probe
def file_download(client: Any) -> Any:
    """A file that a tool made, downloaded as it is."""
    answer = client.beta.messages.create(
        model=MODEL,
        max_tokens=400,
        messages=[{"role": "user", "content": "Plot it. [[simulate file]]"}],
        tools=[{"type": "code_execution_20250825", "name": "code_execution"}],
        betas=["code-execution-2025-08-25"],
    )
    made = list(file_ids(seen(answer)["content"]))
    content = client.files.download(made[0]).read()
    return {"files": len(made), "bytes": len(content), "digest": hashlib.sha256(content).hexdigest()}


def file_ids(thing: Any) -> Iterator[str]:
    if isinstance(thing, dict):
        if isinstance(thing.get("file_id"), str):
            yield thing["file_id"]
        for value in thing.values():
            yield from file_ids(value)
    elif isinstance(thing, list):
        for value in thing:
            yield from file_ids(value)


@probe
def file_pages(client: Any) -> Any:
    made = [client.files.upload(file=(f"{n}.txt", b"x" * n, "text/plain")).id for n in range(1, 8)]
    place = {file_id: n for n, file_id in enumerate(made)}
    page = client.files.list(limit=3)
    return {
        "all": [place[file.id] for file in client.files.list(limit=3)],
        "first page": [place[file.id] for file in page.data],
        "more": page.has_next_page(),
    }


@probe
def skills(client: Any) -> Any:
    """A folder of files in one multipart form."""
    folder = [
        (
            "greeter/SKILL.md",
            io.BytesIO(b"---\nname: greeter\ndescription: Greets.\n---\nSay hello.\n"),
            "text/markdown",
        ),
        ("greeter/words.txt", io.BytesIO("grüß dich\n".encode()), "text/plain"),
    ]
    created = client.skills.create(display_name="Greeter", files=folder)
    return {
        "created": seen(created),
        "seen": seen(client.skills.retrieve(created.id)),
        "listed": [skill.id == created.id for skill in client.skills.list(source="custom")],
        "versions": len(list(client.skills.versions.list(created.id))),
        "deleted": seen(client.skills.delete(created.id)),
    }


@probe
def sessions(client: Any) -> Any:
    """An agent at work: made, asked, watched by its stream until it is idle."""
    agent = client.beta.agents.create(name="helper", model=MODEL)
    environment = client.beta.environments.create(name="box")
    session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
    kinds = []
    with client.beta.sessions.events.stream(session.id) as watched:
        said = {"type": "user.message", "content": [{"type": "text", "text": "Hello"}]}
        client.beta.sessions.events.send(session.id, events=[said])
        for event in watched:
            kinds.append(event.type)
            if event.type == "session.status_idle":
                break
    return {
        "agent": seen(agent),
        "streamed": kinds,
        "history": [event.type for event in client.beta.sessions.events.list(session.id)],
        "usage": seen(client.beta.sessions.retrieve(session.id))["usage"],
        "archived": seen(client.beta.sessions.archive(session.id))["status"],
    }


@probe
def stored_objects(client: Any) -> Any:
    """Objects that are only kept: made, seen, listed, archived or deleted."""
    vault = client.beta.vaults.create(display_name="keys")
    store = client.beta.memory_stores.create(name="notes")
    return {
        "vault": seen(client.beta.vaults.retrieve(vault.id)),
        "vaults": [one.id == vault.id for one in client.beta.vaults.list()],
        "archived": client.beta.vaults.archive(vault.id).archived_at is not None,
        "store": seen(client.beta.memory_stores.retrieve(store.id)),
        "deleted": seen(client.beta.memory_stores.delete(store.id)),
    }
