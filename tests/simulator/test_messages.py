"""Messages, plain and streamed, as the fact sheet (5, 6) and the official SDK want them."""

from typing import Any

import aiohttp
import anthropic
import pytest

from gateway.simulator.tokens import DENSE, count
from tests.simulator.asking import HELLO, MODEL, body, events, get, post, stream

TOOL: Any = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "kelvin"]}},
        "required": ["city", "unit"],
    },
}
SEARCH: Any = {"type": "web_search_20250305", "name": "web_search"}
CODE: Any = {"type": "code_execution_20250825", "name": "code_execution"}


async def test_a_plain_message_has_every_field_of_the_api(http: aiohttp.ClientSession) -> None:
    """A plain answer is a Message with a complete usage object, and its text has as many tokens as it says."""
    status, message = await post(http, "/v1/messages", body(), x_simulator_answer="output=25")

    text = message["content"][0]["text"]
    assert 200 == status
    assert {
        "id": message["id"],
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "stop_details": None,
        "usage": {
            "input_tokens": 3 + 6 + count("Hello there.", DENSE),
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "output_tokens": 25,
            "service_tier": "standard",
            "inference_geo": "global",
        },
    } == message
    assert 25 == count(text, DENSE)


async def test_the_same_prompt_gets_the_same_words(http: aiohttp.ClientSession) -> None:
    """Answers follow from the request alone; another prompt gets another length."""
    answers = [await post(http, "/v1/messages", body(text)) for text in ("One.", "One.", "Two.")]
    said = [answer["content"][0]["text"] for _, answer in answers]

    assert said[0] == said[1]
    assert said[0] != said[2]


async def test_a_stream_adds_up_to_the_plain_answer(http: aiohttp.ClientSession) -> None:
    """Order, names and usage of the events are the API's; their deltas joined are the plain answer's text."""
    asked = body(thinking={"type": "adaptive"}, tools=[TOOL], system="Be brief.")
    _, whole = await post(http, "/v1/messages", asked, x_simulator_answer="tool,output=30")
    seen = await stream(http, asked, x_simulator_answer="tool,output=30")

    names = [name for name, _ in seen]
    start, end = seen[0][1]["message"], seen[-2][1]
    assert ["message_start", "content_block_start", "ping"] == names[:3]
    assert ["content_block_stop", "message_delta", "message_stop"] == names[-3:]
    assert [] == start["content"]
    assert None is start["stop_reason"]
    assert 2 == start["usage"]["output_tokens"]
    assert whole["usage"]["input_tokens"] == start["usage"]["input_tokens"]
    assert whole["usage"]["output_tokens"] == end["usage"]["output_tokens"]
    assert whole["usage"]["output_tokens_details"] == end["usage"]["output_tokens_details"]
    assert {"cache_creation", "service_tier", "inference_geo"} & end["usage"].keys() == set()
    assert "tool_use" == end["delta"]["stop_reason"]
    kinds = [data["content_block"]["type"] for name, data in seen if name == "content_block_start"]
    assert [block["type"] for block in whole["content"]] == kinds
    deltas = [data["delta"] for name, data in seen if name == "content_block_delta"]
    assert {"thinking_delta", "signature_delta", "text_delta", "input_json_delta"} == {d["type"] for d in deltas}
    assert whole["content"][0]["thinking"] == "".join(d.get("thinking", "") for d in deltas)
    assert whole["content"][1]["text"] == "".join(d.get("text", "") for d in deltas)
    assert '{"city":"example","unit":"celsius"}' == "".join(d.get("partial_json", "") for d in deltas)


async def test_the_sdk_reads_a_message_and_a_stream(claude: anthropic.AsyncAnthropic) -> None:
    """The official SDK gets a typed message, and its stream accumulates to one with tools, thinking and usage."""
    message = await claude.messages.create(model=MODEL, max_tokens=100, messages=HELLO)
    async with claude.messages.stream(
        model="claude-opus-5-5",
        max_tokens=2000,
        messages=[{"role": "user", "content": "Please use get_weather."}],
        tools=[TOOL],
        thinking={"type": "adaptive"},
    ) as streamed:
        kinds = {event.type async for event in streamed}
        final = await streamed.get_final_message()

    assert ("message", MODEL, "end_turn") == (message.type, message.model, message.stop_reason)
    assert (message._request_id or "").startswith("req_")
    assert {"text", "thinking", "signature", "input_json"} <= kinds
    assert ["thinking", "text", "tool_use"] == [block.type for block in final.content]
    assert {"city": "example", "unit": "celsius"} == getattr(final.content[2], "input", None)
    assert "tool_use" == final.stop_reason


