"""What the OpenAI Python SDK does with the compatibility endpoint, by probe."""

import time
from collections.abc import Callable
from typing import Any

import openai

from tests.conformance.clients.serve import Probe, serve

MODEL = "claude-sonnet-5-5"
HELLO = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Grüße! Count on. 你好 🎉 [[simulate output=60]]"},
]
PROBES: dict[str, Probe] = {}


def probe(function: Callable[..., Any]) -> Callable[..., Any]:
    """Offer the function by its name; it gets a client without retries."""

    def with_client(base_url: str, key: str, **arguments: Any) -> Any:
        with openai.OpenAI(base_url=f"{base_url}/v1", api_key=key, max_retries=0, timeout=30) as client:
            return function(client, **arguments)

    PROBES[function.__name__] = with_client
    return function


def seen(thing: Any) -> Any:
    return {**thing.model_dump(mode="json"), "_request_id": getattr(thing, "_request_id", None)}


def raised(error: openai.OpenAIError) -> Any:
    found: dict[str, Any] = {"class": type(error).__name__, "text": str(error)}
    if isinstance(error, openai.APIStatusError):
        found |= {"status": error.status_code, "body": error.body}
    return found


@probe
def chat(client: Any) -> Any:
    return seen(client.chat.completions.create(model=MODEL, max_completion_tokens=60, messages=HELLO))


@probe
def chat_without_max_tokens(client: Any) -> Any:
    return seen(client.chat.completions.create(model=MODEL, messages=HELLO))


@probe
def chat_stream(client: Any) -> Any:
    asked = {"model": MODEL, "max_tokens": 60, "messages": HELLO, "stream": True}
    return {
        "with usage": [
            seen(chunk) for chunk in client.chat.completions.create(**asked, stream_options={"include_usage": True})
        ],
        "without": [seen(chunk) for chunk in client.chat.completions.create(**asked)],
    }


@probe
def chat_tools(client: Any) -> Any:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = {
        "type": "function",
        "function": {"name": "get_weather", "description": "Weather.", "parameters": parameters},
    }
    asked: dict[str, Any] = {"model": MODEL, "max_tokens": 200, "tools": [tool]}
    called = client.chat.completions.create(**asked, messages=HELLO, tool_choice="required")
    answer = called.choices[0].message
    result = {"role": "tool", "tool_call_id": answer.tool_calls[0].id, "content": "21 °C"}
    conversation = [*HELLO, answer.model_dump(exclude_none=True), result]
    return {"called": seen(called), "concluded": seen(client.chat.completions.create(**asked, messages=conversation))}


@probe
def chat_errors(client: Any, fault: str) -> Any:
    asked = {"model": MODEL, "max_tokens": 60, "messages": HELLO, "extra_headers": {"x-simulator-fault": fault}}
    try:
        return seen(client.chat.completions.create(**asked))
    except openai.OpenAIError as error:
        return raised(error)


@probe
def chat_left_midway(client: Any) -> Any:
    said = [{"role": "user", "content": "Write. [[simulate output=4000]]"}]
    asked = {
        "model": MODEL,
        "max_tokens": 4000,
        "messages": said,
        "extra_headers": {"x-simulator-fault": "slow_drip=0.05"},
    }
    with client.chat.completions.create(**asked, stream=True) as chunks:
        return next(bool(chunk.choices[0].delta.content) for chunk in chunks if chunk.choices[0].delta.content)


@probe
def chat_slow_stream(client: Any) -> Any:
    asked = {
        "model": MODEL,
        "max_tokens": 40,
        "messages": HELLO,
        "extra_headers": {"x-simulator-fault": "slow_drip=0.1"},
    }
    arrived = [time.monotonic() for _ in client.chat.completions.create(**asked, stream=True)]
    return {"chunks": len(arrived), "one by one": arrived[-1] - arrived[0] > 0.1 * len(arrived) / 2}


@probe
def models(client: Any) -> Any:
    """The native list: it wants the native version header, which this SDK does not send by itself."""
    return [model.id for model in client.models.list(extra_headers={"anthropic-version": "2023-06-01"})]


if __name__ == "__main__":
    serve(openai.__version__, PROBES)
