"""OpenAI's shape, the legacy endpoint, the token exchange, the process, and what the package may import."""

import ast
import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import openai
import pytest

import gateway.simulator
from gateway.simulator import Running
from gateway.simulator.oauth import GRANT
from tests.simulator.asking import HELLO, MODEL, bill, body, events, get, post
from tests.simulator.conftest import KEY

ASKED: Any = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hello there."}]
FUNCTION: Any = {
    "type": "function",
    "function": {"name": "get_time", "parameters": {"type": "object", "properties": {"zone": {"type": "string"}}}},
}


async def test_the_openai_sdk_gets_its_shape(simulator: Running, http: aiohttp.ClientSession) -> None:
    """Plain, streamed with usage, with tools, and its typed errors; each is billed."""
    async with openai.AsyncOpenAI(base_url=f"{simulator.url}/v1", api_key="ws-search-1", max_retries=0) as client:
        plain = await client.chat.completions.create(model=MODEL, messages=ASKED, max_tokens=50)
        called = await client.chat.completions.create(
            model=MODEL, messages=ASKED, tools=[FUNCTION], tool_choice="required"
        )
        streamed = await client.chat.completions.create(
            model=MODEL, messages=ASKED, max_tokens=50, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in streamed]
        with pytest.raises(openai.NotFoundError, match="model: gpt-5"):
            await client.chat.completions.create(model="gpt-5", messages=ASKED)
    rows = (await bill(http))["rows"]

    assert plain.choices[0].message.content
    assert plain.choices[0].message.content == "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert plain.usage is not None
    assert chunks[-1].usage is not None
    assert (plain.usage.prompt_tokens, plain.usage.completion_tokens) == (
        chunks[-1].usage.prompt_tokens,
        chunks[-1].usage.completion_tokens,
    )
    (call,) = called.choices[0].message.tool_calls or []
    assert ("get_time", "tool_calls") == (getattr(call, "function").name, called.choices[0].finish_reason)  # noqa: B009
    assert [True, True, True, False] == [row["nano_usd"] > 0 for row in rows]


async def test_without_include_usage_a_chat_stream_has_none(http: aiohttp.ClientSession) -> None:
    """The usage chunk comes on request only; the stream ends with [DONE]."""
    asked = {"model": MODEL, "messages": ASKED, "stream": True}
    async with http.post("/v1/chat/completions", json=asked) as answer:
        raw = await answer.read()

    assert (b'"usage"' in raw, b"data: [DONE]\n\n" == raw[-14:]) == (False, True)


async def test_the_legacy_endpoint_answers_without_usage(http: aiohttp.ClientSession) -> None:
    """A completion, plain and as events, whose cost only the bill knows."""
    asked = {"model": MODEL, "prompt": "\n\nHuman: Hello\n\nAssistant:", "max_tokens_to_sample": 200}
    _, plain = await post(http, "/v1/complete", asked)
    async with http.post("/v1/complete", json={**asked, "stream": True}) as answer:
        seen = events(await answer.read())
    rows = (await bill(http))["rows"]

    assert ("completion", "stop_sequence", False) == (plain["type"], plain["stop_reason"], "usage" in plain)
    assert plain["completion"] == "".join(data["completion"] for _, data in seen)
    assert {"completion"} == {name for name, _ in seen}
    assert rows[0]["nano_usd"] == rows[1]["nano_usd"] > 0
    assert 400 == (await post(http, "/v1/complete", {"model": MODEL}))[0]


def exchange(**change: Any) -> dict[str, Any]:
    return {
        "grant_type": GRANT,
        "assertion": "aaa.bbb.ccc",
        "federation_rule_id": "fdrl_1",
        "organization_id": "4f0c9f6e-51a1-4c0e-9d1e-000000000001",
        "workspace_id": "wrkspc_ads",
        **change,
    }