@pytest.mark.parametrize(
    ("choice", "text", "called"),
    [
        (None, "Hello.", None),
        (None, "Please call get_weather now.", "get_weather"),
        ({"type": "any"}, "Hello.", "get_weather"),
        ({"type": "tool", "name": "get_time"}, "Hello.", "get_time"),
        ({"type": "none"}, "Please call get_weather now.", None),
    ],
)
async def test_a_tool_is_called_when_asked(http: aiohttp.ClientSession, choice: Any, text: str, called: Any) -> None:
    """`tool_choice` any or tool calls a tool; auto calls one that the last text asks for; none calls none."""
    tools = [TOOL, {"name": "get_time", "input_schema": {"type": "object"}}]
    asked = body(text, tools=tools, **({"tool_choice": choice} if choice else {}))
    _, message = await post(http, "/v1/messages", asked)

    names = [block["name"] for block in message["content"] if block["type"] == "tool_use"]
    assert ([called] if called else []) == names
    assert ("tool_use" if called else "end_turn") == message["stop_reason"]


async def test_a_tool_result_is_answered_with_text(http: aiohttp.ClientSession) -> None:
    """An agent's loop ends: after the result of a tool the answer is text."""
    messages = [
        {"role": "user", "content": "Use get_weather."},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "Rain."}]},
    ]
    _, message = await post(http, "/v1/messages", {**body(tools=[TOOL]), "messages": messages})

    assert "end_turn" == message["stop_reason"]


@pytest.mark.parametrize(
    ("asks", "more", "reason"),
    [
        ("output=900", {}, "max_tokens"),
        ("pause", {}, "pause_turn"),
        ("context", {}, "model_context_window_exceeded"),
        ("stop", {"stop_sequences": ["HALT"]}, "stop_sequence"),
        ("late_refusal", {}, "refusal"),
        ("refusal", {}, "refusal"),
    ],
)
async def test_every_stop_reason_can_be_had(http: aiohttp.ClientSession, asks: str, more: Any, reason: str) -> None:
    """An answer stops for the reason asked for and never exceeds max_tokens."""
    _, message = await post(http, "/v1/messages", body(**more), x_simulator_answer=asks)

    assert reason == message["stop_reason"]
    assert message["usage"]["output_tokens"] <= 400


async def test_a_stop_sequence_in_the_words_ends_them(http: aiohttp.ClientSession) -> None:
    """Text ends before the first stop sequence that occurs in it, and the answer names the sequence."""
    _, message = await post(http, "/v1/messages", body(stop_sequences=["never said", " simulated"]))

    assert "this is a" == message["content"][0]["text"]
    assert ("stop_sequence", " simulated") == (message["stop_reason"], message["stop_sequence"])
    assert 3 == message["usage"]["output_tokens"]


async def test_max_tokens_zero_generates_nothing(http: aiohttp.ClientSession) -> None:
    """`max_tokens: 0` warms the cache: no content, no output tokens."""
    _, message = await post(http, "/v1/messages", {**body(), "max_tokens": 0})

    assert ([], 0, "max_tokens") == (message["content"], message["usage"]["output_tokens"], message["stop_reason"])


async def test_a_refusal_in_silence_reports_tokens_and_costs_nothing(http: aiohttp.ClientSession) -> None:
    """A refusal before any output has no content and output 0, with its reason in stop_details."""
    seen = await stream(http, body(), x_simulator_answer="refusal")

    assert ["message_start", "message_delta", "message_stop"] == [name for name, _ in seen]
    assert "refusal" == seen[1][1]["delta"]["stop_details"]["type"]
    assert (0, True) == (seen[1][1]["usage"]["output_tokens"], seen[1][1]["usage"]["input_tokens"] > 0)


