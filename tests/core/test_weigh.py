"""Weighing: every governed field of every kind of body, as lenient as the API and as strict as a price must be."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.asked import LARGEST, Fallback, Tool
from gateway.core.json_fields import Malformed, fields, fields_in_steps
from gateway.core.limits import Ref
from gateway.core.weigh import Kind, Weighed, project_for_count, weigh, weigh_in_steps

MODEL = "claude-opus-5"
PLAIN = {"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": "hello"}]}


def weighed(extra: dict[str, Any] | None = None, kind: Kind = "messages", **more: Any) -> Weighed:
    return weigh(fields(json.dumps(PLAIN | (extra or {}) | more).encode()), kind)


def governed(found: Weighed) -> dict[str, Any]:
    """All but the measured input, and without what is as it is in most requests."""
    return {
        name: value
        for name in Weighed.__slots__
        if (value := getattr(found, name)) not in (None, (), 0, False) and name not in ("content", "hidden")
    }


def test_a_plain_request() -> None:
    """A request of the fields that every request has."""
    assert {"model": MODEL, "max_tokens": 100, "stream_usage": True} == governed(weighed())


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        pytest.param({"stream": True}, {"stream": True}, id="stream"),
        pytest.param({"stream": None, "speed": None, "tools": None, "fallbacks": None, "thread": None}, {}, id="nulls"),
        pytest.param({"max_tokens": 10.0}, {"max_tokens": 10}, id="a float that is whole"),
        pytest.param({"max_tokens": "10"}, {"max_tokens": 10}, id="a number in quotes"),
        pytest.param({"max_tokens": None}, {"max_tokens": None}, id="no bound"),
        pytest.param({"max_tokens": -5}, {"max_tokens": 0}, id="negative"),
        pytest.param({"max_tokens": 10**30}, {"max_tokens": LARGEST}, id="larger than any ledger"),
        pytest.param({"speed": "fast"}, {"speed": "fast"}, id="speed"),
        pytest.param({"inference_geo": "us"}, {"inference_geo": "us"}, id="geo"),
        pytest.param({"service_tier": "standard_only"}, {"service_tier": "standard_only"}, id="tier"),
        pytest.param({"mcp_servers": [{"type": "url"}, {}]}, {"mcp_servers": 2}, id="mcp servers"),
        pytest.param({"billing_policy": {"bill_to": "user_profile"}}, {"bill_to": "user_profile"}, id="bill to"),
        pytest.param({"compaction": {"type": "summarize"}}, {"compacts": True}, id="compaction"),
        pytest.param(
            {"context_management": {"edits": [{"type": "compact_20260112"}]}}, {"compacts": True}, id="compacting edit"
        ),
        pytest.param({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}, {}, id="other edit"),
        pytest.param({"metadata": {"user_id": "{}"}, "unknown": {"model": "x"}}, {}, id="fields that are not governed"),
        pytest.param({"thread": {"type": "create"}}, {"thread": "create"}, id="a thread begins"),
        pytest.param(
            {"thread": {"type": "continue", "previous_message_id": "msg_1"}},
            {"thread": "continue", "previous_message_id": "msg_1", "refs": (Ref("message", "msg_1"),)},
            id="a thread goes on",
        ),
    ],
)
def test_governed_fields(extra: dict[str, Any], expected: dict[str, Any]) -> None:
    """Each governed field is read as the API reads it."""
    wanted = {"model": MODEL, "max_tokens": 100, "stream_usage": True} | expected

    assert {name: value for name, value in wanted.items() if value not in (None, 0)} == governed(weighed(extra))


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"model": None}, "The request body has no 'model'. Name the model to use."),
        ({"model": ""}, "The request body has no 'model'. Name the model to use."),
        ({"model": ["a"]}, "'model' must be a string, not a list."),
        ({"max_tokens": "many"}, "'max_tokens' must be a whole number, not a string."),
        ({"max_tokens": 1.5}, "'max_tokens' must be a whole number, not a number."),
        ({"max_tokens": True}, "'max_tokens' must be a whole number, not a boolean."),
        ({"stream": "true"}, "'stream' must be true or false, not a string."),
        ({"stream": 1}, "'stream' must be true or false, not a number."),
        ({"speed": {}}, "'speed' must be a string, not an object."),
        ({"service_tier": 1}, "'service_tier' must be a string, not a number."),
        ({"tools": {}}, "'tools' must be a list of objects."),
        ({"tools": [1]}, "'tools' must be a list of objects."),
        ({"tools": [{"type": "advisor_20260301"}]}, "'tools[0]' is an advisor without a 'model'. Name the model that"),
        ({"tools": [{"type": "web_search_1", "max_uses": "x"}]}, "'tools[0].max_uses' must be a whole number, not a"),
        ({"fallbacks": "best"}, "'fallbacks' must be a list or \"default\"."),
        ({"fallbacks": {}}, "'fallbacks' must be a list, not an object."),
        ({"fallbacks": [7]}, "'fallbacks[0]' must be an object, not a number."),
        ({"fallbacks": [{}]}, "'fallbacks[0]' has no 'model'. Name the model to fall back to."),
        ({"mcp_servers": "x"}, "'mcp_servers' must be a list, not a string."),
        ({"container": {"skills": 1}}, "'container.skills' must be a list of objects."),
        ({"thread": {"previous_message_id": 1}}, "'thread.previous_message_id' must be a string, not a number."),
    ],
)
def test_what_cannot_be_governed_is_named(extra: dict[str, Any], message: str) -> None:
    """A governed field of another type is refused with its name and the type that was found."""
    with pytest.raises(Malformed) as refusal:
        weighed(extra)

    assert str(refusal.value).startswith(message)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","fallbacks":[{"model":"a","model":"b"}]}',
        b'{"model":"m","tools":[{"type":"advisor_1","model":"a","model":"b"}]}',
        b'{"model":"m","tools":[{"type":"custom","model":"a","type":"advisor_1"}]}',
        b'{"model":"m","tools":[{"type":"web_search_1","max_uses":1,"max_uses":9}]}',
        b'{"model":"m","tools":[{"type":"web_search_1","m\\u0061x_uses":1,"max_uses":9}]}',
        b'{"model":"m","thread":{"previous_message_id":"a","previous_message_id":"b"}}',
        b'{"model":"m","container":{"id":"a","id":"b"}}',
        b'{"model":"m","billing_policy":{"bill_to":"self","bill_to":"user_profile"}}',
    ],
)
def test_governed_keys_inside_stand_once(body: bytes) -> None:
    """A second key is refused wherever it could change who answers, how often, from where or at whose cost."""
    with pytest.raises(Malformed, match="more than once"):
        weigh(fields(body))


def test_every_model_that_can_bill_is_seen() -> None:
    """The model, its fallbacks in both forms, and whatever model a tool names."""
    found = weighed(
        fallbacks=[
            {"model": "claude-sonnet-5", "max_tokens": 7, "speed": "fast"},
            "claude-haiku-5-5",
            {"model": MODEL},
        ],
        tools=[
            {"name": "plain", "input_schema": {"properties": {"model": {"type": "string"}}}},
            {
                "type": "advisor_20260301",
                "name": "advisor",
                "model": "claude-fable-5-2",
                "max_uses": 2,
                "max_tokens": 9,
            },
            {"type": "bash_20250124", "name": "bash"},
            {"type": "web_search_20260318", "name": "web_search", "max_uses": 3},
            {"type": "something_new_1", "model": "claude-mythos-5"},
        ],
    )

    assert (MODEL, "claude-sonnet-5", "claude-haiku-5-5", "claude-fable-5-2", "claude-mythos-5") == found.models
    assert (
        Fallback("claude-sonnet-5", 7, "fast"),
        Fallback("claude-haiku-5-5"),
        Fallback(MODEL),
    ) == found.fallbacks
    assert (
        Tool("advisor_20260301", 2, "claude-fable-5-2", 9),
        Tool("web_search_20260318", 3),
        Tool("something_new_1", None, "claude-mythos-5"),
    ) == found.tools
    assert weighed(fallbacks="default").default_fallbacks


def test_workspace_objects_are_seen_wherever_they_are_named() -> None:
    """Files in images, documents, results and uploads, containers, custom skills, threads, diagnostics."""
    document = {"type": "document", "source": {"type": "file", "file_id": "file_doc"}}
    picture = {"type": "image", "source": {"type": "file", "file_id": "file_\u0069mg"}}
    found = weighed(
        messages=[
            {"role": "user", "content": [document, {"type": "container_upload", "file_id": "file_up"}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [picture, document]}]},
        ],
        container={
            "id": "container_1",
            "skills": [{"type": "custom", "skill_id": "skill_1"}, {"type": "anthropic", "skill_id": "pdf"}],
        },
        diagnostics={"previous_message_id": "msg_9"},
    )

    assert {
        Ref("file", "file_doc"),
        Ref("file", "file_up"),
        Ref("file", "file_img"),
        Ref("container", "container_1"),
        Ref("skill", "skill_1"),
        Ref("message", "msg_9"),
    } == set(found.refs)
    assert (Ref("container", "container_2"),) == weighed(container="container_2").refs


def test_other_kinds_of_bodies() -> None:
    """complete, count_tokens and chat/completions bound their outputs by fields of their own."""
    complete = weigh(
        fields(b'{"model":"m","prompt":"one two three","max_tokens_to_sample":9,"stream":true}'), "complete"
    )
    chat = {"model": "m", "max_tokens": 5, "messages": PLAIN["messages"]}

    assert {"model": "m", "max_tokens": 9, "stream": True, "stream_usage": True} == governed(complete)
    assert complete.input().tokens > weigh(fields(b'{"model":"m","prompt":""}'), "complete").input().tokens
    assert None is weigh(fields(json.dumps(PLAIN).encode()), "count").max_tokens
    assert {"model": "m", "max_tokens": 5} == governed(weigh(fields(json.dumps(chat).encode()), "chat"))
    more = chat | {"max_completion_tokens": 8, "stream_options": {"include_usage": True}}
    assert {"model": "m", "max_tokens": 8, "stream_usage": True} == governed(
        weigh(fields(json.dumps(more).encode()), "chat")
    )


@pytest.mark.parametrize(
    ("extra", "countable", "grows"),
    [
        ({}, True, False),
        ({"tools": [{"name": "plain"}, {"type": "bash_20250124", "name": "bash"}]}, True, False),
        ({"tools": [{"type": "web_search_20260318", "name": "web_search"}]}, False, True),
        ({"mcp_servers": [{}]}, False, True),
        ({"fallbacks": "default"}, True, True),
        ({"thread": {"type": "continue", "previous_message_id": "msg_1"}}, False, False),
        ({"system": [{"type": "document", "source": {"type": "url"}}]}, False, False),
        ({"system": [{"type": "image", "source": {"type": "url"}}]}, False, False),
    ],
)
def test_what_can_be_counted_and_learned_from(extra: dict[str, Any], countable: bool, grows: bool) -> None:
    """Requests that count_tokens refuses or sees only in part are not counted; those that read on teach nothing."""
    found = weighed(extra)

    assert (countable, grows) == (found.countable, found.grows)


def test_a_body_for_count_tokens() -> None:
    """The projection keeps the bytes of what count_tokens accepts and drops the rest."""
    body = b'{ "max_tokens" : 5, "model":"m", "messages" : [ {"content":"\\u00e9"} ],"stream":true,"tools":[]}'

    assert b'{"model":"m","messages":[ {"content":"\\u00e9"} ],"tools":[]}' == project_for_count(fields(body))


@pytest.mark.parametrize(
    ("extra", "share"),
    [
        ({}, 0.0),
        ({"cache_control": {"type": "ephemeral"}}, 1.0),
        ({"cache_control": None}, 0.0),
        ({"system": [{"type": "text", "text": "x" * 300, "cache_control": {"type": "ephemeral"}}]}, 0.5),
        ({"system": [{"type": "text", "text": "x" * 300, "cache_control": None}]}, 0.0),
        ({"tools": [{"name": "x" * 277, "cache_control": {}}], "system": "x" * 300}, 1 / 3),
    ],
)
def test_the_cacheable_share(extra: dict[str, Any], share: float) -> None:
    """What lies before the last breakpoint, in the order of the prompt, may be read from a cache."""
    found = weighed({"messages": [{"role": "user", "content": "x" * 300}]} | extra)

    assert share == pytest.approx(found.cacheable, abs=0.03)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
TYPES = st.sampled_from(
    "text image image_url document tool_use tool_result thinking redacted_thinking search_result fallback compaction "
    "web_fetch_tool_result container_upload code_execution_tool_result something_new".split()
)
SOURCES = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["base64", "text", "url", "file", "content"]) | JSON,
        "data": JSON,
        "content": JSON,
    },
)
BLOCKS = st.recursive(
    st.fixed_dictionaries(
        {"type": TYPES | JSON},
        optional=dict.fromkeys(("text", "thinking", "signature", "data", "name", "input", "title", "file_id"), JSON)
        | {"source": SOURCES | JSON, "cache_control": JSON, "image_url": SOURCES | JSON},
    ),
    lambda inner: st.fixed_dictionaries({"type": TYPES}, optional={"content": st.lists(inner, max_size=3) | JSON}),
    max_leaves=6,
)
MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant"]), "content": st.lists(BLOCKS, max_size=4) | JSON}
)
ODD_BODIES = st.fixed_dictionaries(
    {"model": st.just(MODEL), "messages": st.lists(MESSAGES | JSON, max_size=4) | JSON},
    optional=dict.fromkeys(("tools", "thread", "container", "fallbacks", "prompt"), JSON)
    | {"system": st.lists(BLOCKS, max_size=3) | JSON},
)


@given(ODD_BODIES, st.sampled_from(["messages", "count", "complete", "chat"]))
def test_any_shape_is_weighed_or_refused(body: dict[str, Any], kind: Kind) -> None:
    """Whatever stands where blocks should, the answer is a number or a clear refusal; never another error."""
    try:
        found = weigh(fields(json.dumps(body, allow_nan=True).encode()), kind)
    except Malformed:
        return
    estimate = found.input()

    assert 0 <= estimate.sure <= estimate.tokens + 1
    assert all(tokens >= 0 for tokens in estimate.parts.values())
    assert 0 <= found.cacheable <= 1


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param(b"[" + b"{}," * 500_000 + b"{}]", id="empty messages"),
        pytest.param(b"[" + b"1," * 900_000 + b"1]", id="numbers"),
        pytest.param(b'[{"content":[' + b"{}," * 500_000 + b"{}]}]", id="empty blocks"),
    ],
)
def test_millions_of_small_values_are_weighed_as_text(messages: bytes) -> None:
    """A body that no context could hold is neither built as objects nor refused; its estimate is weak."""
    estimate = weigh(fields(b'{"model":"m","messages":' + messages + b"}")).input()

    assert estimate.weak
    assert estimate.tokens > 100_000


def test_what_is_no_block_in_a_large_list_is_weighed_as_text() -> None:
    """Blocks of a large message are opened one by one: a stranger among them is text, the others are read."""
    block = {"type": "text", "text": "x" * 1000}
    content = (
        [block] * 300
        + ["a string", {"type": "document", "source": {"type": "file", "file_id": "file_1"}}]
        + [block] * 300
    )
    found = weighed(messages=[{"role": "user", "content": content}])

    assert (Ref("file", "file_1"),) == found.refs
    assert found.content.unreadable
    assert found.content.unknown_documents == 1


def test_large_bodies_give_way() -> None:
    """A large body is weighed in many steps: each image, document and run of blocks is one."""
    image = {"type": "image", "source": {"type": "base64", "data": "A" * 1_000_000}}
    document = {"type": "document", "source": {"type": "base64", "data": "A" * 2_000_000}}
    calls = [{"type": "tool_use", "name": "x", "input": {}} for _ in range(3000)]
    body = json.dumps(PLAIN | {"messages": [{"role": "user", "content": [image, image, document, *calls]}]}).encode()
    steps = fields_in_steps(body)
    assert len(list(steps)) > len(body) // 1_000_000

    assert len(list(weigh_in_steps(fields(body)))) > 12
