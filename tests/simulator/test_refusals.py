"""What the API refuses, in its own words and shape."""

import gzip
import io
import zlib
from typing import Any

import aiohttp
import anthropic
import pytest

from tests.simulator.asking import HELLO, MODEL, body, get, post
from tests.simulator.conftest import Start

NEW = {"anthropic_version": "2026-10-21"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": None}, "model: Field required"),
        ({"model": ""}, "model: String should have at least 1 character"),
        ({"max_tokens": None}, "max_tokens: Input should be a valid integer"),
        ({"max_tokens": "ten"}, "max_tokens: Input should be a valid integer"),
        ({"max_tokens": -1}, "max_tokens: Input should be greater than or equal to 0"),
        (
            {"max_tokens": 999_999},
            "max_tokens: 999999 > 128000, which is the maximum allowed number of output tokens for claude-opus-5",
        ),
        ({"messages": []}, "messages: at least one message is required"),
        ({"messages": "Hi"}, "messages: Input should be a valid list"),
        ({"messages": [{"role": "bot", "content": "Hi"}]}, "messages.0.role: Input should be 'user' or 'assistant'"),
        ({"messages": [{"role": "user"}]}, "messages.0.content: Field required"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages.0: user messages must have non-empty content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]},
            "messages: text content blocks must be non-empty",
        ),
        ({"nonsense": 1}, "nonsense: Extra inputs are not permitted"),
        ({"thread": {"type": "create"}}, "thread: Extra inputs are not permitted"),
        ({"temperature": 2}, "temperature: Input should be less than or equal to 1"),
        ({"stream": "yes"}, "stream: Input should be a valid boolean"),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 8}},
            "thinking.enabled.budget_tokens: Input should be greater",
        ),
        ({"tool_choice": {"type": "any"}}, "tool_choice: may only be specified while providing tools"),
        ({"speed": "fast"}, "speed: fast mode is not available for model claude-opus-5"),
    ],
)
async def test_a_faulty_body_is_a_400_with_claudes_words(
    http: aiohttp.ClientSession, change: dict[str, Any], message: str
) -> None:
    """The first fault is named, in the API's error shape, with the header's request id in the body."""
    async with http.post("/v1/messages", json={**body(), **change}) as answer:
        error = await answer.json()

    assert 400 == answer.status
    assert {"type", "error", "request_id"} == error.keys()
    assert ("error", "invalid_request_error") == (error["type"], error["error"]["type"])
    assert error["error"]["message"].startswith(message)
    assert answer.headers["request-id"] == error["request_id"]


@pytest.mark.parametrize("raw", [b"{", b"", b"[1]", b'{"model": "\\ud800"}', b"\xff", b"[" * 100_000])
async def test_what_is_not_json_is_a_400(http: aiohttp.ClientSession, raw: bytes) -> None:
    """Broken, empty, nested beyond reason, not an object: each a clear 400."""
    async with http.post("/v1/messages", data=raw) as answer:
        error = await answer.json()

    assert (400, "invalid_request_error") == (answer.status, error["error"]["type"])
    assert error["error"]["message"].startswith("The request body is not valid JSON: ")


@pytest.mark.parametrize("name", ["claude-none", "claude-opus-4-1", "gpt-5"])
async def test_an_unknown_or_retired_model_is_a_404(http: aiohttp.ClientSession, name: str) -> None:
    """The message is the model's name alone."""
    status, error = await post(http, "/v1/messages", {**body(), "model": name})

    assert (404, {"type": "not_found_error", "message": f"model: {name}"}) == (status, error["error"])


async def test_a_prompt_beyond_the_context_is_a_400(http: aiohttp.ClientSession) -> None:
    """Haiku 4.5 takes 200,000 tokens."""
    status, error = await post(http, "/v1/messages", {**body("1 " * 200_001), "model": "claude-haiku-4-5"})

    assert 400 == status
    assert error["error"]["message"].startswith("prompt is too long: 2000")


@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k"])
async def test_the_new_version_refuses_sampling(http: aiohttp.ClientSession, name: str) -> None:
    """2026-10-21 removed the sampling fields; 2023-06-01 still takes them."""
    asked = {**body(), name: 1}

    assert 200 == (await post(http, "/v1/messages", asked))[0]
    assert 400 == (await post(http, "/v1/messages", asked, **NEW))[0]


