"""`/v1/complete` and `/v1/chat/completions`: older and foreign shapes around the same answers (fact sheet 1.1, 1.2)."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.simulator import shapes
from gateway.simulator.asks import asked, last_text
from gateway.simulator.errors import invalid
from gateway.simulator.message import Message
from gateway.simulator.messages import generate
from gateway.simulator.shapes import fit
from gateway.simulator.world import Answer, Call, Event, Object, Reply, Stream, event, fresh_id

DONE = b"data: [DONE]\n\n"
FINISH = {"max_tokens": "length", "tool_use": "tool_calls", "refusal": "content_filter"}


def complete(call: Call) -> Answer:
    """The legacy endpoint; its answers carry no usage."""
    body = call.json()
    fit(body, shapes.Complete)
    request = {
        "model": body["model"],
        "max_tokens": body["max_tokens_to_sample"],
        "messages": [{"role": "user", "content": body["prompt"]}],
        "stop_sequences": body.get("stop_sequences") or [],
    }
    message = generate(call, request)
    name = fresh_id("compl")
    reason = "max_tokens" if message.stop_reason == "max_tokens" else "stop_sequence"
    shape: Object = {"type": "completion", "id": name, "model": message.model, "stop": message.stop_sequence}
    if not body.get("stream"):
        return plain({**shape, "completion": text_of(message), "stop_reason": reason})
    events: list[Event] = []
    sent = 0
    for delta, tokens in deltas(message, "text_delta"):
        sent += tokens
        events.append(event("completion", {**shape, "completion": delta["text"], "stop_reason": None}, sent))
    events.append(event("completion", {**shape, "completion": "", "stop_reason": reason}, sent))
    return Stream(events)


def chat(call: Call) -> Answer:
    """OpenAI's shape: system messages are hoisted to the front, most foreign fields are ignored."""
    body = call.json()
    fit(body, shapes.Chat)
    if body.get("n", 1) != 1:
        raise invalid("n: only 1 is supported")
    request = native(body)
    asks = asked(call.request.headers, last_text(request))
    message = generate(call, request)
    head: Object = {
        "id": f"chatcmpl-{message.id}",
        "created": int(call.now),
        "model": message.model,
    }
    usage = message.usage
    prompt = usage["input_tokens"] + usage["cache_creation_input_tokens"] + usage["cache_read_input_tokens"]
    counted = {
        "prompt_tokens": prompt,
        "completion_tokens": usage["output_tokens"],
        "total_tokens": prompt + usage["output_tokens"],
    }
    finish = FINISH.get(message.stop_reason, "stop")
    if not body.get("stream"):
        spoken: Object = {"role": "assistant", "content": text_of(message) or None}
        calls = tool_calls(message)
        if calls:
            spoken["tool_calls"] = calls
        choice = {"index": 0, "message": spoken, "finish_reason": finish, "logprobs": None}
        return plain({**head, "object": "chat.completion", "choices": [choice], "usage": counted})
    wanted = bool((body.get("stream_options") or {}).get("include_usage")) and "no_usage" not in asks
    return Stream(chunks(message, head, finish, counted if wanted else None))


def chunks(message: Message, head: Object, finish: str, usage: Object | None) -> list[Event]:
    """OpenAI's events: nameless, the usage in one of its own at the end when it was asked for, then [DONE]."""

    def chunk(delta: Object, sent: int, reason: str | None = None) -> Event:
        choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
        data = {**head, "object": "chat.completion.chunk", "choices": [choice]}
        if usage is not None:
            data["usage"] = None
        return Event(b"data: %b\n\n" % msgspec.json.encode(data), sent)

    total = message.usage["output_tokens"]
    events = [chunk({"role": "assistant", "content": ""}, 0)]
    sent = 0
    for delta, tokens in deltas(message, "text_delta"):
        sent += tokens
        events.append(chunk({"content": delta["text"]}, sent))
    for index, one in enumerate(tool_calls(message)):
        events.append(chunk({"tool_calls": [{"index": index, **one}]}, sent))
    events.append(chunk({}, total, finish))
    if usage is not None:
        data = {**head, "object": "chat.completion.chunk", "choices": [], "usage": usage}
        events.append(Event(b"data: %b\n\n" % msgspec.json.encode(data), total))
    events.append(Event(DONE, total))
    return events


def native(body: Object) -> Object:
    """An OpenAI body as a Messages body."""
    systems: list[str] = []
    messages: list[Object] = []
    for one in body["messages"]:
        role, content = one["role"], one.get("content") or ""
        text = content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
        if role in ("system", "developer"):
            systems.append(text)
        elif role == "tool":
            result = {"type": "tool_result", "tool_use_id": one.get("tool_call_id", ""), "content": text}
            messages.append({"role": "user", "content": [result]})
        elif one.get("tool_calls"):
            calls = [(call["id"], call["function"]) for call in one["tool_calls"]]
            uses = [
                {"type": "tool_use", "id": name, "name": f["name"], "input": read(f["arguments"])} for name, f in calls
            ]
            messages.append({"role": role, "content": uses})
        else:
            messages.append({"role": role, "content": text})
    request: Object = {
        "model": body.get("model"),
        "max_tokens": body.get("max_completion_tokens") or body.get("max_tokens") or 4096,
        "messages": messages,
    }
    if systems:
        request["system"] = "\n".join(systems)
    if body.get("thinking"):
        request["thinking"] = body["thinking"]
    stop = body.get("stop")
    if stop:
        request["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    tools = [tool["function"] for tool in body.get("tools") or []]
    if tools:
        request["tools"] = [tool_of(function) for function in tools]
        request["tool_choice"] = choice_of(body.get("tool_choice"))
    return request


def tool_use(call: Object) -> Object:
    function = call["function"]
    return {"type": "tool_use", "id": call["id"], "name": function["name"], "input": read(function["arguments"])}


def tool_of(function: Object) -> Object:
    return {
        "name": function.get("name"),
        "description": function.get("description") or "",
        "input_schema": function.get("parameters") or {"type": "object"},
    }


def choice_of(choice: Any) -> Object:
    if isinstance(choice, dict):
        return {"type": "tool", "name": choice["function"]["name"]}
    return {"type": {"required": "any", "none": "none"}.get(choice, "auto")}


def read(arguments: str) -> Any:
    try:
        return msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return {}


def text_of(message: Message) -> str:
    return "".join(block.final["text"] for block in message.blocks if block.final["type"] == "text")


def tool_calls(message: Message) -> list[Object]:
    return [
        {
            "id": block.final["id"],
            "type": "function",
            "function": {
                "name": block.final["name"],
                "arguments": msgspec.json.encode(block.final["input"]).decode(),
            },
        }
        for block in message.blocks
        if block.final["type"] == "tool_use"
    ]


def deltas(message: Message, kind: str) -> list[tuple[Object, int]]:
    return [pair for block in message.blocks for pair in block.deltas if pair[0]["type"] == kind]


def plain(value: Object) -> Reply:
    return Reply(msgspec.json.encode(value), paced=True)
