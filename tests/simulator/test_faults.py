"""Every fault by its name: what a client sees, per call and globally."""

import asyncio
import gzip
import zlib
from typing import Any

import aiohttp
import anthropic
import pytest

from gateway.simulator import Running, parse_faults
from gateway.simulator.faults import NAMES
from tests.simulator.asking import HELLO, MODEL, bill, body, events, post, stream
from tests.simulator.conftest import KEY, Start

LIMIT = "You have reached your specified API usage limits."


@pytest.mark.parametrize(
    ("fault", "wanted"),
    [
        ("rate_limited", (429, "rate_limit_error", None, "1")),
        ("rate_limited=17", (429, "rate_limit_error", None, "17")),
        ("ramp", (429, "rate_limit_error", "ramp_limit_exceeded", "5")),
        ("spend_cap", (429, "rate_limit_error", "enforced_spend_limit_reached", None)),
        ("contract_cap", (429, "rate_limit_error", "contract_spend_limit_reached", None)),
        ("usage_limit", (400, "invalid_request_error", None, None)),
        ("billing", (402, "billing_error", None, None)),
        ("key_revoked", (401, "authentication_error", None, None)),
        ("key_scope", (403, "permission_error", "api_key_scope_missing", None)),
        ("overloaded", (529, "overloaded_error", None, None)),
        ("overloaded=3", (529, "overloaded_error", None, "3")),
        ("unavailable", (503, "overloaded_error", None, None)),
        ("error", (500, "api_error", None, None)),
        ("timeout", (504, "timeout_error", None, None)),
        ("overloaded_event", (529, "overloaded_error", None, None)),
        ("error_event", (500, "api_error", None, None)),
        ("status=521", (521, "api_error", None, None)),
    ],
)
async def test_a_fault_that_answers(
    http: aiohttp.ClientSession, fault: str, wanted: tuple[int, str, str | None, str | None]
) -> None:
    """Status, type, code and retry-after are the API's, the body has its shape, and nothing is billed."""
    async with http.post("/v1/messages", json=body(), headers={"x-simulator-fault": fault}) as answer:
        error = await answer.json()

    code = error["error"].get("details", {}).get("error_code")
    assert wanted == (answer.status, error["error"]["type"], code, answer.headers.get("retry-after"))
    assert "error" == error["type"]
    assert error["request_id"].startswith("req_")
    assert 0 == (await bill(http))["totals"]["nano_usd"]


async def test_the_usage_limit_texts(http: aiohttp.ClientSession) -> None:
    """The 400 names the organization's limit or the workspace's, as it asks."""
    texts = [
        (await post(http, "/v1/messages", body(), x_simulator_fault=f"usage_limit{arg}"))[1]["error"]["message"]
        for arg in ("", "=organization", "=workspace")
    ]

    assert [LIMIT, LIMIT, "You have reached your specified workspace API usage limits."] == [
        text.split(" You will")[0] for text in texts
    ]


async def test_a_bare_429_has_no_hint(http: aiohttp.ClientSession) -> None:
    """Neither retry-after nor rate limit headers nor a request id."""
    async with http.post("/v1/messages", json=body(), headers={"x-simulator-fault": "rate_limited_bare"}) as answer:
        raw = await answer.read()

    named = [name for name in answer.headers if name.lower().startswith(("anthropic", "retry", "request-id"))]
    assert (429, b'{"message":"Error"}', []) == (answer.status, raw, named)


async def test_an_html_page_and_an_empty_answer(http: aiohttp.ClientSession) -> None:
    """What stands in front of the API can answer for it."""
    async with http.post("/v1/messages", json=body(), headers={"x-simulator-fault": "html_502"}) as page:
        assert (502, "text/html") == (page.status, page.content_type)
        assert (await page.read()).startswith(b"<html>")
    async with http.post("/v1/messages", json=body(), headers={"x-simulator-fault": "empty_200"}) as empty:
        assert (200, b"") == (empty.status, await empty.read())


async def test_an_overloaded_event_is_the_first_and_only_one(http: aiohttp.ClientSession) -> None:
    """A 200 whose stream is an error from its first event."""
    seen = await stream(http, body(), x_simulator_fault="overloaded_event")

    assert [("error", {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})] == seen


