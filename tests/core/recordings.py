"""Streams as Claude words them, one per kind of event, with the usage each stands for. Texts hold characters of every
UTF-8 length, so that a cut may fall into one."""

import json
from dataclasses import dataclass, replace

from gateway.core.usage import NOTHING, Iteration, Usage

OPUS = "claude-opus-5"
FABLE = "claude-fable-5"


def event(name: str, **data: object) -> bytes:
    text = json.dumps({"type": name} | data, ensure_ascii=False, separators=(",", ":"))
    return f"event: {name}\ndata: {text}\n\n".encode()


def start(model: str = OPUS, **usage: object) -> bytes:
    counts = {
        "input_tokens": 472,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 2,
        "service_tier": "standard",
    }
    message = {"id": "msg_01", "type": "message", "role": "assistant", "model": model, "content": []}
    return event("message_start", message=message | {"stop_reason": None, "usage": counts | usage})


def block(index: int, kind: str, *deltas: tuple[str, str, object], **content: object) -> bytes:
    """One content block: its start, deltas as (type, field, value), its stop."""
    return b"".join(
        [
            event("content_block_start", index=index, content_block={"type": kind} | content),
            *(event("content_block_delta", index=index, delta={"type": t, f: v}) for t, f, v in deltas),
            event("content_block_stop", index=index),
        ]
    )


def text(index: int, *parts: str) -> bytes:
    return block(index, "text", *(("text_delta", "text", part) for part in parts), text="")


def fallback(index: int, source: str, target: str) -> bytes:
    return block(
        index, "fallback", **{"from": {"model": source}, "to": {"model": target}, "trigger": {"type": "refusal"}}
    )


def end(stop_reason: str | None = "end_turn", **usage: object) -> bytes:
    return event("message_delta", delta={"stop_reason": stop_reason, "stop_sequence": None}, usage=usage)


def run(kind: str, model: str | None, input_: int, output: int, read: int = 0) -> dict[str, object]:
    entry: dict[str, object] = {
        "type": kind, "input_tokens": input_, "output_tokens": output,
        "cache_read_input_tokens": read, "cache_creation_input_tokens": 0,
    }  # fmt: skip
    return entry if model is None else entry | {"model": model}


STOP = event("message_stop")
PING = event("ping")
HELLO = text(0, "Hello", " wörld €", " 🙂", '"}}\\n\\n')

BASE = Usage(input=472, output=89, model=OPUS, service_tier="standard", stop_reason="end_turn")


@dataclass(frozen=True)
class Recording:
    """A stream, what it says when it ends properly, and the bytes of text in its deltas (as JSON writes them)."""

    stream: bytes
    usage: Usage
    output_bytes: int
    first_event: str | None = "message_start"
    error_type: str | None = None


def json_bytes(*parts: str) -> int:
    return sum(len(json.dumps(part, ensure_ascii=False).encode()) - 2 for part in parts)


HELLO_BYTES = json_bytes("Hello", " wörld €", " 🙂", '"}}\\n\\n')
THOUGHTS = ("Let me think", ' about {"a": 1}', " über alles")
SIGNATURE = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pk"
ARGUMENTS = ('{"location":', ' "San', ' Francisco, CA"}')
CITATION = {"type": "char_location", "cited_text": "The grass is {green}.", "document_index": 0}
ADVICE = [
    run("message", None, 412, 89),
    run("advisor_message", "claude-fable-5-2", 823, 1612),
    run("message", None, 1348, 442, 412),
]
HOPS = [run("message", FABLE, 472, 0), run("fallback_message", "claude-opus-4-8", 472, 89)]

