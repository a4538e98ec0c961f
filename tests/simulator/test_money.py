"""The bill: hand-computed rows of table 6.2, and what is booked when an answer does not arrive."""

import asyncio
from typing import Any

import aiohttp
import pytest

from gateway.simulator.models import ROWS
from gateway.simulator.prices import STANDARD, cost_e4, rounded
from tests.simulator.asking import MODEL, bill, body, post, stream, until
from tests.simulator.conftest import KEY, Start

ALL_KINDS: Any = {
    "input_tokens": 1_000,
    "cache_creation_input_tokens": 500,
    "cache_creation": {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 300},
    "cache_read_input_tokens": 2_000,
    "output_tokens": 100,
}


# Each sum is input 1,000 + write 5m 200 + write 1h 300 + read 2,000 + output 100, at the row's prices in nano-dollars.
@pytest.mark.parametrize(
    ("model", "nano"),
    [
        ("claude-fable-5-2", 8_000_000 + 2_000_000 + 4_800_000 + 400_000 + 4_000_000),
        ("claude-mythos-5-2", 8_000_000 + 2_000_000 + 4_800_000 + 400_000 + 4_000_000),
        ("claude-fable-5-1", 10_000_000 + 2_500_000 + 6_000_000 + 500_000 + 5_000_000),
        ("claude-mythos-5", 10_000_000 + 2_500_000 + 6_000_000 + 2_000_000 + 5_000_000),
        ("claude-opus-5-5", 4_000_000 + 1_000_000 + 2_400_000 + 400_000 + 2_000_000),
        ("claude-opus-5", 5_000_000 + 1_250_000 + 3_000_000 + 1_000_000 + 2_500_000),
        ("claude-opus-4-5-20251101", 5_000_000 + 1_250_000 + 3_000_000 + 1_000_000 + 2_500_000),
        ("claude-opus-4-1-20250805", 15_000_000 + 3_750_000 + 9_000_000 + 3_000_000 + 7_500_000),
        ("claude-sonnet-5-5", 2_000_000 + 500_000 + 1_200_000 + 200_000 + 1_000_000),
        ("claude-sonnet-5", 2_000_000 + 500_000 + 1_200_000 + 400_000 + 1_000_000),
        ("claude-sonnet-4-6", 3_000_000 + 750_000 + 1_800_000 + 600_000 + 1_500_000),
        ("claude-haiku-5-5", 100_000 + 25_000 + 60_000 + 20_000 + 50_000),
        ("claude-haiku-4-5-20251001", 1_000_000 + 250_000 + 600_000 + 200_000 + 500_000),
        ("claude-3-5-haiku-20241022", 800_000 + 200_000 + 480_000 + 160_000 + 400_000),
    ],
)
def test_each_model_costs_what_its_row_says(model: str, nano: int) -> None:
    """Every kind of token has its own price."""
    assert nano == rounded(cost_e4(model, ALL_KINDS))


def test_every_model_has_a_price() -> None:
    """What the simulator answers with can be billed."""
    assert {model.id for model in ROWS} == STANDARD.keys()


@pytest.mark.parametrize(
    ("more", "nano"),
    [
        ({"service_tier": "batch"}, 6_375_000),
        ({"inference_geo": "us"}, 14_025_000),
        ({"inference_geo": "us", "service_tier": "batch"}, 7_012_500),
        ({"speed": "fast"}, 25_500_000),
        ({"server_tool_use": {"web_search_requests": 3}}, 12_750_000 + 30_000_000),
        ({"server_tool_use": {"web_search_requests": 3}, "service_tier": "batch"}, 6_375_000 + 30_000_000),
        ({"cache_creation": None}, 12_750_000 - 300 * (10_000 - 6_250)),
    ],
)
def test_modifiers_change_the_price(more: Any, nano: int) -> None:
    """Batch halves, US residency adds a tenth, fast doubles, searches cost the same everywhere, no split means 5m."""
    assert nano == rounded(cost_e4("claude-opus-5", {**ALL_KINDS, **more}))


