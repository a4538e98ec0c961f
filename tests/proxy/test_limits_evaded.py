"""Ways around limits and budgets that a team may try, by what it writes into a body, and what becomes of them."""

from typing import Any

import msgspec
import pytest

from gateway.core.limits import Budget
from tests.proxy.conftest import ASK, Start
from tests.proxy.test_fidelity import PLAIN, answer
from tests.wire.scripted import Scripted, serve

TEAM = "team:search"
OPUS = "claude-opus-5"
DOLLAR = 10**9
HALF_SPENT = b'{"id":"m","model":"claude-opus-5","usage":{"input_tokens":100000,"output_tokens":0}}'


def body(text: str = "Hi", **more: Any) -> bytes:
    message = {"role": "user", "content": text}
    return msgspec.json.encode({"model": OPUS, "max_tokens": 16, "messages": [message], **more})


def marked(ttl: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": "some words " * 30_000, "cache_control": {"type": "ephemeral", "ttl": ttl}}]


ADVISER = {"type": "advisor_20260301", "name": "advisor", "model": OPUS, "max_uses": 20, "max_tokens": 4000}


@pytest.mark.parametrize(
    ("path", "cheap", "dear"),
    [
        ("messages", body(), body(fallbacks=[{"model": OPUS, "max_tokens": 64_000}])),
        (
            "messages",
            body(max_tokens=24_000),
            body(max_tokens=24_000, fallbacks=[{"model": OPUS, "speed": "fast"}]),
        ),
        ("messages", body(system="some words " * 30_000), body(system=marked("1h"))),
        ("messages", body(), body(tools=[ADVISER])),
        ("chat/completions", body(), body(max_completion_tokens=16, max_tokens=64_000)),
    ],
    ids=["bound-of-a-fallback", "speed-of-a-fallback", "cache-writes", "adviser", "two-bounds"],
)
async def test_maximum_holds_whatever_may_be_billed(start: Start, path: str, cheap: bytes, dear: bytes) -> None:
    """A budget with `hold: maximum` can't be overrun by a bound, a price or a model beside the usual ones."""
    budget = Budget(TEAM, DOLLAR * 3 // 4, "month", hold="maximum")
    async with Scripted([serve(answer(PLAIN))]) as upstream:
        gateway = await start(upstream.url, budgets=(budget,))
        passed = await gateway.ask("POST", f"/v1/{path}", body=cheap)
        refused = await gateway.ask("POST", f"/v1/{path}", body=dear)

    assert (passed.status, refused.error[:2]) == (200, (429, "billing_error"))
    assert len(upstream.requests) == 1


async def test_request_dearer_than_the_whole_budget(start: Start) -> None:
    """What not even an untouched budget could pay is told so, without a time at which to come again."""
    async with Scripted([serve(answer())]) as upstream:
        gateway = await start(upstream.url, budgets=(Budget(TEAM, DOLLAR // 10, "day", hold="maximum"),))
        got = await gateway.ask("POST", "/v1/messages", body=body(max_tokens=20_000))

    assert got.error[2].startswith("spend limit reached (daily; resets 20")
    assert ". The request may cost $0.50" in got.error[2]
    assert got.error[2].endswith(", more than the whole daily budget of $0.10. Send less.")
    assert not [name for name, _ in got.headers if name == b"retry-after"]
    assert got.value(b"x-should-retry") == b"false"


async def test_request_dearer_than_the_rest_of_the_budget(start: Start) -> None:
    """A team that asks for more than is left learns what is left, and a smaller request passes."""
    async with Scripted([serve(answer(HALF_SPENT)), serve(answer(PLAIN))]) as upstream:
        gateway = await start(upstream.url, budgets=(Budget(TEAM, DOLLAR, "month", hold="maximum"),))
        await gateway.ask("POST", "/v1/messages", body=ASK)
        large = await gateway.ask("POST", "/v1/messages", body=body(max_tokens=24_000))
        small = await gateway.ask("POST", "/v1/messages", body=ASK)

    assert large.error[2].endswith(" and $0.50 is left. Send less, or wait.")
    assert int(large.value(b"retry-after")) >= 1
    assert small.status == 200


@pytest.mark.parametrize(("models", "status"), [(("claude-haiku-*", OPUS), 403), (("claude-*",), 200)])
async def test_fallbacks_of_claudes_own_choice(start: Start, models: tuple[str, ...], status: int) -> None:
    """A team held to some models can't let Claude choose another one for it."""
    async with Scripted([serve(answer(PLAIN))]) as upstream:
        gateway = await start(upstream.url, models=models)
        got = await gateway.ask("POST", "/v1/messages", body=body(fallbacks="default"))

    assert got.status == status
    assert len(upstream.requests) == (status == 200)