async def test_a_token_is_minted_for_a_workspace(http: aiohttp.ClientSession, simulator: Running) -> None:
    """The exchange needs no credential; the token works in its workspace until it lapses."""
    status, token = await post(http, "/v1/oauth/token", exchange(), x_api_key="", anthropic_version="")
    bearer = {"x_api_key": "", "authorization": f"Bearer {token['access_token']}"}
    async with http.get("/v1/models", headers={"x-api-key": "", "authorization": bearer["authorization"]}) as answer:
        assert (200, "wrkspc_ads") == (answer.status, answer.headers["anthropic-workspace-id"])
    simulator.world.tokens[token["access_token"]] = ("ads", 0.0)

    assert (200, "Bearer", 3600) == (status, token["token_type"], token["expires_in"])
    assert token["access_token"].startswith("sk-ant-oat01-")
    assert 401 == (await get(http, "/v1/models", **bearer))[0]
    assert 401 == (await get(http, "/v1/models", x_api_key="sk-ant-oat01-unknown"))[0]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"assertion": "denied.bbb.ccc"}, 401),
        ({"assertion": "not a jwt"}, 401),
        ({"assertion": "a" * 17_000}, 400),
        ({"assertion": None}, 400),
        ({"grant_type": "password"}, 400),
        ({"federation_rule_id": "rule"}, 400),
    ],
)
async def test_denials_are_opaque(http: aiohttp.ClientSession, change: Any, status: int) -> None:
    """Malformed input is a 400 that says what; every denial is the same 401."""
    got, error = await post(http, "/v1/oauth/token", exchange(**change))

    assert status == got
    if status == 401:
        assert {"type": "authentication_error", "message": "Authentication failed"} == error["error"]


async def test_the_sdk_federates(simulator: Running, tmp_path: Path) -> None:
    """The official SDK exchanges an identity token here and calls with what it got."""
    from anthropic import WorkloadIdentityCredentials

    credentials = WorkloadIdentityCredentials(
        identity_token_provider=lambda: "aaa.bbb.ccc",
        federation_rule_id="fdrl_1",
        organization_id="4f0c9f6e-51a1-4c0e-9d1e-000000000001",
        service_account_id="svac_1",
    )
    async with anthropic.AsyncAnthropic(base_url=simulator.url, credentials=credentials) as claude:
        message = await claude.messages.create(model=MODEL, max_tokens=10, messages=HELLO)

    assert "message" == message.type


async def spawn(*args: str, **more: Any) -> tuple[asyncio.subprocess.Process, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway.simulator", "--port", "0", *args, stdout=asyncio.subprocess.PIPE, **more
    )
    assert process.stdout is not None
    return process, (await process.stdout.readline()).decode().strip()


async def test_the_process_prints_its_url_and_stops_on_sigterm() -> None:
    """One line with the URL; faults of the command line strike; SIGTERM ends it with 0."""
    process, url = await spawn("--fault", "overloaded=1:4")
    async with aiohttp.ClientSession(url, headers=KEY) as http, http.post("/v1/messages", json=body()) as answer:
        assert (529, "4") == (answer.status, answer.headers["retry-after"])
    process.send_signal(signal.SIGTERM)

    assert 0 == await asyncio.wait_for(process.wait(), 20)


async def test_the_process_ends_with_its_parent() -> None:
    """With --with-parent the end of standard input ends it, however the parent died."""
    process, url = await spawn("--with-parent", stdin=asyncio.subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.close()

    assert url.startswith("http://127.0.0.1:")
    assert 0 == await asyncio.wait_for(process.wait(), 20)


async def test_a_wrong_option_is_a_clear_message() -> None:
    """An unknown fault is named with the known ones, without a traceback."""
    process, _ = await spawn("--fault", "overload=1", stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()

    assert (1, b"x-simulator-fault: 'overload' is no fault;") == (process.returncode, said[:42])


def test_it_imports_nothing_else_of_the_gateway() -> None:
    """Agreement with the simulator proves something only while it shares no code with what it tests."""
    root = Path(gateway.simulator.__file__).parent
    foreign = set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert 0 == node.level
                names = [node.module or ""] + [f"{node.module}.{alias.name}" for alias in node.names]
            foreign |= {
                name for name in names if name.split(".")[0] == "gateway" and not name.startswith("gateway.sim")
            }

    assert set() == foreign


async def test_the_gateway_command_starts_it() -> None:
    """`gateway simulate` hands its arguments on."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "simulate", "--port", "0", "--with-parent", "--seed", "3"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    url = await process.stdout.readline()
    process.stdin.close()

    assert url.startswith(b"http://127.0.0.1:")
    assert 0 == await asyncio.wait_for(process.wait(), 20)
