"""Usage out of complete answers: the shapes Claude sends, and everything it might send instead."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.answers import (
    BatchLine,
    from_batch_line,
    from_chat_completion,
    from_complete,
    from_message,
    from_session,
)
from gateway.core.tally import MOST_CUMULATIVE, MOST_TOKENS, count
from gateway.core.usage import NOTHING, Iteration, Usage, filled, unknown

OPUS = "claude-opus-5"


def message(usage: object, **fields: object) -> bytes:
    """A Messages answer as the API words it."""
    whole: dict[str, object] = {
        "model": OPUS,
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": 'He said: "usage":{"input_tokens":9}'}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": usage,
    }
    return json.dumps(whole | fields).encode()


def said(**counts: object) -> dict[str, object]:
    return {"input_tokens": 10, "output_tokens": 20} | counts


def run(kind: str, model: str | None, *, input: int, output: int, read: int = 0, written: int = 0) -> dict[str, object]:
    entry: dict[str, object] = {
        "type": kind,
        "input_tokens": input,
        "output_tokens": output,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0},
    }
    return entry if model is None else entry | {"model": model}


EXACT = Usage(input=10, output=20, model=OPUS, stop_reason="end_turn")

MESSAGES = {
    "plain": (message(said()), EXACT),
    "nulls are none": (
        message(
            said(
                cache_creation=None, cache_creation_input_tokens=None, cache_read_input_tokens=None,
                server_tool_use=None, service_tier=None, inference_geo=None, speed=None, iterations=None,
                output_tokens_details=None, fallback_credit=None,
            )
        ),
        EXACT,
    ),
    "every field": (
        message(
            said(
                cache_creation_input_tokens=500,
                cache_creation={"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 300},
                cache_read_input_tokens=4000,
                output_tokens_details={"thinking_tokens": 15},
                server_tool_use={"web_search_requests": 2, "web_fetch_requests": 3, "code_execution_requests": 1},
                service_tier="priority",
                inference_geo="us",
                speed="fast",
            )
        ),
        replace(
            EXACT, cache_read=4000, cache_write_5m=200, cache_write_1h=300, thinking=15, web_searches=2, web_fetches=3,
            code_executions=1, service_tier="priority", geo="us", speed="fast",
        ),
    ),
    "writes without a split live five minutes": (
        message(said(cache_creation_input_tokens=500)),
        replace(EXACT, cache_write_5m=500),
    ),
    "writes with a split alone": (
        message(said(cache_creation={"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 70})),
        replace(EXACT, cache_write_1h=70),
    ),
    "more writes than an hourly split explains are hourly": (
        message(
            said(
                cache_creation_input_tokens=100,
                cache_creation={"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 70},
            )
        ),
        replace(EXACT, cache_write_1h=100),
    ),
    "more writes than a mixed split explains are short": (
        message(
            said(
                cache_creation_input_tokens=100,
                cache_creation={"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 70},
            )
        ),
        replace(EXACT, cache_write_5m=30, cache_write_1h=70),
    ),
    "fewer writes than the split says": (
        message(
            said(
                cache_creation_input_tokens=60,
                cache_creation={"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 70},
            )
        ),
        replace(EXACT, cache_write_1h=60, oddities=("cache_split_above_total",)),
    ),
    "a cache warmed by max_tokens 0": (
        message({"input_tokens": 4, "output_tokens": 0, "cache_creation_input_tokens": 2000}, content=[],
                stop_reason="max_tokens"),
        Usage(input=4, cache_write_5m=2000, model=OPUS, stop_reason="max_tokens"),
    ),
    "compaction": (
        message(
            {
                "input_tokens": 23_000,
                "output_tokens": 1000,
                "iterations": [
                    run("compaction", None, input=180_000, output=3500),
                    run("message", None, input=23_000, output=1000),
                ],
            }
        ),
        Usage(
            input=23_000, output=1000, model=OPUS, stop_reason="end_turn",
            iterations=(
                Iteration("compaction", None, 180_000, 3500),
                Iteration("message", None, 23_000, 1000),
            ),
        ),
    ),
    "an advisor": (
        message(
            {
                "input_tokens": 412,
                "output_tokens": 531,
                "iterations": [
                    run("message", None, input=412, output=89),
                    run("advisor_message", "claude-fable-5-2", input=823, output=1612),
                    run("message", None, input=1348, output=442, read=412),
                ],
            }
        ),
        Usage(
            input=412, output=531, model=OPUS, stop_reason="end_turn",
            iterations=(
                Iteration("message", None, 412, 89),
                Iteration("advisor_message", "claude-fable-5-2", 823, 1612),
                Iteration("message", None, 1348, 442, 412),
            ),
        ),
    ),
    "a fallback": (
        message(
            {
                "input_tokens": 412,
                "output_tokens": 90,
                "iterations": [
                    run("message", "claude-fable-5", input=412, output=0),
                    run("fallback_message", "claude-opus-4-8", input=412, output=90, written=300),
                ],
            },
            model="claude-opus-4-8",
        ),
        Usage(
            input=412, output=90, model="claude-opus-4-8", served_by="claude-opus-4-8", stop_reason="end_turn",
            iterations=(
                Iteration("message", "claude-fable-5", 412),
                Iteration("fallback_message", "claude-opus-4-8", 412, 90, 0, 300),
            ),
        ),
    ),
    "side runs alone leave the answer's own run to the top level": (
        message({"input_tokens": 10, "output_tokens": 20, "iterations": [run("compaction", None, input=9, output=8)]}),
        replace(
            EXACT,
            iterations=(Iteration("message", None, 10, 20), Iteration("compaction", None, 9, 8)),
            oddities=("iterations_without_message",),
        ),
    ),
    "an unknown kind of run is billed like any other": (
        message({"input_tokens": 10, "output_tokens": 20, "iterations": [run("dream", "claude-x", input=9, output=8)]}),
        replace(EXACT, iterations=(Iteration("other", "claude-x", 9, 8),), oddities=("unknown_iteration",)),
    ),
    "iterations say all, whatever the top level lacks": (
        message({"iterations": [run("message", OPUS, input=9, output=8)]}),
        Usage(
            model=OPUS, stop_reason="end_turn", iterations=(Iteration("message", OPUS, 9, 8),), complete=False,
            estimated="no_usage",
        ),
    ),
    "refused before any output": (
        message({"input_tokens": 106, "output_tokens": 1}, content=[], stop_reason="refusal"),
        Usage(input=106, output=1, model=OPUS, stop_reason="refusal", refused_before_output=True),
    ),
    "refused by every model of a chain": (
        message(
            {"input_tokens": 106, "output_tokens": 0},
            content=[{"type": "fallback", "from": {"model": OPUS}, "to": {"model": "claude-opus-4-8"}}],
            stop_reason="refusal",
        ),
        Usage(input=106, model=OPUS, stop_reason="refusal", refused_before_output=True),
    ),
    "refused after some output": (
        message({"input_tokens": 106, "output_tokens": 40}, stop_reason="refusal"),
        Usage(input=106, output=40, model=OPUS, stop_reason="refusal"),
    ),
    "refused with a content that is no list": (
        message({"input_tokens": 106, "output_tokens": 40}, content="no", stop_reason="refusal"),
        Usage(input=106, output=40, model=OPUS, stop_reason="refusal"),
    ),
    "a credit that was redeemed": (
        message(said(fallback_credit={"status": {"type": "redeemed"}})),
        replace(EXACT, estimated="fallback_credit", oddities=("fallback_credit_redeemed",)),
    ),
    "a credit that was not": (
        message(said(fallback_credit={"status": {"type": "not_applied", "reason": "expired"}})),
        EXACT,
    ),
    "a credit of a new kind": (
        message(said(fallback_credit={"status": {"type": "half"}})),
        replace(EXACT, oddities=("unknown_fallback_credit",)),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("body", "expected"), MESSAGES.values(), ids=MESSAGES.keys())
def test_message(body: bytes, expected: Usage) -> None:
    """Each shape of a message's usage is read field by field."""
    assert expected == from_message(body)