async def test_searches_are_counted_and_revise_the_input(http: aiohttp.ClientSession) -> None:
    """Successful searches are counted, a failed one is not, and the final input is larger than the first."""
    asked = body(tools=[SEARCH])
    seen = await stream(http, asked, x_simulator_answer="search=2,failed_search")

    first, last = seen[0][1]["message"]["usage"], seen[-2][1]["usage"]
    assert {"web_search_requests": 2, "web_fetch_requests": 0} == last["server_tool_use"]
    assert "server_tool_use" not in first
    assert first["input_tokens"] + 440 == last["input_tokens"]
    results = [data["content_block"] for name, data in seen if name == "content_block_start"]
    assert 3 == sum(1 for block in results if block["type"] == "web_search_tool_result")
    assert "unavailable" == results[-2]["content"]["error_code"]


async def test_a_tool_can_write_a_file(http: aiohttp.ClientSession) -> None:
    """Code execution leaves a container and a file whose content can be downloaded."""
    _, message = await post(http, "/v1/messages", body(tools=[CODE]), x_simulator_answer="file")
    result = next(block for block in message["content"] if block["type"] == "bash_code_execution_tool_result")
    name = result["content"]["content"][0]["file_id"]
    async with http.get(f"/v1/files/{name}/content") as answer:
        content = await answer.read()
    again = await post(http, "/v1/messages", body(tools=[CODE], container=message["container"]["id"]))
    unknown = await post(http, "/v1/messages", body(tools=[CODE], container="container_none"))

    assert b"written by the simulator\n" == content
    assert (200, message["container"]["id"]) == (again[0], again[1]["container"]["id"])
    assert 404 == unknown[0]


async def test_citations_stream_as_deltas(http: aiohttp.ClientSession) -> None:
    """A cited document shows in the text block and as a citations_delta."""
    source = {"type": "text", "media_type": "text/plain", "data": "The sky is blue."}
    content = [{"type": "document", "source": source, "citations": {"enabled": True}}, {"type": "text", "text": "Why?"}]
    asked = {**body(), "messages": [{"role": "user", "content": content}]}
    seen = await stream(http, asked, x_simulator_answer="citations")

    cited = [data["delta"]["citation"] for _, data in seen if data.get("delta", {}).get("type") == "citations_delta"]
    assert ["The sky is blue."] == [one["cited_text"] for one in cited]


async def test_a_schema_is_obeyed(claude: anthropic.AsyncAnthropic) -> None:
    """Structured output is JSON that fits the schema."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    message = await claude.messages.create(
        model=MODEL,
        max_tokens=100,
        messages=HELLO,
        output_config={"format": {"type": "json_schema", "schema": schema}},
    )

    assert '{"n":1}' == getattr(message.content[0], "text", None)


async def test_a_fallback_answers_at_its_own_counts(http: aiohttp.ClientSession) -> None:
    """A declined attempt and the fallback's are entries of `iterations`; the top level is the fallback's alone."""
    asked = body(fallbacks=[{"model": "claude-haiku-4-5"}])
    _, message = await post(
        http,
        "/v1/messages",
        asked,
        anthropic_beta="server-side-fallback-2026-07-01",
        x_simulator_answer="declined=7,output=20",
    )

    first, second = message["usage"]["iterations"]
    assert ("message", MODEL, 7) == (first["type"], first["model"], first["output_tokens"])
    assert ("fallback_message", "claude-haiku-4-5-20251001") == (second["type"], second["model"])
    assert (20, 20) == (second["output_tokens"], message["usage"]["output_tokens"])
    assert MODEL == message["model"]
    assert {"model": "claude-haiku-4-5-20251001"} == message["content"][0]["to"]


async def test_the_advisor_has_an_entry_of_its_own(http: aiohttp.ClientSession) -> None:
    """An advised stream has two message_delta events; the advisor's tokens stand in `iterations` only."""
    advisor = {"type": "advisor_20260301", "name": "advisor", "model": "claude-fable-5-2"}
    seen = await stream(
        http, body(tools=[advisor]), anthropic_beta="advisor-tool-2026-03-01", x_simulator_answer="advisor,output=30"
    )

    usages = [data["usage"] for name, data in seen if name == "message_delta"]
    entries = usages[-1]["iterations"]
    assert 2 == len(usages)
    assert usages[0]["output_tokens"] < usages[1]["output_tokens"]
    assert ["message", "advisor_message", "message"] == [entry["type"] for entry in entries]
    assert "claude-fable-5-2" == entries[1]["model"]
    assert usages[1]["output_tokens"] == entries[0]["output_tokens"] + entries[2]["output_tokens"]
    assert usages[1]["input_tokens"] == entries[0]["input_tokens"] + entries[2]["input_tokens"]


