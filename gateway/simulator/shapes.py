"""The types of what clients send, and Claude's wording when a value has another type.

A shape names only the fields that the simulator reads; what it does not name passes unseen. After `fit` the rest of the
code may rely on these types; a field without `None` may be left out but not be null.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec
from msgspec import Struct

from gateway.simulator.errors import invalid

WORDS = {
    "int": "integer",
    "float": "number",
    "str": "string",
    "bool": "boolean",
    "array": "list",
    "object": "dictionary",
}
WRONG_TYPE = re.compile(r"Expected `([a-z]+)[^`]*`, got `[^`]*`(?: - at `\$\.?(.*)`)?")
MISSING = re.compile(r"Object missing required field `(.*?)`(?: - at `\$\.?(.*)`)?")


def fit(value: Any, shape: Any, at: str = "") -> None:
    """Refuse a value that does not have the shape; `at` is where it stands in the body."""
    try:
        msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        raise invalid(worded(str(error), at)) from None


def worded(text: str, at: str) -> str:
    missing, wrong = MISSING.match(text), WRONG_TYPE.match(text)
    if missing:
        return f"{place(at, missing[2], missing[1])}: Field required"
    if wrong:
        return f"{place(at, wrong[2])}: Input should be a valid {WORDS.get(wrong[1], wrong[1])}"
    where = re.search(r" - at `\$\.?(.*)`", text)
    return f"{place(at, where[1] if where else '')}: {text.split(' - at ', maxsplit=1)[0]}"


def place(*parts: str | None) -> str:
    return ".".join(part.replace("[...]", "").strip(".") for part in parts if part) or "body"


class CacheControl(Struct):
    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class Source(Struct):
    type: str
    data: str = ""
    url: str = ""
    file_id: str = ""
    content: str | list[Block] | None = None


class Block(Struct):
    type: str
    text: str = ""
    name: str = ""
    title: str | None = None
    context: str | None = None
    file_id: str = ""
    source: Source | str | None = None  # a search result's source is a word
    content: str | list[Block] | Block | None = None
    cache_control: CacheControl | None = None


class Tool(Struct):
    name: str = ""
    type: str = ""
    model: str = ""
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    cache_control: CacheControl | None = None


class ToolChoice(Struct):
    type: str
    name: str | None = None


class Thinking(Struct):
    type: str
    budget_tokens: int | None = None
    display: str | None = None


class Format(Struct):
    type: str
    schema: Any = None


class OutputConfig(Struct):
    format: Format | None = None


class Skill(Struct):
    skill_id: str


class Container(Struct):
    id: str | None = None
    skills: list[Skill] | None = None


class Thread(Struct):
    type: str
    previous_message_id: str | None = None


class Fallback(Struct):
    model: str


class Messages(Struct):
    """A Messages body, but for its messages, which are looked at one by one."""

    messages: list[Any]
    system: str | list[Block] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    stop_sequences: list[str] | None = None
    metadata: dict[str, Any] | None = None
    output_config: OutputConfig | None = None
    output_format: Format | None = None
    container: str | Container | None = None
    thread: Thread | None = None
    fallbacks: list[Fallback] | Literal["default"] | None = None
    cache_control: CacheControl | None = None
    context_management: dict[str, Any] | None = None
    compaction: dict[str, Any] | None = None
    stream: bool | None = None
    speed: Literal["standard", "fast"] | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    inference_geo: str | None = None


class Complete(Struct):
    model: str
    prompt: str
    max_tokens_to_sample: int
    stop_sequences: list[str] | None = None
    stream: bool | None = None


class Function(Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class FunctionTool(Struct):
    function: Function


class FunctionCall(Struct):
    name: str
    arguments: str


class ToolCall(Struct):
    id: str
    function: FunctionCall


class ChatPart(Struct):
    type: str = "text"
    text: str = ""


class ChatMessage(Struct):
    role: str
    content: str | list[ChatPart] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None


class FunctionName(Struct):
    name: str


class FunctionChoice(Struct):
    function: FunctionName


class StreamOptions(Struct):
    include_usage: bool | None = None


class Chat(Struct):
    messages: list[ChatMessage]
    tools: list[FunctionTool] | None = None
    tool_choice: str | FunctionChoice | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None


class Named(Struct):
    id: str


class Typed(Struct):
    type: str


class Agent(Struct):
    model: str | Named
    metadata: dict[str, Any] | None = None


class Environment(Struct):
    config: Typed | None = None
    metadata: dict[str, Any] | None = None


class Session(Struct):
    agent: str | Named
    environment_id: str
    vault_ids: list[str] | None = None
    resources: list[Typed] | None = None
    initial_events: list[Typed] | None = None
    metadata: dict[str, Any] | None = None


class Deployment(Struct):
    agent: str | Named
    environment_id: str
    initial_events: list[Typed] | None = None
    vault_ids: list[str] | None = None
    schedule: dict[str, Any] | None = None


class Memory(Struct):
    path: str
    content: str | None = None


class Plain(Struct):
    """What every other kind has."""

    metadata: dict[str, Any] | None = None
