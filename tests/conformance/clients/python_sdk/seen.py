"""What a probe of the Python SDK starts from, and how it tells what it saw.

A probe returns what its caller would have seen: parsed objects as JSON, exceptions by class, never a judgement. Retries
are off except where they are the subject, so that each outcome is the API's answer to one request.
"""

from collections.abc import Callable
from typing import Any

import anthropic

from tests.conformance.clients.serve import Probe

MODEL = "claude-sonnet-5-5"
HELLO = [{"role": "user", "content": "Grüße! Count on. 你好 🎉 [[simulate output=60]]"}]
LONG = [{"role": "user", "content": "Write a long story. [[simulate output=20000]]"}]
WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
PROBES: dict[str, Probe] = {}


def probe(function: Callable[..., Any]) -> Callable[..., Any]:
    """Offer the function by its name; it gets a client without retries."""

    def with_client(base_url: str, key: str, **arguments: Any) -> Any:
        with anthropic.Anthropic(base_url=base_url, api_key=key, max_retries=0, timeout=30) as client:
            return function(client, **arguments)

    PROBES[function.__name__] = with_client
    return function


def seen(thing: Any) -> Any:
    """An object of the SDK as JSON, with the id its caller would quote to support."""
    found = thing.model_dump(mode="json")
    if request_id := getattr(thing, "_request_id", None):
        found["_request_id"] = request_id
    return found


def raised(error: BaseException) -> dict[str, Any]:
    found: dict[str, Any] = {"class": type(error).__name__, "text": str(error)}
    if isinstance(error, anthropic.APIStatusError):
        headers = error.response.headers
        found |= {
            "status": error.status_code,
            "body": error.body,
            "request_id": error.request_id,
            "headers": {name: headers.get(name) for name in ("content-type", "retry-after", "x-should-retry")},
        }
    return found


def outcome_of(call: Callable[[], Any]) -> Any:
    try:
        return seen(call())
    except anthropic.AnthropicError as error:
        return raised(error)


def under(fault: str) -> dict[str, Any]:
    """The argument that lets the simulator strike with a fault."""
    return {"extra_headers": {"x-simulator-fault": fault}}