LACKS_INPUT = replace(EXACT, complete=False, estimated="bad_usage", lacks_input=True)
BAD = {
    "no usage at all": (message(None), unknown("no_usage"), ()),
    "usage is text": (message("10"), unknown("no_usage"), ("bad_usage",)),
    "usage is empty": (message({}), unknown("no_usage"), ()),
    "input missing": (message({"output_tokens": 20}), replace(LACKS_INPUT, input=0, estimated="no_usage"), ()),
    "output missing": (
        message({"input_tokens": 10}),
        replace(EXACT, output=0, complete=False, estimated="no_usage", lacks_output=True), (),
    ),
    "input null": (message(said(input_tokens=None)), replace(LACKS_INPUT, input=0, estimated="no_usage"), ()),
    "input negative": (message(said(input_tokens=-1)), replace(LACKS_INPUT, input=0), ("bad_input_tokens",)),
    "input text": (message(said(input_tokens="10")), replace(LACKS_INPUT, input=0), ("bad_input_tokens",)),
    "input true": (message(said(input_tokens=True)), replace(LACKS_INPUT, input=0), ("bad_input_tokens",)),
    "input a fraction": (message(said(input_tokens=1.5)), replace(LACKS_INPUT, input=0), ("bad_input_tokens",)),
    "input absurd": (message(said(input_tokens=MOST_TOKENS + 1)), replace(LACKS_INPUT, input=0), ("bad_input_tokens",)),
    "input beyond 64 bits": (message(said(input_tokens=10**30)), replace(LACKS_INPUT, input=0), ("bad_input_tokens",)),
    "input a list": (message(said(input_tokens=[10])), replace(LACKS_INPUT, input=0), ("bad_input_tokens",)),
    "input the most there is": (message(said(input_tokens=MOST_TOKENS)), replace(EXACT, input=MOST_TOKENS), ()),
    "input 10.0": (message(said(input_tokens=10.0)), EXACT, ()),
    "output negative": (
        message(said(output_tokens=-5)),
        replace(EXACT, output=0, complete=False, estimated="bad_usage", lacks_output=True), ("bad_output_tokens",),
    ),
    "cache read negative": (message(said(cache_read_input_tokens=-5)), LACKS_INPUT, ("bad_cache_read_input_tokens",)),
    "cache writes text": (
        message(said(cache_creation_input_tokens="5")), LACKS_INPUT, ("bad_cache_creation_input_tokens",),
    ),
    "a split that is no object": (message(said(cache_creation=7)), LACKS_INPUT, ("bad_cache_creation",)),
    "searches negative": (
        message(said(server_tool_use={"web_search_requests": -1})),
        replace(EXACT, complete=False, estimated="bad_usage"), ("bad_web_search_requests",),
    ),
    "thinking is only told": (
        message(said(output_tokens_details={"thinking_tokens": "many"})), EXACT, ("bad_thinking_tokens",),
    ),
    "a tier that is no word": (message(said(service_tier=7)), EXACT, ("bad_service_tier",)),
    "a tier that is a book": (message(said(service_tier="x" * 129)), EXACT, ("bad_service_tier",)),
    "a new kind of token": (message(said(audio_tokens=5)), EXACT, ("unknown_kind",)),
    "a new kind of token, none of it": (message(said(audio_tokens=0)), EXACT, ()),
    "a new kind of cache": (message(said(cache_creation={"ephemeral_1d_input_tokens": 5})), EXACT, ("unknown_kind",)),
    "a new server tool": (message(said(server_tool_use={"map_requests": 5})), EXACT, ("unknown_kind",)),
    "a new field that counts nothing": (message(said(region="eu")), EXACT, ()),
    "iterations that are no list": (
        message(said(iterations={})), replace(EXACT, complete=False, estimated="bad_usage"), ("bad_iterations",),
    ),
    "one iteration without output": (
        message(said(iterations=[run("message", None, input=1, output=2), {"type": "message", "input_tokens": 1}])),
        replace(EXACT, complete=False, estimated="bad_usage"), ("bad_iterations",),
    ),
    "one iteration with a split that is no object": (
        message(said(iterations=[run("message", None, input=1, output=2) | {"cache_creation": 5}])),
        replace(EXACT, complete=False, estimated="bad_usage"), ("bad_iterations",),
    ),
    "one iteration that is null": (
        message(said(iterations=[None])), replace(EXACT, complete=False, estimated="bad_usage"), ("bad_iterations",),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("body", "expected", "oddities"), BAD.values(), ids=BAD.keys())
def test_bad_values(body: bytes, expected: Usage, oddities: tuple[str, ...]) -> None:
    """A count that cannot be believed is named and its side left to the caller; it is never a silent zero."""
    expected = replace(expected, model=OPUS, stop_reason="end_turn", oddities=oddities)

    assert expected == from_message(body)


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b'"usage"', b"<html>", b'{"usage":', b"[" * 5000,
     b'{"usage":{"input_tokens":1e999},"completion":1e999}',
     b'{"usage":{"input_tokens":NaN}}'],
    ids=["empty", "null", "list", "text", "html", "cut", "deep", "overflow", "nan"],
)  # fmt: skip
def test_unreadable(body: bytes) -> None:
    """What is no answer is unknown on both sides, and says so."""
    expected = unknown("no_usage", "unreadable_body")

    assert [expected] * 4 == [from_message(body), from_chat_completion(body), from_complete(body), from_session(body)]


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=5,
    ),
    st.sampled_from(["input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"]),
)
def test_any_value(value: object, name: str) -> None:
    """Whatever JSON value stands for a count, the answer is exact with it or marked without it."""
    usage = from_message(message(said(**{name: value})))
    billed = usage.total()
    got = {
        "input_tokens": billed.input,
        "output_tokens": billed.output,
        "cache_read_input_tokens": billed.cache_read,
        "cache_creation_input_tokens": billed.cache_write_5m,
    }[name]
    number = count(value)

    if number is not None:
        assert (number, None) == (got, usage.estimated)
    elif value is None and name.startswith("cache"):
        assert (0, None) == (got, usage.estimated)
    else:
        assert usage.estimated in {"bad_usage", "no_usage"}
        assert usage.lacks_input or usage.lacks_output


