"""Errors with their exceptions, the edges of what is accepted, and the SDK's own retries."""

import base64
from typing import Any

from tests.conformance.clients.python_sdk.seen import HELLO, MODEL, outcome_of, probe, seen, under


@probe
def errors(client: Any, fault: str) -> Any:
    return outcome_of(lambda: client.messages.create(**under(fault), model=MODEL, max_tokens=20, messages=HELLO))


@probe
def bad_requests(client: Any) -> Any:
    def create(**changes: Any) -> Any:
        asked = {"model": MODEL, "max_tokens": 20, "messages": HELLO} | changes
        return outcome_of(lambda: client.messages.create(**asked))

    return {
        "no messages": create(messages=[]),
        "a field unknown to the API": create(extra_body={"field_of_tomorrow": None}),
        "negative max_tokens": create(max_tokens=-1),
        "unknown beta": create(extra_headers={"anthropic-beta": "not a beta"}),
        "unknown version": create(extra_headers={"anthropic-version": "1999-01-01"}),
    }


@probe
def html_error(client: Any) -> Any:
    """A page of HTML instead of an API error: the class and status that a caller branches on."""
    error = outcome_of(lambda: client.messages.create(model=MODEL, max_tokens=20, messages=HELLO, **under("html_502")))
    return {"class": error["class"], "status": error["status"]}


@probe
def unknown_objects(client: Any) -> Any:
    """Objects that do not exist: the class, status and type that a caller branches on."""
    found = {}
    for name, call in {
        "batch": lambda: client.messages.batches.retrieve("msgbatch_013Zva2CMHLNnXjNJJKqJ2EF"),
        "file": lambda: client.files.retrieve_metadata("file_011CNha8iCJcU1wXNR6q4V8w"),
        "download": lambda: client.files.download("file_011CNha8iCJcU1wXNR6q4V8w"),
        "skill": lambda: client.skills.retrieve("skill_01JAbcdefghijklmnopqrstuvw"),
        "agent": lambda: client.beta.agents.retrieve("agent_011CZkYpogX7uDKUyvBTophP"),
        "path": lambda: client.get("/v1/no_such_thing", cast_to=object),
    }.items():
        error = outcome_of(call)
        found[name] = [error["class"], error["status"], error["body"]["error"]["type"]]
    return found


@probe
def too_large(client: Any) -> Any:
    """More than 32 MB: the class, status and type that a caller branches on."""
    body = [{"role": "user", "content": "x" * (33 << 20)}]
    error = outcome_of(lambda: client.messages.create(model=MODEL, max_tokens=20, messages=body))
    return [error["class"], error["status"], error["body"]["error"]["type"]]


@probe
def large_request(client: Any) -> Any:
    """A body of 24 MB passes: a document of one page with much in it."""
    data = base64.b64encode(b"%PDF-1.4\n1 0 obj <</Type /Page>> endobj\n" + bytes(18 << 20)).decode()
    document = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": data}}
    content = [document, {"type": "text", "text": "Summarize."}]
    return seen(client.messages.create(model=MODEL, max_tokens=30, messages=[{"role": "user", "content": content}]))


@probe
def retried(client: Any) -> Any:
    """Two refusals, then an answer: with the SDK's own retries the caller sees the answer only."""
    patient = client.with_options(max_retries=4)
    return seen(patient.messages.create(model=MODEL, max_tokens=20, messages=HELLO))