def test_a_long_prompt_reprices_everything() -> None:
    """Haiku 5.5: at 100,000 tokens of prompt the low prices, above it the high ones for output too."""
    at = {
        "input_tokens": 40_000,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 60_000,
        "output_tokens": 10,
    }
    above = {**at, "input_tokens": 40_001}

    assert 40_000 * 100 + 60_000 * 10 + 10 * 500 == rounded(cost_e4("claude-haiku-5-5", at))
    assert 40_001 * 500 + 60_000 * 50 + 10 * 2_500 == rounded(cost_e4("claude-haiku-5-5", above))


def test_half_a_nano_dollar_rounds_up() -> None:
    """The exact sum is kept in ten-thousandths; one rounding per row, half up."""
    exact = cost_e4("claude-haiku-5-5", {"cache_creation_input_tokens": 1, "service_tier": "batch"})

    assert (625_000, 63) == (exact, rounded(exact))


def test_iterations_are_billed_one_by_one() -> None:
    """Each entry at its own model, the top level not at all; an attempt that declined in silence is free."""
    usage = {
        "input_tokens": 9,
        "output_tokens": 9,
        "iterations": [
            {"type": "message", "model": "claude-opus-5", "input_tokens": 100, "output_tokens": 0},
            {"type": "fallback_message", "model": "claude-sonnet-5", "input_tokens": 100, "output_tokens": 5},
            {"type": "fallback_message", "model": "claude-haiku-4-5-20251001", "input_tokens": 90, "output_tokens": 20},
        ],
    }

    assert 100 * 2_000 + 5 * 10_000 + 90 * 1_000 + 20 * 5_000 == rounded(cost_e4("claude-opus-5", usage))


async def test_a_request_has_one_row(http: aiohttp.ClientSession) -> None:
    """The row names request, workspace, route, model, usage and cost; totals add up."""
    async with http.post("/v1/messages", json=body(), headers={"x-simulator-answer": "output=10"}) as answer:
        await answer.read()
        name = answer.headers["request-id"]
    book = await bill(http)

    (row,) = book["rows"]
    tokens = row["usage"]["input_tokens"]
    nano = tokens * 5_000 + 10 * 25_000
    assert {
        "n": 1,
        "request_id": name,
        "workspace": "search",
        "route": "POST /v1/messages",
        "model": MODEL,
        "status": 200,
        "ended": "ok",
        "faults": [],
        "session": "",
        "nano_usd": nano,
        "exact_e4": nano * 10_000,
    } == {key: value for key, value in row.items() if key not in ("at", "key", "usage")}
    assert (nano, 1, {"search": nano}) == (book["totals"]["nano_usd"], book["totals"]["rows"], book["workspaces"])
    assert (tokens, 10) == (book["totals"]["input_tokens"], book["totals"]["output_tokens"])


async def test_the_bill_can_be_read_in_steps_and_cleared(http: aiohttp.ClientSession) -> None:
    """`since` gives the rows after a row; DELETE begins a new book."""
    for text in ("One.", "Two.", "Three."):
        await post(http, "/v1/messages", body(text))
    first = await bill(http)
    async with http.get("/_simulator/bill?since=2") as answer:
        rest = await answer.json()
    async with http.delete("/_simulator/bill") as answer:
        assert 200 == answer.status
    empty = await bill(http)

    assert ([1, 2, 3], 3) == ([row["n"] for row in first["rows"]], first["last"])
    assert [3] == [row["n"] for row in rest["rows"]]
    assert ([], 0, 0) == (empty["rows"], empty["last"], empty["totals"]["nano_usd"])


async def test_a_silent_refusal_is_free_and_a_late_one_is_not(http: aiohttp.ClientSession) -> None:
    """Refused before any output: usage without cost. Refused later: billed."""
    await post(http, "/v1/messages", body(), x_simulator_answer="refusal")
    await post(http, "/v1/messages", body(), x_simulator_answer="late_refusal,output=4")
    silent, late = (await bill(http))["rows"]

    assert (True, 0) == (silent["usage"]["input_tokens"] > 0, silent["nano_usd"])
    assert late["usage"]["input_tokens"] * 5_000 + 4 * 25_000 == late["nano_usd"]