@pytest.mark.parametrize(
    "messages",
    [
        [*HELLO, {"role": "assistant", "content": [{"type": "document", "source": {"type": "text", "data": "x"}}]}],
        [{"role": "user", "content": [{"type": "text", "text": "x", "citations": [{"type": "char_location"}]}]}],
    ],
)
async def test_the_new_version_refuses_old_blocks(http: aiohttp.ClientSession, messages: Any) -> None:
    """Documents of assistants and citations of users are gone."""
    assert 200 == (await post(http, "/v1/messages", {**body(), "messages": messages}))[0]
    assert 400 == (await post(http, "/v1/messages", {**body(), "messages": messages}, **NEW))[0]


async def test_versions_and_betas_are_checked(http: aiohttp.ClientSession, start: Start) -> None:
    """A version is required and must exist; a beta value must look like one, or be known when strict."""
    assert "anthropic-version: header is required" in str(
        await post(http, "/v1/messages", body(), anthropic_version="")
    )
    assert 400 == (await post(http, "/v1/messages", body(), anthropic_version="2024-01-01"))[0]
    status, error = await post(http, "/v1/messages", body(), anthropic_beta="prompt-caching-2024-07-31,nonsense")
    assert (400, "Unexpected value(s) `nonsense` for the `anthropic-beta` header.") == (
        status,
        error["error"]["message"],
    )
    assert 200 == (await post(http, "/v1/messages", body(), anthropic_beta="unheard-of-2031-01-01"))[0]
    strict = await start(strict_betas=True)
    headers = {"x-api-key": "k", "anthropic-version": "2023-06-01", "anthropic-beta": "unheard-of-2031-01-01"}
    async with http.post(f"{strict.url}/v1/messages", json=body(), headers=headers) as answer:
        assert 400 == answer.status


async def test_a_credential_is_needed(http: aiohttp.ClientSession) -> None:
    """None is a 401 without organisation headers; a bearer is as good as a key; both ids follow the key."""
    async with http.get("/v1/models", headers={"x-api-key": ""}) as none:
        error = await none.json()
    async with http.get("/v1/models", headers={"x-api-key": "", "authorization": "Bearer ws-ads-1"}) as bearer:
        assert (200, "wrkspc_ads") == (bearer.status, bearer.headers["anthropic-workspace-id"])

    assert (401, "authentication_error") == (none.status, error["error"]["type"])
    assert "anthropic-workspace-id" not in none.headers
    assert error["request_id"] == none.headers["request-id"]


async def test_a_workspace_header_must_match(http: aiohttp.ClientSession) -> None:
    """A credential of one workspace cannot pick another."""
    assert 200 == (await get(http, "/v1/models", anthropic_workspace_id="wrkspc_search"))[0]
    assert 403 == (await get(http, "/v1/models", anthropic_workspace_id="wrkspc_ads"))[0]


async def test_a_revoked_key_is_a_401(http: aiohttp.ClientSession) -> None:
    """Keys can be revoked and are listed by digest only."""
    async with http.put("/_simulator/revoked", json=["ws-search-0001"]) as answer:
        assert 200 == answer.status
    assert 401 == (await get(http, "/v1/models"))[0]
    assert 200 == (await get(http, "/v1/models", x_api_key="ws-search-0002"))[0]
    _, keys = await get(http, "/_simulator/keys")
    assert [("search", 1)] == [(seen["workspace"], seen["requests"]) for seen in keys.values()]
    assert "ws-search" not in str(list(keys))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/messages/", 404),
        ("GET", "/v1/messages", 405),
        ("GET", "/v1/models/claude-none", 404),
        ("GET", "/v1/organizations/me", 403),
        ("GET", "/v1/tunnels", 400),
        ("HEAD", "/", 200),
        ("HEAD", "/api/hello", 200),
        ("GET", "/api/hello", 200),
    ],
)
async def test_paths(http: aiohttp.ClientSession, method: str, path: str, status: int) -> None:
    """Unknown paths, wrong methods, the organization API and the warm-up paths."""
    async with http.request(method, path) as answer:
        assert status == answer.status