RECORDINGS = {
    "text": Recording(start() + HELLO + end(output_tokens=89) + STOP, BASE, HELLO_BYTES),
    "pings, comments and fields of other kinds": Recording(
        PING + b": keep-alive\n\n" + b"retry: 3000\n\n" + start() + PING + b":\n\n" + HELLO + b"\n\n"
        + b"id: 7\nevent:message_delta\n: a comment inside\ndata:" + json.dumps(
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 89}}
        ).encode() + b"\n\n" + PING + STOP,
        BASE, HELLO_BYTES,
    ),
    "unknown events": Recording(
        event("overture", usage={"output_tokens": 7}) + start() + event("content_block_aside", index=0, text="x" * 50)
        + HELLO + end(output_tokens=89) + STOP,
        BASE, HELLO_BYTES, first_event="overture",
    ),
    "an event without a name": Recording(
        b'data: {"type":"message_start"}\n\n' + start() + HELLO + end(output_tokens=89) + STOP,
        replace(BASE, oddities=("unnamed_event",)), HELLO_BYTES,
    ),
    "data in several lines": Recording(
        start() + HELLO + b'event: message_delta\ndata: {"type":"message_delta","delta":\n'
        b'data: {"stop_reason":"end_turn"},\ndata: "usage":{"output_tokens":89}}\n\n' + STOP,
        BASE, HELLO_BYTES,
    ),
    "a byte order mark": Recording(b"\xef\xbb\xbf" + start() + HELLO + end(output_tokens=89) + STOP, BASE, HELLO_BYTES),
    "padded deltas": Recording(
        start()
        + b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":"Hello"}             }\n\n' + end(output_tokens=89) + STOP,
        BASE, 5,
    ),
    "a delta nobody could decode": Recording(
        start() + b'event: content_block_delta\n'
        b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta",'
        b'"text":"\\ud800 \xff\xfe {{{"}}\n\n' + end(output_tokens=89) + STOP,
        BASE, 13,
    ),
    "thinking": Recording(
        start()
        + block(0, "thinking", *(("thinking_delta", "thinking", part) for part in THOUGHTS),
                ("signature_delta", "signature", SIGNATURE), thinking="", signature="")
        + text(1, "Hello")
        + end(output_tokens=89, output_tokens_details={"thinking_tokens": 60}) + STOP,
        replace(BASE, thinking=60), json_bytes(*THOUGHTS, SIGNATURE, "Hello"),
    ),
    "thinking that is not shown": Recording(
        start() + block(0, "thinking", ("signature_delta", "signature", SIGNATURE * 20), thinking="", signature="")
        + block(1, "redacted_thinking", data="EmwKAhgBEgy3va3pzix") + text(2, "Hello") + end(output_tokens=89) + STOP,
        BASE, json_bytes(SIGNATURE * 20, "Hello"),
    ),
    "tools": Recording(
        start() + text(0, "Okay")
        + block(11, "tool_use", *(("input_json_delta", "partial_json", part) for part in ("", *ARGUMENTS)),
                id="toolu_01", name="get_weather", input={})
        + end("tool_use", output_tokens=89) + STOP,
        replace(BASE, stop_reason="tool_use"), json_bytes("Okay", *ARGUMENTS),
    ),
    "a server tool, with input revised at the end": Recording(
        start(cache_read_input_tokens=7123)
        + block(0, "server_tool_use", ("input_json_delta", "partial_json", ARGUMENTS[0]), name="web_search")
        + block(1, "web_search_tool_result", content=[{"type": "web_search_result", "encrypted_content": "x" * 3000}])
        + text(2, "Hello")
        + end(
            output_tokens=89, input_tokens=10_682, cache_creation_input_tokens=300, cache_read_input_tokens=7123,
            server_tool_use={"web_search_requests": 1, "web_fetch_requests": 2},
        ) + STOP,
        replace(BASE, input=10_682, cache_read=7123, cache_write_5m=300, web_searches=1, web_fetches=2),
        json_bytes(ARGUMENTS[0], "Hello"),
    ),
    "citations": Recording(
        start() + block(0, "text", ("text_delta", "text", "the grass is green"),
                        ("citations_delta", "citation", CITATION), text="", citations=[])
        + end(output_tokens=89) + STOP,
        BASE, json_bytes("the grass is green") + len(json.dumps(CITATION, separators=(",", ":"))) - 2,
    ),
    "facts that only the start tells": Recording(
        start(
            cache_creation_input_tokens=100,
            cache_creation={"ephemeral_5m_input_tokens": 40, "ephemeral_1h_input_tokens": 60},
            service_tier="priority", inference_geo="us", speed="fast",
        ) + HELLO + end(output_tokens=89, input_tokens=None, cache_creation_input_tokens=None) + STOP,
        replace(BASE, cache_write_5m=40, cache_write_1h=60, service_tier="priority", geo="us", speed="fast"),
        HELLO_BYTES,
    ),
    "an advisor, with a delta after each of its answers": Recording(
        start() + text(0, "Hello") + end(None, output_tokens=89, iterations=ADVICE[:1]) + PING
        + block(1, "server_tool_use", id="srvtoolu_1", name="advisor", input={})
        + block(2, "advisor_tool_result", content={"type": "advisor_result", "text": "Try it."})
        + end(None, output_tokens=89, iterations=ADVICE[:2])
        + text(3, "wörld") + end(input_tokens=412, output_tokens=531, iterations=ADVICE) + STOP,
        replace(
            BASE, input=412, output=531,
            iterations=(
                Iteration("message", None, 412, 89), Iteration("advisor_message", "claude-fable-5-2", 823, 1612),
                Iteration("message", None, 1348, 442, 412),
            ),
        ),
        json_bytes("Hello", "wörld"),
    ),
    "compaction": Recording(
        start(FABLE) + block(0, "compaction", ("compaction_delta", "content", "Summary"), content=None)
        + text(1, "Hello")
        + end(output_tokens=89, iterations=[run("compaction", None, 180_000, 3500), run("message", None, 472, 89)])
        + STOP,
        replace(
            BASE, model=FABLE,
            iterations=(Iteration("compaction", None, 180_000, 3500), Iteration("message", None, 472, 89)),
        ),
        # A delta of an unknown type is counted in a text delta's frame: here 9 bytes more than its content.
        json_bytes("Summary", "Hello") + len("compaction_delta") - len("text_delta") + len("content") - len("text"),
    ),
    "a fallback before any output": Recording(
        start(FABLE) + fallback(0, FABLE, "claude-opus-4-8") + text(1, "Hello")
        + end(output_tokens=89, iterations=HOPS) + STOP,
        replace(
            BASE, model=FABLE, served_by="claude-opus-4-8",
            iterations=(Iteration("message", FABLE, 472), Iteration("fallback_message", "claude-opus-4-8", 472, 89)),
        ),
        json_bytes("Hello"),
    ),
    "a fallback of which the usage says nothing": Recording(
        start(FABLE) + text(0, "I") + fallback(1, FABLE, "claude-opus-4-8") + text(2, "Hello")
        + end(output_tokens=89) + STOP,
        replace(BASE, model=FABLE, served_by="claude-opus-4-8"), json_bytes("I", "Hello"),
    ),
    "a tool that is called fallback": Recording(
        start() + block(0, "tool_use", name="fallback", input={}) + text(1, "Hello")
        + end(output_tokens=89) + STOP,
        BASE, json_bytes("Hello"),
    ),
    "a refusal before any output": Recording(
        start() + end("refusal", output_tokens=0) + STOP,
        replace(BASE, output=0, stop_reason="refusal", refused_before_output=True), 0,
    ),
    "a refusal by every model of a chain": Recording(
        start(FABLE) + fallback(0, FABLE, "claude-opus-4-8") + end("refusal", output_tokens=0) + STOP,
        replace(
            BASE, model=FABLE, served_by="claude-opus-4-8", output=0, stop_reason="refusal", refused_before_output=True,
        ),
        0,
    ),
    "a refusal in mid-stream": Recording(
        start() + text(0, "Hello") + end("refusal", output_tokens=89) + STOP, replace(BASE, stop_reason="refusal"), 5,
    ),
    "a stream that only warms the cache": Recording(
        start(cache_creation_input_tokens=2000) + end("max_tokens", output_tokens=0) + STOP,
        replace(BASE, output=0, cache_write_5m=2000, stop_reason="max_tokens"), 0,
    ),
    "no stop reason, but a stop": Recording(
        start() + HELLO + event("message_delta", delta={}, usage={"output_tokens": 89}) + STOP,
        replace(BASE, stop_reason=None), HELLO_BYTES,
    ),
    "a stop reason, but no stop": Recording(start() + HELLO + end(output_tokens=89), BASE, HELLO_BYTES),
    "a last event without its blank line": Recording(
        start() + HELLO + end(output_tokens=89)[:-2], BASE, HELLO_BYTES,
    ),
    "an error in the place of an answer": Recording(
        PING + event("error", error={"type": "overloaded_error", "message": "Overloaded"}), NOTHING, 0, "error",
        "overloaded_error",
    ),
    "an error in mid-stream": Recording(
        start() + text(0, "Hello") + event("error", error={"type": "overloaded_error", "message": "Overloaded"}),
        replace(BASE, output=2, stop_reason=None, complete=False, estimated="cut"), 5, error_type="overloaded_error",
    ),
    "an error of no kind": Recording(
        start() + text(0, "Hello world!") + b"event: error\ndata: <html>\n\n",
        replace(
            BASE, output=3, stop_reason=None, complete=False, estimated="cut", oddities=("unreadable_error",),
        ),
        12, error_type="unknown",
    ),
    "no message_delta": Recording(
        start() + HELLO + STOP,
        replace(BASE, output=-(-HELLO_BYTES // 4), stop_reason=None, complete=False, estimated="no_usage"), HELLO_BYTES,
    ),
    "a message_delta without usage": Recording(
        start() + HELLO + event("message_delta", delta={"stop_reason": "end_turn"}) + STOP,
        replace(BASE, output=-(-HELLO_BYTES // 4), complete=False, estimated="no_usage"), HELLO_BYTES,
    ),
    "a message_delta that is no JSON": Recording(
        start() + HELLO + b"event: message_delta\ndata: {oops\n\n" + STOP,
        replace(
            BASE, output=-(-HELLO_BYTES // 4), stop_reason=None, complete=False, estimated="no_usage",
            oddities=("unreadable_message_delta",),
        ),
        HELLO_BYTES,
    ),
    "an output that is no count": Recording(
        start() + HELLO + end(output_tokens=-89) + STOP,
        replace(
            BASE, output=-(-HELLO_BYTES // 4), complete=False, estimated="bad_usage", oddities=("bad_output_tokens",),
        ),
        HELLO_BYTES,
    ),
    "an input that is no count": Recording(
        start(input_tokens="472") + HELLO + end(output_tokens=89) + STOP,
        replace(
            BASE, input=0, complete=False, estimated="bad_usage", lacks_input=True, oddities=("bad_input_tokens",),
        ),
        HELLO_BYTES,
    ),
    "a fallback that names no models": Recording(
        start() + block(0, "fallback", **{"from": "claude-x", "to": None}) + text(1, "Hello")
        + end(output_tokens=89) + STOP,
        BASE, json_bytes("Hello"),
    ),
    "a message_start without a message": Recording(
        event("message_start", message=None) + HELLO + end(output_tokens=89) + STOP,
        Usage(output=89, stop_reason="end_turn", complete=False, estimated="no_usage", lacks_input=True),
        HELLO_BYTES,
    ),
    "a message_delta without a delta": Recording(
        start() + HELLO + event("message_delta", usage={"output_tokens": 89}) + STOP,
        replace(BASE, stop_reason=None), HELLO_BYTES,
    ),
    "a start without usage": Recording(
        event("message_start", message={"model": OPUS}) + HELLO + end(output_tokens=89) + STOP,
        Usage(
            output=89, model=OPUS, stop_reason="end_turn", complete=False, estimated="no_usage", lacks_input=True,
        ),
        HELLO_BYTES,
    ),
    "no start": Recording(
        HELLO + end(output_tokens=89) + STOP,
        Usage(output=89, stop_reason="end_turn", complete=False, estimated="no_usage", lacks_input=True),
        HELLO_BYTES, first_event="content_block_start",
    ),
    "a delta first": Recording(
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hello"}),
        Usage(output=2, complete=False, estimated="cut", lacks_input=True), 5, first_event="content_block_delta",
    ),
    "a legacy completion": Recording(
        event("completion", completion=" Hello", stop_reason=None, model="claude-2.1") + PING
        + event("completion", completion=" world", stop_reason=None, model="claude-2.1"),
        Usage(output=3, complete=False, estimated="cut", lacks_input=True), 12, first_event="completion",
    ),
    "nothing": Recording(b"", Usage(complete=False, estimated="cut", lacks_input=True), 0, None),
    "only pings": Recording(PING * 3, Usage(complete=False, estimated="cut", lacks_input=True), 0, None),
    "no stream at all": Recording(
        b"<html>502 Bad Gateway</html>", Usage(complete=False, estimated="cut", lacks_input=True), 0, None,
    ),
}  # fmt: skip