@pytest.mark.parametrize(("mode", "billed"), [("sent", 8), ("full", 200)])
async def test_a_cut_stream_is_billed_by_the_switch(start: Start, mode: str, billed: int) -> None:
    """`sent`: input and the output whose events were out; `full`: the whole generation."""
    simulator = await start(abort_billing=mode)
    async with aiohttp.ClientSession(simulator.url, headers=KEY) as http:
        with pytest.raises(aiohttp.ClientPayloadError):
            await stream(http, body(), x_simulator_answer="output=200", x_simulator_fault="cut=4")
        (row,) = (await bill(http))["rows"]

    assert ("cut", billed) == (row["ended"], row["usage"]["output_tokens"])
    assert row["usage"]["input_tokens"] * 5_000 + billed * 25_000 == row["nano_usd"]


async def row_of(http: aiohttp.ClientSession) -> Any:
    """The first row, once it is there."""
    book = await until(lambda: bill(http), lambda seen: bool(seen["rows"]))
    return book["rows"][0]


@pytest.mark.parametrize(("mode", "least", "most"), [("sent", 1, 399), ("full", 400, 400)])
async def test_a_client_that_leaves_a_stream_is_billed(start: Start, mode: str, least: int, most: int) -> None:
    """The handler ends at once when the client goes, and its row says so."""
    simulator = await start(abort_billing=mode, tokens_per_second=400)
    async with aiohttp.ClientSession(simulator.url, headers=KEY) as http:
        async with http.post(
            "/v1/messages", json=body(stream=True), headers={"x-simulator-answer": "output=400"}
        ) as answer:
            while b"text_delta" not in await answer.content.readany():
                pass
            answer.close()
        row = await row_of(http)

    assert "client_gone" == row["ended"]
    assert least <= row["usage"]["output_tokens"] <= most


async def test_a_client_that_leaves_before_the_answer_pays_for_the_prompt(start: Start) -> None:
    """A plain call that is cancelled during its latency has generated nothing."""
    simulator = await start(latency=30.0)
    async with aiohttp.ClientSession(simulator.url, headers=KEY) as http:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await post(http, "/v1/messages", body())
        row = await row_of(http)

    assert ("client_gone", 0) == (row["ended"], row["usage"]["output_tokens"])
    assert row["usage"]["input_tokens"] * 5_000 == row["nano_usd"]


async def test_a_plain_call_cancelled_half_way_pays_for_what_was_generated(start: Start) -> None:
    """Generation has a speed; what it had reached when the client left is due."""
    simulator = await start(tokens_per_second=400)
    async with aiohttp.ClientSession(simulator.url, headers=KEY) as http:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await post(http, "/v1/messages", body(), x_simulator_answer="output=400")
        row = await row_of(http)

    assert 0 < row["usage"]["output_tokens"] < 400


async def test_a_stream_whose_final_usage_is_out_is_billed_in_full(http: aiohttp.ClientSession) -> None:
    """Cut after message_delta: the client can know the truth, so all of it is due."""
    asked = body()
    whole = await stream(http, asked)
    with pytest.raises(aiohttp.ClientPayloadError):
        await stream(http, asked, x_simulator_fault=f"cut={len(whole) - 1}")
    first, second = (await bill(http))["rows"]

    assert ("cut", first["nano_usd"]) == (second["ended"], second["nano_usd"])


async def test_errors_have_rows_that_cost_nothing(http: aiohttp.ClientSession) -> None:
    """Every attempt can be found in the book, the free ones too."""
    await post(http, "/v1/messages", body(), x_simulator_fault="overloaded")
    await post(http, "/v1/messages", {**body(), "model": "claude-none"})
    rows = (await bill(http))["rows"]

    assert [(529, "refused", 0), (404, "refused", 0)] == [(r["status"], r["ended"], r["nano_usd"]) for r in rows]


async def test_a_full_book_says_what_it_dropped(start: Start) -> None:
    """Rows beyond the cap leave, totals stay, and the answer says how many are gone."""
    simulator = await start(bill_rows=2)
    async with aiohttp.ClientSession(simulator.url, headers=KEY) as http:
        for _ in range(5):
            await post(http, "/v1/messages", body())
        book = await bill(http)

    assert ([4, 5], 3, 5) == ([row["n"] for row in book["rows"]], book["dropped"], book["totals"]["rows"])
