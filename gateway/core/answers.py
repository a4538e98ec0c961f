"""Finds the usage in each kind of complete answer: a message, a chat completion, a batch line, a session, a completion.

Rule: every reader returns a Usage for any bytes at all. An answer that cannot be read, or whose format has no
usage, is `unknown`: marked as estimated, both sides left to the caller.
"""

from dataclasses import dataclass, replace
from typing import Any

import msgspec

from gateway.core.tally import MOST_CUMULATIVE, Tally, word
from gateway.core.usage import NOTHING, Usage, unknown

_OUTPUT_BYTES_PER_TOKEN = 4  # what Claude's own gateway charges of an aborted answer (fact sheet 2.5)


class _Block(msgspec.Struct):
    type: Any = None


class _Message(msgspec.Struct):
    """The governed fields; the rest of the answer is skipped, not built."""

    usage: Any = None
    id: Any = None
    model: Any = None
    stop_reason: Any = None
    content: msgspec.Raw = msgspec.Raw(b"")


class _Result(msgspec.Struct):
    type: Any = None
    message: msgspec.Raw = msgspec.Raw(b"")


class _Line(msgspec.Struct):
    custom_id: Any = None
    result: _Result | None = None


class _Chat(msgspec.Struct):
    usage: Any = None
    model: Any = None


class _Session(msgspec.Struct):
    usage: Any = None
    agent: Any = None
    model: Any = None


class _Completion(msgspec.Struct):
    completion: Any = None
    model: Any = None
    stop_reason: Any = None


@dataclass(frozen=True, slots=True)
class BatchLine:
    """One line of a batch's results. Only a succeeded one is billed."""

    custom_id: str | None
    outcome: str  # succeeded | errored | canceled | expired | unreadable
    usage: Usage


# What a decoder raises on bytes that are not the JSON it was told: RecursionError on absurd nesting.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

_message = msgspec.json.Decoder(_Message).decode
_blocks = msgspec.json.Decoder(list[_Block]).decode
_line = msgspec.json.Decoder(_Line).decode
_chat = msgspec.json.Decoder(_Chat).decode
_session = msgspec.json.Decoder(_Session).decode
_completion = msgspec.json.Decoder(_Completion).decode


def from_message(body: bytes | memoryview | msgspec.Raw) -> Usage:
    """The usage of a Messages answer."""
    try:
        message = _message(body)
    except UNREADABLE:
        return unknown("no_usage", "unreadable_body")
    tally = Tally()
    tally.fold(message.usage)
    stop_reason = word(message.stop_reason)
    return tally.usage(
        model=word(message.model),
        message_id=word(message.id),
        stop_reason=stop_reason,
        refused_before_output=stop_reason == "refusal" and _is_empty(message.content),
    )


def _is_empty(content: msgspec.Raw) -> bool:
    """No model wrote anything: no block at all, or only the marks where one handed over to the next."""
    try:
        return all(block.type == "fallback" for block in _blocks(content))
    except UNREADABLE:
        return False  # refused, but with a content that is no list: billed, as a refusal after output is


def from_chat_completion(body: bytes) -> Usage:
    """The usage of an OpenAI-compatible answer."""
    try:
        answer = _chat(body)
    except UNREADABLE:
        return unknown("no_usage", "unreadable_body")
    tally = Tally()
    tally.fold(chat_usage(answer.usage))
    return tally.usage(model=word(answer.model))


def chat_usage(usage: Any) -> Any:
    """An OpenAI usage object in Claude's words. There, `prompt_tokens` includes cached ones; here, input does not."""
    if not isinstance(usage, dict):
        return usage
    prompt, details = usage.get("prompt_tokens"), usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    if type(prompt) is int and type(cached) is int and 0 <= cached <= prompt:
        prompt -= cached
    else:
        cached = None
    output = usage.get("completion_tokens_details")
    return {
        "input_tokens": prompt,
        "cache_read_input_tokens": cached,
        "output_tokens": usage.get("completion_tokens"),
        "output_tokens_details": {"thinking_tokens": output.get("reasoning_tokens")}
        if isinstance(output, dict)
        else None,
    }


def from_batch_line(line: bytes) -> BatchLine:
    """One line of a batch's results; its message is billed at the batch price, whatever tier it names."""
    try:
        entry = _line(line)
    except UNREADABLE:
        return BatchLine(None, "unreadable", unknown("no_usage", "unreadable_line"))
    outcome = word(entry.result.type) if entry.result else None
    custom_id = word(entry.custom_id)
    if outcome == "succeeded" and entry.result:
        return BatchLine(custom_id, outcome, replace(from_message(entry.result.message), service_tier="batch"))
    if outcome in ("errored", "canceled", "expired"):
        return BatchLine(custom_id, outcome, NOTHING)
    return BatchLine(custom_id, "unreadable", unknown("no_usage", "unknown_result"))


def from_session(body: bytes) -> Usage:
    """The cumulative usage of a session, a thread, a dream or a `session.usage` event.

    Counts that are zero are left out of it; a price needs the agent's or the dream's model. One agent may call
    others on other models, and the usage does not say which: then `list_cost_nano` is the better figure.
    """
    try:
        session = _session(body)
    except UNREADABLE:
        return unknown("no_usage", "unreadable_body")
    tally = Tally(most=MOST_CUMULATIVE)
    tally.fold(session.usage)
    config = session.agent.get("model") if isinstance(session.agent, dict) else session.model
    if not isinstance(config, dict):
        config = {"id": config}
    usage = tally.usage(model=word(config.get("id")), sparse=True)
    return replace(
        usage, speed=usage.speed or word(config.get("speed")), geo=usage.geo or word(config.get("inference_geo"))
    )


def from_complete(body: bytes) -> Usage:
    """A legacy completion: its format has no usage. The output is estimated from its text, the input by the caller."""
    try:
        answer = _completion(body)
    except UNREADABLE:
        return unknown("no_usage", "unreadable_body")
    usage = unknown("no_usage")
    if isinstance(answer.completion, str):
        usage = replace(usage, output=tokens_of(len(answer.completion.encode())), lacks_output=False)
    return replace(usage, model=word(answer.model), stop_reason=word(answer.stop_reason))


def tokens_of(output_bytes: int) -> int:
    """The tokens that so many bytes of relayed text stand for, rounded up."""
    return -(-output_bytes // _OUTPUT_BYTES_PER_TOKEN)