class TestFilled:
    """What the answer did not say is put at the caller's estimate."""

    def test_exact(self) -> None:
        """An exact usage is left alone."""
        assert EXACT == filled(EXACT, input=99, output=99)

    def test_unknown(self) -> None:
        """An unknown usage becomes the estimate and stays marked."""
        expected = Usage(input=300, output=50, complete=False, estimated="cancelled")

        assert expected == filled(unknown("cancelled"), input=300, output=50)

    def test_never_below_what_was_said(self) -> None:
        """Known cache tokens count towards the prompt, and a higher known count stands."""
        usage = Usage(cache_read=800, output=70, estimated="bad_usage", lacks_input=True, lacks_output=True)
        filled_usage = filled(usage, input=1000, output=50)

        assert (200, 800, 70) == (filled_usage.input, filled_usage.cache_read, filled_usage.output)

    def test_prompt_known_to_be_larger(self) -> None:
        """An estimate below the known cache tokens adds nothing and takes nothing away."""
        usage = Usage(cache_read=5000, estimated="bad_usage", lacks_input=True)

        assert (0, 5000) == (filled(usage, input=1000, output=0).input, filled(usage, input=1000, output=0).cache_read)

    def test_with_side_runs(self) -> None:
        """The billed run of the answer is filled too, and the side runs stay as they are."""
        side = Iteration("compaction", None, 9, 8)
        usage = Usage(iterations=(Iteration("message", None), side), estimated="cut", lacks_input=True)

        assert (Iteration("message", None, 300), side) == filled(usage, input=300, output=50).iterations


