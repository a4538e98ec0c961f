"""No body, however strange, makes the simulator fail: it answers, or refuses as the API does."""

import copy
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.simulator.asking import HELLO, MODEL

SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text(max_size=5)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
TOOLS: Any = [
    {"name": "f", "description": "F.", "input_schema": {"type": "object", "properties": {"a": {"type": "string"}}}},
    {"type": "web_search_20250305", "name": "web_search"},
    {"type": "code_execution_20250825", "name": "code_execution"},
]
BLOCKS: Any = [
    {
        "type": "text",
        "text": "Hello [[simulate search file citations]]",
        "cache_control": {"type": "ephemeral", "ttl": "1h"},
    },
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="}},
    {"type": "document", "source": {"type": "text", "data": "x"}, "title": "T", "citations": {"enabled": True}},
    {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "x"}]}},
    {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "Rain."}]},
]
MESSAGE: Any = {
    "model": MODEL,
    "max_tokens": 50,
    "system": [{"type": "text", "text": "Be brief."}],
    "messages": [
        *HELLO,
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}]},
        {"role": "user", "content": BLOCKS},
    ],
    "tools": TOOLS,
    "tool_choice": {"type": "auto"},
    "thinking": {"type": "adaptive"},
    "stop_sequences": ["HALT"],
    "metadata": {"user_id": "u"},
    "output_config": {"format": {"type": "json_schema", "schema": {"type": "array", "items": {"type": "null"}}}},
    "container": {"skills": [{"type": "anthropic", "skill_id": "pptx"}]},
    "thread": {"type": "create"},
    "fallbacks": [{"model": "claude-sonnet-5"}],
    "cache_control": {"type": "ephemeral"},
    "service_tier": "auto",
    "inference_geo": "us",
    "stream": False,
}
BETAS = "message-threads-2026-08-12,server-side-fallback-2026-07-01,managed-agents-2026-04-01"
CHAT: Any = {
    "model": MODEL,
    "messages": [
        {"role": "system", "content": "S"},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "x"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "stop": ["x"],
    "stream": True,
    "stream_options": {"include_usage": True},
    "max_tokens": 5,
    "n": 1,
}
BATCH: Any = {"requests": [{"custom_id": "a", "params": {"model": MODEL, "max_tokens": 5, "messages": HELLO}}]}
AGENT: Any = {"name": "a", "model": {"id": "claude-sonnet-5"}, "tools": [], "metadata": {}}
SESSION: Any = {
    "agent": {"id": "agent_none"},
    "environment_id": "env_none",
    "resources": [{"type": "file", "file_id": "f"}],
}
COMPLETE: Any = {"model": MODEL, "prompt": "Hi", "max_tokens_to_sample": 5, "stop_sequences": ["x"], "stream": True}
OAUTH: Any = {
    "grant_type": "x",
    "assertion": "a.b.c",
    "federation_rule_id": "fdrl_1",
    "organization_id": "o",
    "workspace_id": "w",
}
SEEDS = [
    ("/v1/messages", MESSAGE),
    ("/v1/messages/count_tokens", {k: MESSAGE[k] for k in ("model", "messages", "system", "tools", "tool_choice")}),
    ("/v1/chat/completions", CHAT),
    ("/v1/messages/batches", BATCH),
    ("/v1/agents", AGENT),
    ("/v1/sessions", SESSION),
    ("/v1/complete", COMPLETE),
    ("/v1/oauth/token", OAUTH),
]


def paths(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a value."""
    found = [prefix]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += paths(inner, (*prefix, key))
    return found


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    changed = copy.deepcopy(value)
    at = changed
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = new
    return changed


@pytest.mark.parametrize(("path", "seed"), SEEDS, ids=[path for path, _ in SEEDS])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_a_mutated_body_never_fails_the_server(
    http: aiohttp.ClientSession, path: str, seed: Any, data: Any
) -> None:
    """A valid body with any one part replaced by anything is answered or refused, never a 500."""
    body = replaced(seed, data.draw(st.sampled_from(paths(seed))), data.draw(VALUES))
    async with http.post(path, json=body, headers={"anthropic-beta": BETAS}) as answer:
        raw = await answer.read()

    assert answer.status in (200, 400, 401, 404), (body, raw)
