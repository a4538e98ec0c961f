"""`GET /v1/models` comes from here: the team's models only, quickly, whatever the upstream does."""

import time

import msgspec
import pytest

from tests.proxy.conftest import Start
from tests.wire.scripted import Scripted, Step, read_request, send, serve, stall

IDS = ["claude-opus-5", "claude-opus-4-8", "claude-sonnet-5", "claude-haiku-4-5-20251001"]


def listed(ids: list[str] = IDS, *, more: bool = False) -> bytes:
    models = [{"type": "model", "id": id, "display_name": id.upper(), "unknown": [1]} for id in ids]
    body = msgspec.json.encode({"data": models, "has_more": more, "first_id": ids[0], "last_id": ids[-1]})
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body


async def test_only_the_teams_models(start: Start) -> None:
    """The list holds what the team may use, in Claude's order, with all of Claude's fields."""
    async with Scripted([serve(listed())]) as upstream:
        gateway = await start(upstream.url, models=("claude-opus-*",))
        got = await gateway.ask("GET", "/v1/models")

    assert got.json == {
        "data": [
            {"type": "model", "id": id, "display_name": id.upper(), "unknown": [1]}
            for id in ["claude-opus-5", "claude-opus-4-8"]
        ],
        "has_more": False,
        "first_id": "claude-opus-5",
        "last_id": "claude-opus-4-8",
    }


@pytest.mark.parametrize(
    ("query", "ids", "more"),
    [
        ("?limit=2", IDS[:2], True),
        ("?limit=2&after_id=claude-opus-4-8", IDS[2:], False),
        ("?limit=1&after_id=claude-opus-5", IDS[1:2], True),
        ("?limit=2&before_id=claude-sonnet-5", IDS[:2], False),
        ("?limit=1&before_id=claude-sonnet-5", IDS[1:2], True),
        ("?limit=1000", IDS, False),
        ("?after_id=claude-haiku-4-5-20251001", [], False),
    ],
)
async def test_pages(start: Start, query: str, ids: list[str], more: bool) -> None:
    """Pages are cut out of the team's own list, in the API's first pagination scheme."""
    async with Scripted([serve(listed())]) as upstream:
        gateway = await start(upstream.url)
        got = await gateway.ask("GET", "/v1/models" + query)

    assert ([model["id"] for model in got.json["data"]], got.json["has_more"]) == (ids, more)


@pytest.mark.parametrize("query", ["?limit=0", "?limit=1001", "?limit=x", "?limit=-1", "?after_id=claude-unknown"])
async def test_pages_that_do_not_exist(start: Start, query: str) -> None:
    """A limit or a cursor that can't be is a 400."""
    async with Scripted([serve(listed())]) as upstream:
        gateway = await start(upstream.url)
        got = await gateway.ask("GET", "/v1/models" + query)

    assert got.error[:2] == (400, "invalid_request_error")


async def test_several_upstream_pages(start: Start) -> None:
    """A list that Claude splits is read to its end."""
    first, second = listed(IDS[:2], more=True), listed(IDS[2:])
    async with Scripted([read_request(), send(first), read_request(), send(second)]) as upstream:
        gateway = await start(upstream.url)
        got = await gateway.ask("GET", "/v1/models")

    assert [model["id"] for model in got.json["data"]] == IDS
    assert b"after_id=claude-opus-4-8" in upstream.requests[1].line


async def test_second_call_asks_nobody(start: Start) -> None:
    """The list is kept for a few minutes."""
    async with Scripted([read_request(), send(listed()), stall()]) as upstream:
        gateway = await start(upstream.url)
        await gateway.ask("GET", "/v1/models")
        got = await gateway.ask("GET", "/v1/models")

    assert (len(got.json["data"]), len(upstream.requests)) == (4, 1)


@pytest.mark.parametrize("script", [[read_request(), stall()], []], ids=["silent", "gone"])
async def test_upstream_is_slow_or_gone(start: Start, script: list[Step]) -> None:
    """Without an upstream the models that the gateway knows by name stand in, in time for Claude Code."""
    async with Scripted(script) as upstream:
        gateway = await start(upstream.url, models=("claude-haiku-*",))
        began = time.monotonic()
        got = await gateway.ask("GET", "/v1/models?limit=1000")

    assert [model["id"] for model in got.json["data"]] == ["claude-haiku-4-5", "claude-haiku-5-5"]
    assert time.monotonic() - began < 10


async def test_single_model(start: Start) -> None:
    """One model is Claude's own answer; one that the team may not use is not there."""
    body = b'{"type":"model","id":"claude-opus-5"}'
    async with Scripted([serve(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)]) as upstream:
        gateway = await start(upstream.url, models=("claude-opus-*",))
        allowed = await gateway.ask("GET", "/v1/models/claude-opus-5")
        other = await gateway.ask("GET", "/v1/models/claude-haiku-4-5")

    assert allowed.body == body
    assert other.error[:2] == (404, "not_found_error")


async def test_one_callers_headers_do_not_make_anothers_list(start: Start) -> None:
    """The list is shared by the teams of a workspace: of the headers of whoever asks first only the version counts."""
    async with Scripted([serve(listed())]) as upstream:
        gateway = await start(upstream.url)
        odd = [(b"anthropic-beta", b"nonsense"), (b"anthropic-version", b"2023-06-01"), (b"x-team", b"search")]
        await gateway.ask("GET", "/v1/models", odd)

    assert [name.lower() for name, _ in upstream.requests[0].headers] == [
        b"host", b"anthropic-version", b"accept-encoding", b"x-api-key",
    ]  # fmt: skip


@pytest.mark.parametrize("body", [b'{"data": 5}', b'{"data": [5]}', b'{"data": [{}], "has_more": true}', b"[]", b"{"])
async def test_list_that_is_none(start: Start, body: bytes) -> None:
    """A list that can't be read counts as an upstream that is gone."""
    raw = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    async with Scripted([serve(raw)]) as upstream:
        gateway = await start(upstream.url, models=("claude-haiku-*",))
        got = await gateway.ask("GET", "/v1/models?limit=1000")

    assert [model["id"] for model in got.json["data"]] == ["claude-haiku-4-5", "claude-haiku-5-5"]
    assert [line["event"] for line in gateway.lines] == ["request"]


async def test_list_without_an_end(start: Start) -> None:
    """An upstream that always has more is not asked for ever."""
    async with Scripted([serve(listed(more=True))]) as upstream:
        gateway = await start(upstream.url)
        await gateway.ask("GET", "/v1/models")

    assert len(upstream.requests) <= 20