def test_total_over_runs() -> None:
    """Token buckets see every run, also those that the top level leaves out."""
    body, _ = MESSAGES["compaction"]

    assert Iteration("message", None, 203_000, 4500) == from_message(body).total()


CHAT = {"id": "msg_01", "object": "chat.completion", "model": OPUS, "choices": []}
CHATS = {
    "plain": ({"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}, Usage(input=10, output=20)),
    "cached": (
        {"prompt_tokens": 10, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 4}},
        Usage(input=6, cache_read=4, output=20),
    ),
    "more cached than there is": (
        {"prompt_tokens": 10, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 40}},
        Usage(input=10, output=20),
    ),
    "reasoning": (
        {"prompt_tokens": 10, "completion_tokens": 20, "completion_tokens_details": {"reasoning_tokens": 5}},
        Usage(input=10, output=20, thinking=5),
    ),
    "none": (None, unknown("no_usage")),
    "negative": (
        {"prompt_tokens": 10, "completion_tokens": -1},
        Usage(
            input=10, complete=False, estimated="bad_usage", lacks_output=True, oddities=("bad_output_tokens",)
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("usage", "expected"), CHATS.values(), ids=CHATS.keys())
def test_chat_completion(usage: object, expected: Usage) -> None:
    """An OpenAI usage object is read in Claude's words: cached prompt tokens are no plain input."""
    assert replace(expected, model=OPUS) == from_chat_completion(json.dumps(CHAT | {"usage": usage}).encode())


def line(result: object) -> bytes:
    return json.dumps({"custom_id": "r-1", "result": result}).encode()


LINES = {
    "succeeded": (
        line({"type": "succeeded", "message": json.loads(message(said(service_tier="batch")))}),
        BatchLine("r-1", "succeeded", replace(EXACT, service_tier="batch")),
    ),
    "succeeded, of no stated tier": (
        line({"type": "succeeded", "message": json.loads(message(said()))}),
        BatchLine("r-1", "succeeded", replace(EXACT, service_tier="batch")),
    ),
    "refused": (
        line({"type": "succeeded", "message": json.loads(message(said(), content=[], stop_reason="refusal"))}),
        BatchLine(
            "r-1", "succeeded",
            replace(EXACT, service_tier="batch", stop_reason="refusal", refused_before_output=True),
        ),
    ),
    "errored": (line({"type": "errored", "error": {"type": "error"}}), BatchLine("r-1", "errored", NOTHING)),
    "canceled": (line({"type": "canceled"}), BatchLine("r-1", "canceled", NOTHING)),
    "expired": (line({"type": "expired"}), BatchLine("r-1", "expired", NOTHING)),
    "succeeded without a message": (
        line({"type": "succeeded"}),
        BatchLine("r-1", "succeeded", replace(unknown("no_usage", "unreadable_body"), service_tier="batch")),
    ),
    "of a new type": (line({"type": "half"}), BatchLine("r-1", "unreadable", unknown("no_usage", "unknown_result"))),
    "no result": (line(None), BatchLine("r-1", "unreadable", unknown("no_usage", "unknown_result"))),
    "no JSON": (b"oops", BatchLine(None, "unreadable", unknown("no_usage", "unreadable_line"))),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), LINES.values(), ids=LINES.keys())
def test_batch_line(text: bytes, expected: BatchLine) -> None:
    """Only a succeeded result is billed, at the batch tier; what cannot be read is said to be so."""
    assert expected == from_batch_line(text)


SESSION = {"type": "session", "agent": {"id": "agent_1", "model": {"id": OPUS, "speed": "standard"}}}
SESSIONS = {
    "running": (
        {
            "input_tokens": 1200,
            "output_tokens": 340,
            "cache_read_input_tokens": 9000,
            "cache_creation": {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 0},
            "server_tool_use": {"web_search_requests": 1},
            "active_seconds": 12.345,
            "list_cost": {"amount": "2500", "currency": "USD"},
        },
        Usage(
            input=1200, output=340, cache_read=9000, cache_write_5m=60, web_searches=1, active_ms=12_345,
            list_cost_nano=25 * 10**9,
        ),
    ),
    "fresh": ({}, Usage()),
    "long": ({"cache_read_input_tokens": MOST_CUMULATIVE}, Usage(cache_read=MOST_CUMULATIVE)),
    "whole seconds": ({"active_seconds": 7}, Usage(active_ms=7000)),
    "time that is no number": (
        {"active_seconds": "7"},
        Usage(complete=False, estimated="bad_usage", oddities=("bad_active_ms",)),
    ),
    "negative time": (
        {"active_seconds": -0.5},
        Usage(complete=False, estimated="bad_usage", oddities=("bad_active_ms",)),
    ),
    "another currency": (
        {"list_cost": {"amount": "2500", "currency": "EUR"}}, Usage(oddities=("bad_list_cost",)),
    ),
    "no usage": (None, unknown("no_usage")),
}  # fmt: skip


@pytest.mark.parametrize(("usage", "expected"), SESSIONS.values(), ids=SESSIONS.keys())
def test_session(usage: object, expected: Usage) -> None:
    """A session's cumulative usage leaves out what is zero; its time is exact to the millisecond."""
    body = json.dumps(SESSION | {"usage": usage}).encode()

    assert replace(expected, model=OPUS, speed="standard") == from_session(body)


def test_session_usage_event() -> None:
    """The event carries the same object without an agent."""
    body = b'{"id":"evt_1","type":"session.usage","usage":{"input_tokens":5,"output_tokens":6}}'

    assert Usage(input=5, output=6) == from_session(body)


def test_dream() -> None:
    """A dream names its model itself, as an object."""
    body = json.dumps({"type": "dream", "model": {"id": OPUS, "speed": "fast"}, "usage": said()}).encode()

    assert Usage(input=10, output=20, model=OPUS, speed="fast") == from_session(body)


def test_complete() -> None:
    """A legacy completion has no usage: output by its bytes, input left to the caller, the whole marked."""
    answer = {"type": "completion", "completion": " Hello there", "model": OPUS, "stop_reason": "stop_sequence"}
    expected = Usage(
        output=3, model=OPUS, stop_reason="stop_sequence", complete=False, estimated="no_usage", lacks_input=True
    )

    assert expected == from_complete(json.dumps(answer).encode())


def test_complete_without_a_text() -> None:
    """A completion that is no text leaves both sides to the caller."""
    assert unknown("no_usage") == from_complete(b'{"completion":null}')
