"""Laws of every answer, whatever it is made of."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.simulator.compose import compose
from gateway.simulator.message import Message, at_usage
from gateway.simulator.models import MODELS
from gateway.simulator.prices import cost_e4
from gateway.simulator.prompt import parts_of
from gateway.simulator.task import Task
from gateway.simulator.world import Workspace
from tests.simulator.asking import HELLO, MODEL, events

WORDS = (
    *("tool", "refusal", "late_refusal", "declined=5", "search=2", "failed_search", "fetch", "file", "citations"),
    *("advisor", "compaction", "redacted", "pause", "stop", "context", "signature=40", "pings=3", "echo"),
    *("output=1", "output=25", "output=90"),
)
FEATURES: dict[str, Any] = {
    "tools": [
        {"name": "f", "input_schema": {"type": "object", "properties": {"a": {"type": "string"}}}},
        {"type": "web_search_20250305", "name": "web_search"},
        {"type": "web_fetch_20250910", "name": "web_fetch"},
        {"type": "code_execution_20250825", "name": "code_execution"},
        {"type": "advisor_20260301", "name": "advisor", "model": "claude-fable-5-2"},
    ],
    "thinking": {"type": "adaptive"},
    "fallbacks": [{"model": "claude-haiku-4-5"}],
    "context_management": {"edits": []},
    "stop_sequences": ["HALT", "answer"],
    "system": [{"type": "text", "text": "Be brief. " * 900, "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
    "tool_choice": {"type": "any"},
    "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
}


@st.composite
def messages(draw: st.DrawFn) -> tuple[int, Message]:
    features = draw(st.sets(st.sampled_from(sorted(FEATURES))))
    words = draw(st.sets(st.sampled_from(WORDS)))
    most = draw(st.integers(0, 120))
    body = {"model": MODEL, "max_tokens": most, "messages": HELLO, **{name: FEATURES[name] for name in features}}
    asks = {name: value for name, _, value in (word.partition("=") for word in sorted(words))}
    model = MODELS[MODEL]
    parts = parts_of(body, model, {})
    per_event = draw(st.integers(1, 20))
    return most, compose(Task(body, model, parts, asks, Workspace("w"), 1_000.0, per_event))


@given(messages())
def test_an_answer_never_exceeds_its_purse(drawn: tuple[int, Message]) -> None:
    """Output is at most max_tokens, and 0 tokens mean no blocks that a model wrote."""
    most, message = drawn

    assert 0 <= message.usage["output_tokens"] <= most


@given(messages())
def test_the_events_carry_exactly_the_output(drawn: tuple[int, Message]) -> None:
    """The tokens of all deltas are the output tokens; what was sent only grows and ends at the total."""
    _, message = drawn
    carried = [one.sent for one in message.events()]

    assert message.usage["output_tokens"] == sum(tokens for block in message.blocks for _, tokens in block.deltas)
    assert message.usage["output_tokens"] == carried[-1]


@given(messages())
def test_a_stream_rebuilds_the_plain_answer(drawn: tuple[int, Message]) -> None:
    """Accumulating the events as a client does gives the plain answer's blocks, reason and output."""
    _, message = drawn
    whole = message.plain()
    built: list[Any] = []
    last: Any = {}
    for name, data in events(b"".join(one.data for one in message.events())):
        if name == "content_block_start":
            built.append(data["content_block"])
        elif name == "content_block_delta":
            grow(built[data["index"]], data["delta"])
        elif name == "message_delta":
            last = data
    for block in built:
        if "partial" in block:
            block.pop("partial")
            block["input"] = next(one for one in whole["content"] if one.get("id") == block["id"])["input"]

    assert whole["content"] == built
    assert whole["stop_reason"] == last["delta"]["stop_reason"]
    assert whole["usage"]["output_tokens"] == last["usage"]["output_tokens"]
    assert whole["usage"].get("iterations") == last["usage"].get("iterations")


def grow(block: Any, delta: Any) -> None:
    match delta["type"]:
        case "text_delta":
            block["text"] += delta["text"]
        case "thinking_delta":
            block["thinking"] += delta["thinking"]
        case "signature_delta":
            block["signature"] += delta["signature"]
        case "input_json_delta":
            block["partial"] = block.get("partial", "") + delta["partial_json"]
        case "citations_delta":
            block["citations"].append(delta["citation"])
        case "compaction_delta":
            block["content"] = delta["content"]


@given(messages(), st.data())
def test_a_broken_answer_costs_no_more_than_a_whole_one(drawn: tuple[int, Message], data: Any) -> None:
    """The price grows with what was sent, up to the price of all of it."""
    _, message = drawn
    sent = data.draw(st.integers(0, message.usage["output_tokens"]))
    part, whole = at_usage(message, sent), message.usage

    assert 0 <= cost_e4(MODEL, part) <= cost_e4(MODEL, whole)
    assert cost_e4(MODEL, at_usage(message, whole["output_tokens"])) == cost_e4(MODEL, whole)


@given(messages())
def test_iterations_sum_up_to_the_top_level(drawn: tuple[int, Message]) -> None:
    """The entries of the model that answered are the top level; compaction, advice and declined ones are not."""
    _, message = drawn
    entries = message.usage.get("iterations")
    if not entries:
        return
    kind = entries[-1]["type"]
    own = [one for one in entries if one["type"] == kind]

    assert message.usage["output_tokens"] == sum(one["output_tokens"] for one in own)
    assert message.usage["input_tokens"] == sum(one["input_tokens"] for one in own)
