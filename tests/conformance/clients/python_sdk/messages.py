"""Messages of every kind, counting, and the models."""

from typing import Any

from tests.conformance.clients.python_sdk.seen import HELLO, MODEL, WEATHER, outcome_of, probe, seen


@probe
def messages(client: Any) -> Any:
    answer = client.messages.with_raw_response.create(
        model=MODEL,
        max_tokens=200,
        messages=HELLO,
        system=[{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}],
        stop_sequences=["STOP"],
        metadata={"user_id": "u-1"},
        extra_headers={"x-unknown": "passes", "anthropic-beta": "context-management-2025-06-27"},
    )
    return {"status": answer.status_code, "type": answer.headers["content-type"], "message": seen(answer.parse())}


@probe
def stream(client: Any) -> Any:
    with client.messages.stream(model=MODEL, max_tokens=400, messages=HELLO) as answer:
        events = [event.type for event in answer]
        return {"events": events, "message": seen(answer.get_final_message()), "request_id": answer.request_id}


@probe
def events(client: Any) -> Any:
    """Each event as it is on the wire, without the helper's own."""
    return [seen(event) for event in client.messages.create(model=MODEL, max_tokens=60, messages=HELLO, stream=True)]


@probe
def thinking(client: Any) -> Any:
    asked = {"model": MODEL, "max_tokens": 3000, "messages": HELLO, "thinking": {"type": "adaptive"}}
    with client.messages.stream(**asked) as answer:
        streamed = seen(answer.get_final_message())
    return {"streamed": streamed, "plain": seen(client.messages.create(**asked))}


@probe
def tools(client: Any) -> Any:
    """A whole turn with a tool: called, answered, concluded; the same call once more as a stream."""
    asked: dict[str, Any] = {"model": MODEL, "max_tokens": 400, "tools": [WEATHER], "tool_choice": {"type": "any"}}
    question = {"role": "user", "content": "What is the weather in Kyōto?"}
    called = client.messages.create(**asked, messages=[question])
    call = next(block for block in called.content if block.type == "tool_use")
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "21 °C, clear"}]}
    conversation = [question, {"role": "assistant", "content": called.content}, {"role": "user", "content": [result]}]
    concluded = client.messages.create(**asked | {"tool_choice": {"type": "none"}}, messages=conversation)
    with client.messages.stream(**asked, messages=[question]) as answer:
        streamed = answer.get_final_message()
    return {"called": seen(called), "concluded": seen(concluded), "streamed": seen(streamed)}


@probe
def kinds(client: Any, answers: list[str]) -> Any:
    """Answers of every kind (refusals, searches, citations, pauses ...), plain and streamed."""
    document = {
        "type": "document",
        "title": "A",
        "source": {"type": "text", "media_type": "text/plain", "data": "Grass is green."},
    }
    found = {}
    for answer in answers:
        asked = {
            "model": MODEL,
            "max_tokens": 600,
            "messages": [{"role": "user", "content": [document, {"type": "text", "text": f"[[simulate {answer}]]"}]}],
            "tools": [{"type": "web_search_20250305", "name": "web_search"}],
            "stop_sequences": ["HALT"],
        }
        with client.messages.stream(**asked) as streamed:
            found[answer] = {
                "streamed": seen(streamed.get_final_message()),
                "plain": seen(client.messages.create(**asked)),
            }
    return found


@probe
def huge_event(client: Any) -> Any:
    """One event of five megabytes: a signature."""
    asked = {"model": MODEL, "max_tokens": 3000, "thinking": {"type": "adaptive", "display": "omitted"}}
    text = "Think. [[simulate signature=5000000]]"
    with client.messages.stream(**asked, messages=[{"role": "user", "content": text}]) as answer:
        blocks = answer.get_final_message().content
    return [[block.type, len(block.signature) if block.type == "thinking" else block.text] for block in blocks]


@probe
def prompt_cache(client: Any) -> Any:
    """Written on the first call, read on the second."""
    system = [{"type": "text", "text": "All work and no play. " * 2000, "cache_control": {"type": "ephemeral"}}]
    asked = {"model": MODEL, "max_tokens": 20, "messages": HELLO, "system": system}
    return [seen(client.messages.create(**asked).usage) for _ in range(2)]


@probe
def beta_messages(client: Any) -> Any:
    """The beta namespace; the 0.x releases put `?beta=true` behind the path."""
    asked = {"model": MODEL, "max_tokens": 60, "messages": HELLO, "betas": ["context-management-2025-06-27"]}
    with client.beta.messages.stream(**asked) as answer:
        streamed = seen(answer.get_final_message())
    return {
        "plain": seen(client.beta.messages.create(**asked)),
        "streamed": streamed,
        "counted": seen(client.beta.messages.count_tokens(model=MODEL, messages=HELLO)),
    }


@probe
def count_tokens(client: Any) -> Any:
    return [
        seen(client.messages.count_tokens(model=MODEL, messages=HELLO)),
        seen(client.messages.count_tokens(model=MODEL, messages=HELLO, system="Be brief.", tools=[WEATHER])),
    ]


@probe
def models(client: Any) -> Any:
    return {"all": [seen(model) for model in client.models.list(limit=3)], "one": seen(client.models.retrieve(MODEL))}


@probe
def legacy_complete(client: Any) -> Any:
    asked = {"model": MODEL, "max_tokens_to_sample": 20, "prompt": "\n\nHuman: Hello\n\nAssistant:"}
    return outcome_of(lambda: client.completions.create(**asked))