async def test_compaction_is_outside_the_top_level(http: aiohttp.ClientSession) -> None:
    """A compaction has an entry and a block; the top level counts only the message."""
    asked = body(context_management={"edits": []})
    _, message = await post(
        http, "/v1/messages", asked, anthropic_beta="compact-2026-01-12", x_simulator_answer="compaction,output=20"
    )

    assert ["compaction", "message"] == [entry["type"] for entry in message["usage"]["iterations"]]
    assert 20 == message["usage"]["output_tokens"]
    assert "compaction" == message["content"][0]["type"]


async def test_markers_in_the_prompt_work_without_headers(http: aiohttp.ClientSession) -> None:
    """`[[simulate …]]` in the last user message asks as the header does."""
    _, message = await post(http, "/v1/messages", body("Hello. [[simulate output=3 pause]]"))

    assert (3, "pause_turn") == (message["usage"]["output_tokens"], message["stop_reason"])


async def test_a_system_message_at_the_end_asks_nothing(http: aiohttp.ClientSession) -> None:
    """Claude Code ends its prompts with a system message; the question stands before it."""
    asked = body("Hello. [[simulate output=3 pause]]")
    asked["messages"].append({"role": "system", "content": [{"type": "text", "text": "# Environment"}]})

    _, message = await post(http, "/v1/messages", asked)

    assert (3, "pause_turn") == (message["usage"]["output_tokens"], message["stop_reason"])


async def test_a_signature_may_be_huge(http: aiohttp.ClientSession) -> None:
    """A single event can be larger than any buffer a reader might have."""
    seen = await stream(http, body(thinking={"type": "adaptive"}), x_simulator_answer="signature=300000")

    sizes = [
        len(data["delta"]["signature"]) for _, data in seen if data.get("delta", {}).get("type") == "signature_delta"
    ]
    assert [300_000] == sizes


async def test_models_are_listed_in_scheme_a(claude: anthropic.AsyncAnthropic, http: aiohttp.ClientSession) -> None:
    """Pages chain by after_id, retired models are hidden by default, aliases resolve."""
    paged = [model.id async for model in claude.models.list(limit=7)]
    _, everything = await get(http, "/v1/models?limit=1000")
    _, retired = await get(http, "/v1/models?lifecycle[]=retired")
    _, before = await get(http, f"/v1/models?limit=2&before_id={paged[4]}")
    one = await claude.models.retrieve("claude-haiku-4-5")

    assert paged == [model["id"] for model in everything["data"]]
    assert (18, False, paged[0], paged[-1]) == (
        len(paged),
        everything["has_more"],
        everything["first_id"],
        everything["last_id"],
    )
    assert {"retired"} == {model["lifecycle"] for model in retired["data"]}
    assert (paged[2:4], True) == ([model["id"] for model in before["data"]], before["has_more"])
    assert ("claude-haiku-4-5-20251001", 64_000, "haiku") == (one.id, one.max_tokens, one.line)


async def test_counting_agrees_with_the_message(claude: anthropic.AsyncAnthropic) -> None:
    """count_tokens says what the same body is billed as input."""
    asked: Any = {"model": MODEL, "messages": HELLO, "system": "Be brief.", "tools": [TOOL]}
    counted = await claude.messages.count_tokens(**asked)
    message = await claude.messages.create(max_tokens=50, **asked)

    assert message.usage.input_tokens == counted.input_tokens


async def test_the_answer_is_an_event_stream_without_a_done_mark(http: aiohttp.ClientSession) -> None:
    """The content type is SSE, both organisation ids and the request id are headers, and there is no [DONE]."""
    async with http.post("/v1/messages", json=body(stream=True)) as answer:
        raw = await answer.read()

    assert "text/event-stream; charset=utf-8" == answer.headers["content-type"]
    assert answer.headers["request-id"].startswith("req_")
    assert "wrkspc_search" == answer.headers["anthropic-workspace-id"]
    assert answer.headers["anthropic-organization-id"]
    assert b"[DONE]" not in raw
    assert "message_stop" == events(raw)[-1][0]