async def test_an_error_event_ends_a_stream_cleanly(http: aiohttp.ClientSession) -> None:
    """After N events comes an error event and the end of the body."""
    seen = await stream(http, body(), x_simulator_fault="error_event=2")

    assert ["message_start", "content_block_start", "error"] == [name for name, _ in seen]


async def collect(http: aiohttp.ClientSession, fault: str, got: bytearray, **more: Any) -> None:
    """Read an answer to its end into `got`."""
    async with http.post("/v1/messages", json=body(**more), headers={"x-simulator-fault": fault}) as answer:
        async for piece in answer.content.iter_any():
            got += piece


async def read_all(http: aiohttp.ClientSession, fault: str, **more: Any) -> bytes:
    """What arrives before the body breaks."""
    got = bytearray()
    with pytest.raises(aiohttp.ClientPayloadError):
        await collect(http, fault, got, **more)
    return bytes(got)


async def test_a_cut_after_events(http: aiohttp.ClientSession) -> None:
    """The connection closes at an event border, without the end of the body."""
    seen = events(await read_all(http, "cut=2", stream=True))

    assert ["message_start", "content_block_start"] == [name for name, _ in seen]


async def test_a_cut_after_bytes(http: aiohttp.ClientSession) -> None:
    """Bytes may split an event, and a plain body."""
    assert b"event: message_start\ndata: " == await read_all(http, "cut=27b", stream=True)
    assert b'{"id"' == await read_all(http, "cut=5")


async def test_a_reset_before_the_answer(http: aiohttp.ClientSession) -> None:
    """The connection is reset without an answer byte, and nothing was generated."""
    with pytest.raises(aiohttp.ClientConnectionError):
        await post(http, "/v1/messages", body(), x_simulator_fault="reset")
    (row,) = (await bill(http))["rows"]

    assert ("reset", None, 0) == (row["ended"], row["usage"], row["nano_usd"])


async def test_a_reset_in_mid_stream(http: aiohttp.ClientSession) -> None:
    """A reset after N events is not an end of the body either."""
    await read_all(http, "reset=2", stream=True)
    (row,) = (await bill(http))["rows"]

    assert ("reset", 200) == (row["ended"], row["status"])


async def test_a_stall_stays_open(http: aiohttp.ClientSession) -> None:
    """After N events nothing comes any more, and the connection stays until the client leaves."""
    got = bytearray()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(collect(http, "stall=2", got, stream=True), 0.3)

    assert ["message_start", "content_block_start"] == [name for name, _ in events(bytes(got))]


@pytest.mark.parametrize("fault", ["slow_first_byte=0.2", "slow_drip=0.05"])
async def test_slowness_delays_and_changes_nothing(http: aiohttp.ClientSession, fault: str) -> None:
    """A slow answer is the same answer."""
    began = asyncio.get_running_loop().time()
    slow = await stream(http, body(), x_simulator_fault=fault)
    took = asyncio.get_running_loop().time() - began
    plain = await stream(http, body())

    assert [name for name, _ in plain] == [name for name, _ in slow]
    assert took >= 0.2


async def test_gzip_wraps_answers_streams_and_errors(http: aiohttp.ClientSession) -> None:
    """The answer says gzip, is gzip, and a stream can be read event by event."""
    async with http.post("/v1/messages", json=body(), headers={"x-simulator-fault": "gzip"}) as whole:
        assert "gzip" == whole.headers["content-encoding"]
        assert b'{"id":"msg_' == gzip.decompress(await whole.read())[:11]
    async with http.post("/v1/messages", json=body(), headers={"x-simulator-fault": "gzip,overloaded"}) as error:
        assert (529, b'{"type":"error"') == (error.status, gzip.decompress(await error.read())[:15])
    async with http.post("/v1/messages", json=body(stream=True), headers={"x-simulator-fault": "gzip"}) as streamed:
        packed = await streamed.read()
    first = zlib.decompressobj(31).decompress(packed[:400])
    assert b"event: message_start" == first[:20]
    assert "message_stop" == events(gzip.decompress(packed))[-1][0]


async def test_compression_on_request(start: Start) -> None:
    """With `compress` whoever accepts gzip gets it, and nobody else."""
    simulator = await start(compress=True)
    async with aiohttp.ClientSession(simulator.url, headers=KEY, auto_decompress=False) as http:
        for accepted, coding in (("gzip, br", "gzip"), ("identity", None)):
            async with http.get("/v1/models", headers={"accept-encoding": accepted}) as answer:
                assert coding == answer.headers.get("content-encoding")