async def test_bodies_over_the_limit_are_a_413(http: aiohttp.ClientSession) -> None:
    """A declared length is refused before the body is read, an undeclared one when it is reached."""

    async def chunks() -> Any:
        for _ in range(33):
            yield b" " * 1024 * 1024

    for data in (io.BytesIO(b" " * (32 * 1024 * 1024 + 1)), chunks()):
        try:
            async with http.post("/v1/messages", data=data) as answer:
                assert (413, "request_too_large") == (answer.status, (await answer.json())["error"]["type"])
        except aiohttp.ClientConnectionError:
            pass  # the answer came while the body was still on its way


async def test_request_codings(http: aiohttp.ClientSession) -> None:
    """gzip and deflate are unpacked within the limit; others, broken and bloated ones have their codes."""

    async def send(coding: str, data: bytes) -> tuple[int, Any]:
        async with http.post("/v1/messages", data=data, headers={"content-encoding": coding}) as answer:
            return answer.status, (await answer.json()).get("error", {}).get("details", {}).get("error_code")

    import msgspec

    raw = msgspec.json.encode(body())
    assert (200, None) == await send("gzip", gzip.compress(raw))
    assert (200, None) == await send("deflate", zlib.compress(raw))
    assert (400, "request_body_encoding_unsupported") == await send("zstd", raw)
    assert (400, "request_body_encoding_invalid") == await send("gzip", raw)
    assert (400, "request_body_encoding_invalid") == await send("gzip", gzip.compress(raw)[:-9])
    bomb = gzip.compress(b" " * (33 * 1024 * 1024))
    assert (413, "request_body_too_large_after_decoding") == await send("gzip", bomb)


async def test_counting_takes_fewer_fields(claude: anthropic.AsyncAnthropic) -> None:
    """count_tokens refuses what belongs to generation."""
    with pytest.raises(anthropic.BadRequestError, match="max_tokens: Extra inputs are not permitted"):
        await claude.messages.count_tokens(model=MODEL, messages=HELLO, extra_body={"max_tokens": 5})


async def test_own_rate_limits(start: Start) -> None:
    """The second request of a bucket of one is a 429 with a true retry-after and the headers of the class."""
    simulator = await start(requests_per_minute=1)
    headers = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
    async with aiohttp.ClientSession(simulator.url, headers=headers) as http:
        async with http.post("/v1/messages", json=body()) as first:
            assert ("1", "0") == (
                first.headers["anthropic-ratelimit-requests-limit"],
                first.headers["anthropic-ratelimit-requests-remaining"],
            )
        async with http.post("/v1/messages", json=body()) as second:
            error = await second.json()
        async with http.post("/v1/messages", json={**body(), "model": "claude-haiku-4-5"}) as other:
            assert 200 == other.status

    assert (429, "rate_limit_error") == (second.status, error["error"]["type"])
    assert 58 <= int(second.headers["retry-after"]) <= 60
    assert {
        f"anthropic-ratelimit-{kind}-{what}"
        for kind in ("requests", "tokens", "input-tokens", "output-tokens")
        for what in ("limit", "remaining", "reset")
    } == {name.lower() for name in second.headers if name.lower().startswith("anthropic-ratelimit")}


async def test_token_limits_go_into_debt(start: Start) -> None:
    """Input and output draw on their buckets when they are known; the next request waits for the debt."""
    for kind in ("input_tokens_per_minute", "output_tokens_per_minute"):
        simulator = await start(**{kind: 10})
        headers = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
        async with aiohttp.ClientSession(simulator.url, headers=headers) as http:
            assert 200 == (await post(http, "/v1/messages", body("A long text. " * 20)))[0]
            assert 429 == (await post(http, "/v1/messages", body()))[0]


async def test_limits_can_be_changed_while_it_runs(http: aiohttp.ClientSession) -> None:
    """PUT /_simulator/limits replaces limits and refills their buckets; nonsense is refused."""
    async with http.put("/_simulator/limits", json={"requests": 1, "count": 1}) as answer:
        assert 200 == answer.status
    counted = {"model": MODEL, "messages": HELLO}
    statuses = [(await post(http, path, asked))[0] for path, asked in [("/v1/messages/count_tokens", counted)] * 2]
    statuses += [(await post(http, "/v1/messages", body()))[0] for _ in range(2)]

    assert [200, 429, 200, 429] == statuses
    async with http.put("/_simulator/limits", json={"speed": 1}) as answer:
        assert 400 == answer.status