async def test_early_hints_come_before_the_answer(simulator: Running) -> None:
    """A 1xx head precedes the real one on the wire."""
    host, port = simulator.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = "".join(f"{name}: {value}\r\n" for name, value in {**KEY, "x-simulator-fault": "early_hints"}.items())
    writer.write(f"GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{head}\r\n".encode())
    raw = await reader.read()
    writer.close()
    await writer.wait_closed()

    assert b"HTTP/1.1 103 Early Hints\r\n" == raw[:26]
    assert b"\r\n\r\nHTTP/1.1 200 OK\r\n" in raw


async def test_an_unknown_fault_is_a_clear_400(http: aiohttp.ClientSession) -> None:
    """A typing error does not silently test nothing."""
    status, error = await post(http, "/v1/messages", body(), x_simulator_fault="overload")

    assert 400 == status
    assert "'overload' is no fault; the faults are billing, " in error["error"]["message"]


async def put(http: aiohttp.ClientSession, rules: Any) -> int:
    async with http.put("/_simulator/faults", json=rules) as answer:
        return answer.status


async def test_global_faults_strike_by_probability_path_and_times(http: aiohttp.ClientSession) -> None:
    """A rule holds for its path, for so many requests; PUT replaces all rules, GET counts the strikes."""
    assert 200 == await put(http, {"overloaded": {"probability": 1, "times": 2, "path": "/v1/messages"}, "timeout": 0})
    statuses = [(await post(http, "/v1/messages", body()))[0] for _ in range(3)]
    async with http.get("/v1/models") as models:
        assert 200 == models.status
    async with http.get("/_simulator/faults") as answer:
        struck = (await answer.json())["struck"]
    assert 200 == await put(http, {})

    assert ([529, 529, 200], {"overloaded": 2}) == (statuses, struck)
    assert 400 == await put(http, {"nonsense": 1})
    assert 400 == await put(http, {"overloaded": {"chance": 1}})


async def test_the_same_seed_gives_the_same_faults(start: Start) -> None:
    """Twenty requests at one half: the same ones fail in two runs of one seed."""
    runs = []
    for _ in range(2):
        simulator = await start(faults={"overloaded": 0.5}, seed=7)
        async with aiohttp.ClientSession(simulator.url, headers=KEY) as http:
            runs.append([(await post(http, "/v1/messages", body()))[0] for _ in range(20)])

    assert runs[0] == runs[1]
    assert {200, 529} == set(runs[0])


async def test_typed_exceptions_of_the_sdk(claude: anthropic.AsyncAnthropic) -> None:
    """The official SDK raises its own classes for these answers, inside a stream too."""
    wanted: dict[str, type[Exception]] = {
        "rate_limited": anthropic.RateLimitError,
        "overloaded": anthropic.APIStatusError,
        "error": anthropic.InternalServerError,
        "key_revoked": anthropic.AuthenticationError,
        "key_scope": anthropic.PermissionDeniedError,
        "usage_limit": anthropic.BadRequestError,
        "html_502": anthropic.InternalServerError,
        "reset": anthropic.APIConnectionError,
    }
    for fault, error in wanted.items():
        with pytest.raises(error):
            await claude.messages.create(
                model=MODEL, max_tokens=10, messages=HELLO, extra_headers={"x-simulator-fault": fault}
            )
    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        async with claude.messages.stream(
            model=MODEL, max_tokens=10, messages=HELLO, extra_headers={"x-simulator-fault": "overloaded_event"}
        ) as streamed:
            await streamed.until_done()


def test_rules_of_the_command_line() -> None:
    """`NAME=PROBABILITY:ARG`; without a probability it is 1."""
    assert ({"overloaded": 0.2, "cut": 0.1, "gzip": 1.0}, {"cut": "5"}) == parse_faults(
        ["overloaded=0.2", "cut=0.1:5", "gzip"]
    )
    with pytest.raises(ValueError, match="is not a probability"):
        parse_faults(["cut=often"])


def test_every_fault_is_in_the_table() -> None:
    """The docstring names each fault, and no other."""
    from gateway.simulator import faults

    rows = [line.split("|")[1].strip() for line in (faults.__doc__ or "").splitlines() if line.startswith("| ")]
    assert sorted(NAMES) == sorted(rows[1:])
