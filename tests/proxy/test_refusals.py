"""What the gateway refuses itself: every answer has the API's shape, both ids, and says what to do next."""

import asyncio
import gzip
import time
import zlib
from hashlib import sha256

import pytest

from gateway.core.errors import KINDS, GatewayError
from gateway.core.http import Headers
from gateway.core.teams import GatewayKey
from tests.proxy.conftest import ASK, KEY, OTHER_KEY, Start
from tests.raw import request
from tests.wire.scripted import Scripted, serve

FINE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
NOWHERE = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ([], "No gateway key"),
        ([(b"x-api-key", b"gwk_unknown")], "not known"),
        ([(b"Authorization", b"Bearer gwk_unknown")], "not known"),
        ([(b"Authorization", b"Basic " + KEY.encode())], "No gateway key"),
        ([(b"x-api-key", KEY.encode()), (b"Authorization", b"Bearer " + OTHER_KEY.encode())], "different keys"),
        ([(b"x-api-key", KEY.encode()), (b"x-api-key", OTHER_KEY.encode())], "sent twice"),
        ([(b"Authorization", b"Bearer " + KEY.encode()), (b"authorization", b"Bearer gwk_unknown")], "sent twice"),
        ([(b"x-api-key", b"\xff\xfe")], "not known"),
        ([(b"x-api-key", b"")], "No gateway key"),
    ],
    ids=["none", "unknown", "unknown-bearer", "basic", "two-different", "twice", "bearer-twice", "bytes", "empty"],
)
async def test_credentials_that_do_not_count(start: Start, headers: Headers, why: str) -> None:
    """A missing, unknown or ambiguous key is a 401 that is not worth repeating, before the body is read."""
    gateway = await start(NOWHERE)
    got = await gateway.ask("POST", "/v1/messages", [*headers, (b"Content-Length", b"999999")], key=None)

    status, kind, message = got.error
    assert (status, kind) == (401, "authentication_error")
    assert why in message
    assert got.value(b"x-should-retry") == b"false"
    assert got.value(b"connection") == b"close"
    assert "gwk_" not in message


@pytest.mark.parametrize(
    "headers",
    [
        [(b"x-api-key", KEY.encode())],
        [(b"Authorization", b"Bearer " + KEY.encode())],
        [(b"authorization", b"bearer  " + KEY.encode())],
        [(b"x-api-key", KEY.encode()), (b"Authorization", b"Bearer " + KEY.encode())],
        [(b"x-api-key", KEY.encode()), (b"X-Api-Key", KEY.encode())],
    ],
    ids=["x-api-key", "bearer", "bearer-lower", "both", "twice-equal"],
)
async def test_credentials_that_count(start: Start, headers: Headers) -> None:
    """Old SDKs send `x-api-key`, new ones a bearer, Claude Code both with the same key."""
    async with Scripted([serve(FINE)]) as upstream:
        gateway = await start(upstream.url)
        got = await gateway.ask("POST", "/v1/messages", headers, ASK, key=None)

    assert got.status == 200


@pytest.mark.parametrize(
    "target",
    [
        "/v1/organizations/me",
        "/v1/organizations",
        "/v1/oauth/token",
        "/v1/tunnels",
        "/v1/compliance/activities",
        "/v1/messages/../organizations/me",
        "/v1/./messages",
        "/v1/skills/..",
        "/v1/skills/./versions",
        "/v1//messages",
        "//v1/messages",
        "/v1/messages/",
        "/v1/messages;x=1",
        "/v1/messages%2Fbatches",
        "/v1/files/..%2f..%2forganizations",
        "/v1/files/a%00b",
        "/v1/files/" + "a" * 300,
        "/v1/new_paid_endpoint",
        "/metrics",
    ],
)
async def test_paths_without_a_row(start: Start, target: str) -> None:
    """What has no row, or could mean something else to the next parser, is a 404 and never leaves."""
    async with Scripted([serve(FINE)]) as upstream:
        gateway = await start(upstream.url)
        got = await gateway.ask("POST", target, body=ASK)

    assert got.error[:2] == (404, "not_found_error")
    assert upstream.requests == []


async def test_wrong_method_says_which_are_right(start: Start) -> None:
    """A known path with another method names the methods it takes."""
    gateway = await start(NOWHERE)
    got = await gateway.ask("PUT", "/v1/messages", body=ASK)

    assert got.error == (405, "invalid_request_error", "/v1/messages does not take PUT. Allowed: POST.")
    assert got.value(b"allow") == b"POST"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"[]", "object"),
        (b'{"model": "claude-opus-5"} trailing', "not valid JSON"),
        (b'{"model": "claude-opus-5", "model": "claude-haiku-4-5"}', "'model' more than once"),
        (b'{"model": "claude-opus-5", "mod\\u0065l": "claude-haiku-4-5"}', "'model' more than once"),
        (b'{"model": "claude-opus-5", "max_tokens": 1, "max_tokens": 1}', "'max_tokens' more than once"),
        (b'{"model": "claude-opus-5", "x": "\xff"}', "UTF-8"),
        (b'{"model": 5}', "'model' must be a string, not a number."),
        (b'{"max_tokens": 5}', "has no 'model'"),
        (b'{"model": null}', "has no 'model'"),
        (b'{"model": "claude-opus-5", "x": ' + b"[" * 9999 + b"]" * 9999 + b"}", "nested too deeply"),
        (b"\xef\xbb\xbf" + ASK, "not valid JSON"),
    ],
    ids=["empty", "open", "list", "trailing", "model-twice", "escaped-twice", "max-twice", "utf8", "number", "absent",
         "null", "deep", "bom"],
)  # fmt: skip
async def test_bodies_that_can_not_be_governed(start: Start, body: bytes, why: str) -> None:
    """An inference body that two parsers could read differently is a 400 that names the place, never the content."""
    async with Scripted([serve(FINE)]) as upstream:
        gateway = await start(upstream.url)
        got = await gateway.ask("POST", "/v1/messages", [(b"Content-Length", b"0")] if not body else [], body)

    status, kind, message = got.error
    assert (status, kind) == (400, "invalid_request_error")
    assert why in message
    assert upstream.requests == []


async def test_duplicate_inside_a_batch(start: Start) -> None:
    """Each `params` of a batch is judged like a body of its own."""
    body = b'{"requests":[{"custom_id":"a","params":{"model":"claude-opus-5","model":"claude-haiku-4-5"}}]}'
    gateway = await start(NOWHERE)
    got = await gateway.ask("POST", "/v1/messages/batches", body=body)

    assert got.error[:2] == (400, "invalid_request_error")
    assert "requests[0].params has the key 'model' more than once" in got.error[2]


async def test_model_outside_the_teams_patterns(start: Start) -> None:
    """Every model that can bill is held against the team's patterns: fallbacks and advisors too."""
    bodies = [
        b'{"model": "claude-haiku-4-5"}',
        b'{"model": "claude-opus-5", "fallbacks": [{"model": "claude-haiku-4-5"}]}',
        b'{"model": "claude-opus-5", "tools": [{"type": "advisor_20260301", "model": "claude-haiku-4-5"}]}',
    ]
    gateway = await start(NOWHERE, models=("claude-opus-*",))
    for body in bodies:
        got = await gateway.ask("POST", "/v1/messages", body=body)

        assert got.error[:2] == (403, "permission_error")
        assert "Team 'search' may not use the model 'claude-haiku-4-5'" in got.error[2]


async def test_billing_policy_is_refused(start: Start) -> None:
    """A team can't decide who pays."""
    gateway = await start(NOWHERE)
    got = await gateway.ask(
        "POST", "/v1/messages", body=b'{"model":"claude-opus-5","billing_policy":{"bill_to":"user_profile"}}'
    )

    assert got.error[:2] == (403, "permission_error")


@pytest.mark.parametrize(
    ("coding", "body", "status", "code"),
    [
        (b"br", b"x", 400, "request_body_encoding_unsupported"),
        (b"gzip, gzip", b"x", 400, "request_body_encoding_unsupported"),
        (b"gzip", b"not gzip", 400, "request_body_encoding_invalid"),
        (b"gzip", gzip.compress(ASK)[:-4], 400, "request_body_encoding_invalid"),
        (b"gzip", gzip.compress(ASK) + b"more", 400, "request_body_encoding_invalid"),
        (b"gzip", gzip.compress(b" " * (33 << 20)), 413, "request_body_too_large_after_decoding"),
        (b"deflate", zlib.compress(b" " * (33 << 20)), 413, "request_body_too_large_after_decoding"),
    ],
    ids=["br", "twice", "garbage", "cut", "trailing", "bomb", "deflate-bomb"],
)
async def test_codings_that_do_not_decode(start: Start, coding: bytes, body: bytes, status: int, code: str) -> None:
    """A body whose coding is unknown, broken or a bomb is refused with Claude's own code."""
    gateway = await start(NOWHERE)
    got = await gateway.ask("POST", "/v1/messages", [(b"Content-Encoding", coding)], body)

    assert got.error[0] == status
    assert got.json["error"]["details"]["error_code"] == code


async def test_declared_length_over_the_limit(start: Start) -> None:
    """Too long a body is refused by its declared length: the client that waits for `100 Continue` never sends it."""
    gateway = await start(NOWHERE)
    async with gateway.client() as client:
        head = [(b"Content-Length", b"%d" % (33 << 20)), (b"Expect", b"100-continue")]
        client.send(request("POST", "/v1/messages", head, key=KEY))
        got = await client.answer()

    assert (got.interim, got.error[:2]) == ([], (413, "request_too_large"))


async def test_chunked_body_over_the_limit(start: Start) -> None:
    """A body without a length is counted while it is read."""
    gateway = await start(NOWHERE)
    async with gateway.client() as client:
        client.send(request("POST", "/v1/messages", [(b"Transfer-Encoding", b"chunked")], key=KEY))
        piece = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
        for _ in range(33):
            client.send(piece)
        got = await client.answer()

    assert got.error[:2] == (413, "request_too_large")


async def test_continue_is_said_after_the_checks(start: Start) -> None:
    """A client that waits is told to go on once its key, route and length are fine."""
    async with Scripted([serve(FINE)]) as upstream:
        gateway = await start(upstream.url)
        async with gateway.client() as client:
            head = [(b"Content-Length", b"%d" % len(ASK)), (b"Expect", b"100-continue")]
            client.send(request("POST", "/v1/messages", head, key=KEY))
            assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.send(ASK)
            got = await client.answer()

    assert (got.status, upstream.requests[0].body) == (200, ASK)
    assert upstream.requests[0].values(b"expect") == []


async def test_body_where_none_belongs(start: Start) -> None:
    """A body on a GET would be read by nobody: it is refused rather than dropped."""
    gateway = await start(NOWHERE)
    got = await gateway.ask("GET", "/v1/files/file_1", body=b"{}")

    assert got.error == (400, "invalid_request_error", "/v1/files/{file} takes no request body.")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET /v1/models HTTP/1.1\r\nbad header\r\n\r\n", 400),
        (b"GARBAGE\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nx-api-key: gwk_secret\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"x: y\r\n" * 600 + b"\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nx: " + b"y" * (300 << 10) + b"\r\n\r\n", 431),
    ],
    ids=["no-colon", "garbage", "two-hosts", "both-framings", "two-lengths", "folded", "too-many", "too-long"],
)
async def test_malformed_heads_have_our_shape(
    start: Start, raw: bytes, status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """A head that is no HTTP gets an API-shaped error with an id, one line, and nothing of its bytes anywhere."""
    gateway = await start(NOWHERE)
    async with gateway.client() as client:
        client.send(raw)
        got = await client.answer("GET")
        closed = await client.closed()

    assert got.error[0] == status
    assert closed
    assert "gwk_secret" not in str(gateway.lines) + "".join(capfd.readouterr())
    assert len(await gateway.requests(1)) == 1


async def test_long_headers_pass(start: Start) -> None:
    """A 64 KB header value and 180 headers are nothing special."""
    many = [(b"x-%d" % n, b"v") for n in range(180)]
    async with Scripted([serve(FINE)]) as upstream:
        gateway = await start(upstream.url)
        got = await gateway.ask("POST", "/v1/messages", [(b"x-jwt", b"j" * 65536), *many], ASK)

    assert got.status == 200
    assert upstream.requests[0].values(b"x-jwt") == [b"j" * 65536]


async def test_cap_on_buffered_bodies(start: Start) -> None:
    """Over the cap a new large body is told to come back; a small one still passes."""
    held = 2**20 - 10
    async with Scripted([serve(FINE)]) as upstream:
        gateway = await start(upstream.url, settings={"max_buffered_bytes": 2**20})
        async with gateway.client() as first:
            first.send(request("POST", "/v1/messages", [(b"Content-Length", b"%d" % held)], key=KEY) + b"{")
            async with asyncio.timeout(5):
                while (
                    large := await gateway.ask("POST", "/v1/messages", [(b"Content-Length", b"99999")])
                ).status != 529:
                    await asyncio.sleep(0.01)
            small = await gateway.ask("POST", "/v1/messages", body=ASK)

    assert large.error[:2] == (529, "overloaded_error")
    assert (large.value(b"retry-after"), large.value(b"x-should-retry")) == (b"2", b"true")
    assert small.status == 200


async def test_expired_key(start: Start) -> None:
    """A key that has expired is named, and is no key any more."""
    old = GatewayKey("laptop", sha256(KEY.encode()).digest(), expires=time.time() - 1)
    gateway = await start(NOWHERE, keys=(old,))
    got = await gateway.ask("POST", "/v1/messages", body=ASK)

    assert got.error[:2] == (401, "authentication_error")
    assert "The gateway key 'laptop' of team 'search' has expired." in got.error[2]


def test_long_waits_are_not_worth_a_retry() -> None:
    """New SDKs would sleep for as long as `retry-after` says, old ones would hammer: above a minute, no."""
    seconds = (None, 1, 60, 61)
    assert [GatewayError("rate_limited", "", retry_after=wait).should_retry for wait in seconds] == [True] * 3 + [False]


def test_error_kinds_tell_sdks_what_they_mean() -> None:
    """No refusal that a repeat can't mend is marked as worth repeating."""
    retryable = {kind for kind, row in KINDS.items() if row.retry}

    assert all(KINDS[kind].status in (408, 409, 429, 500, 502, 503, 504, 529) for kind in retryable)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "claude-haiku-4-5", "tools": [{"model": "claude-opus-5", "model": null}]}',
        b'{"model": "claude-haiku-4-5", "tools": [{"mod\\u0065l": "claude-opus-5", "model": "claude-haiku-4-5"}]}',
        b'{"model": "claude-haiku-4-5", "fallbacks": [{"model": "claude-opus-5", "model": "claude-haiku-4-5"}]}',
    ],
    ids=["tool", "tool-escaped", "fallback"],
)
async def test_second_model_in_a_part(start: Start, body: bytes) -> None:
    """Where a part of a body names a model that bills, it names it once: parsers disagree on which of two counts."""
    async with Scripted([serve(FINE)]) as upstream:
        gateway = await start(upstream.url, models=("claude-haiku-*",))
        got = await gateway.ask("POST", "/v1/messages", body=body)

    assert got.error[:2] == (400, "invalid_request_error")
    assert "'model' more than once" in got.error[2]
    assert upstream.requests == []


async def test_tool_with_an_odd_model(start: Start) -> None:
    """A tool's model that is no text can't be judged, so it is refused."""
    gateway = await start(NOWHERE)
    body = b'{"model": "claude-haiku-4-5", "tools": [{"name": "a"}, {"model": {"id": "claude-opus-5"}}]}'
    got = await gateway.ask("POST", "/v1/messages", body=body)

    assert got.error == (400, "invalid_request_error", "'tools[1].model' must be a string, not an object.")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/agents", b'{"name": "a", "model": "claude-opus-5"}'),
        ("/v1/agents", b'{"name": "a", "model": {"id": "claude-opus-5", "speed": "fast"}}'),
        (
            "/v1/agents/agent_1",
            b'{"multiagent": {"type": "x", "agents": [{"type": "advisor", "model": "claude-opus-5"}]}}',
        ),
        ("/v1/sessions", b'{"agent": {"id": "agent_1", "model": "claude-opus-5"}}'),
        ("/v1/sessions/sesn_1", b'{"agent": {"model": {"id": "claude-opus-5"}}}'),
        ("/v1/deployments", b'{"agent": {"id": "agent_1", "model": "claude-opus-5"}}'),
        ("/v1/dreams", b'{"model": {"id": "claude-opus-5"}}'),
    ],
    ids=["agent", "object", "advisor", "override", "update", "deployment", "dream"],
)
async def test_model_that_runs_later(start: Start, path: str, body: bytes) -> None:
    """A model that an agent will run is held against the team's patterns like one that runs now."""
    async with Scripted([serve(FINE)]) as upstream:
        gateway = await start(upstream.url, models=("claude-haiku-*",))
        refused = await gateway.ask("POST", path, body=body)
        allowed = await gateway.ask("POST", path, body=body.replace(b"claude-opus-5", b"claude-haiku-4-5"))

    assert refused.error[:2] == (403, "permission_error")
    assert "claude-opus-5" in refused.error[2]
    assert allowed.status == 200
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"agent": {"model": "claude-haiku-4-5", "model": "claude-opus-5"}}', "'model' more than once"),
        (b'{"a": ' * 99 + b"1" + b"}" * 99, "nested more than 30 levels"),
        (b"[]", "object"),
    ],
    ids=["twice", "deep", "list"],
)
async def test_agent_body_that_can_not_be_governed(start: Start, body: bytes, why: str) -> None:
    """An agent's body that two parsers could read differently is a 400."""
    gateway = await start(NOWHERE)
    got = await gateway.ask("POST", "/v1/sessions", body=body)

    assert got.error[:2] == (400, "invalid_request_error")
    assert why in got.error[2]


async def test_model_as_data_of_an_agent(start: Start) -> None:
    """What a client calls `model` in its own data names none."""
    body = (
        b'{"model": "claude-haiku-4-5", "metadata": {"model": "T"}, '
        b'"tools": [{"input_schema": {"properties": {"model": {"id": "x"}}}}]}'
    )
    async with Scripted([serve(FINE)]) as upstream:
        gateway = await start(upstream.url, models=("claude-haiku-*",))
        got = await gateway.ask("POST", "/v1/agents", body=body)

    assert (got.status, upstream.requests[0].body) == (200, body)


@pytest.mark.parametrize(
    "value", ["evil.test/path?x=", "a@evil.test", "evil.test#", "a b", "", "evil.test:1:2", "[::1"]
)
async def test_host_that_is_no_host(start: Start, value: str) -> None:
    """The Host ends up in a URL that gets the team's key next, so it must be a host and nothing more."""
    async with Scripted([serve(FINE)]) as upstream:
        gateway = await start(upstream.url)
        async with gateway.client() as client:
            raw = request("GET", "/v1/messages/batches", key=KEY).replace(b"gateway.test", value.encode())
            client.send(raw)
            got = await client.answer("GET")

    assert got.error[0] == 400
    assert upstream.requests == []


@pytest.mark.parametrize(
    "codings",
    [[b"identity", b"br"], [b"gzip, gzip"], [b"gzip", b"gzip"], [b"zstd"]],
    ids=["second-header", "list", "twice", "unknown"],
)
async def test_codings_that_are_not_taken(start: Start, codings: list[bytes]) -> None:
    """Every coding that is named counts: one that stays unread here would be read by Claude."""
    async with Scripted([serve(FINE)]) as upstream:
        gateway = await start(upstream.url)
        headers = [(b"Content-Encoding", coding) for coding in codings]
        got = await gateway.ask("POST", "/v1/agents", headers, b'{"model": "claude-haiku-4-5"}')

    assert got.error[:2] == (400, "invalid_request_error")
    assert got.json["error"]["details"]["error_code"] == "request_body_encoding_unsupported"
    assert upstream.requests == []


async def test_transfer_coding_other_than_chunked(start: Start) -> None:
    """A body under a second transfer coding would be taken for what it is not."""
    async with Scripted([serve(FINE)]) as upstream:
        gateway = await start(upstream.url)
        async with gateway.client() as client:
            client.send(request("POST", "/v1/files", [(b"Transfer-Encoding", b"gzip, chunked")], key=KEY))
            client.send(b"3\r\nabc\r\n0\r\n\r\n")
            got = await client.answer()

    assert got.error[:2] == (400, "invalid_request_error")
    assert upstream.requests == []


async def test_broken_head_has_the_headers_of_every_refusal(start: Start) -> None:
    """Also a request that never became one is told whose refusal it is and whether to repeat."""
    gateway = await start(NOWHERE)
    async with gateway.client() as client:
        client.send(b"GARBAGE\r\n\r\n")
        got = await client.answer("GET")

    assert (got.value(b"x-gateway-refused-by"), got.value(b"x-should-retry")) == (b"gateway", b"false")


async def test_ids_that_a_client_makes_up(start: Start) -> None:
    """The ids of an answer and of its line are Claude's and ours, whatever the request calls itself."""
    async with Scripted([serve(FINE)]) as upstream:
        gateway = await start(upstream.url)
        spoofed = [(b"x-gateway-request-id", b"gwr_spoofed"), (b"request-id", b"req_spoofed")]
        got = await gateway.ask("POST", "/v1/messages", spoofed, ASK)
        line = (await gateway.requests(1))[0]

    assert line["request_id"].startswith("gwr_")
    assert line["request_id"] != "gwr_spoofed"
    assert (got.value(b"request-id"), got.value(b"x-gateway-request-id")) == (line["request_id"].encode(),) * 2
    assert upstream.requests[0].values(b"x-gateway-request-id") == []


async def test_words_of_a_client_in_the_log(start: Start) -> None:
    """What a client may write freely can't move a terminal's cursor, start a new line or hide a key in the log."""
    async with Scripted([serve(FINE)]) as upstream:
        gateway = await start(upstream.url, charge_as="claude-haiku-4-5")
        for model in (b"a\\u001b[2J", b"line\\nline", b"Please write me a poem", KEY.encode()):
            await gateway.ask("POST", "/v1/messages", body=ASK.replace(b"claude-opus-5", model))
        await gateway.ask("POST", "/v1/messages", [(b"x-claude-code-session-id", b"s\x9b2J\xe9")], ASK)
        lines = await gateway.requests(5)

    assert [line.get("asked_model") for line in lines] == ["other"] * 4 + [None]
    assert [line["model"] for line in lines] == ["claude-haiku-4-5"] * 4 + ["claude-opus-5"]
    assert lines[4]["claude_code_session_id"] == "s?2J\xe9"


async def test_cap_is_given_back(start: Start) -> None:
    """What a request held of the cap is there for the next one, however the first one ended."""
    large = ASK[:-1] + b', "x": "%b"}' % (b"x" * 700_000)
    async with Scripted([serve(FINE)]) as upstream:
        gateway = await start(upstream.url, settings={"max_buffered_bytes": 2**20}, models=("claude-opus-*",))
        statuses = [
            (await gateway.ask("POST", "/v1/messages", headers, body)).status
            for headers, body in [
                ([], large),
                ([], large.replace(b"claude-opus-5", b"claude-haiku-4-5")),
                ([(b"Content-Encoding", b"gzip")], gzip.compress(large)),
                ([(b"Content-Encoding", b"gzip")], gzip.compress(large)[:-9]),
                ([], large[:-1]),
                ([], large),
            ]
        ]

    assert statuses == [200, 403, 200, 400, 400, 200]


async def test_upload_that_grows_over_its_limit(start: Start) -> None:
    """A streamed body without a length is counted while it passes."""
    piece = b"%x\r\n%b\r\n" % (1 << 20, b"x" * (1 << 20))
    async with Scripted([serve(FINE)]) as upstream:
        gateway = await start(upstream.url)
        async with gateway.client() as client:
            client.send(request("POST", "/v1/skills", [(b"Transfer-Encoding", b"chunked")], key=KEY) + piece * 33)
            got = await client.answer()

    assert got.error[:2] == (413, "request_too_large")
    assert not upstream.requests[0].raw_body.endswith(b"\r\n0\r\n\r\n")  # to Claude it is cut, not complete


async def test_bytes_behind_a_packed_body(start: Start) -> None:
    """What follows the end of a gzip body in a chunk of its own is read by nobody, so it is refused."""
    gateway = await start(NOWHERE)
    packed = gzip.compress(ASK)
    async with gateway.client() as client:
        head = [(b"Transfer-Encoding", b"chunked"), (b"Content-Encoding", b"gzip")]
        client.send(request("POST", "/v1/messages", head, key=KEY) + b"%x\r\n%b\r\n" % (len(packed), packed))
        await asyncio.sleep(0)
        client.send(b"5\r\nextra\r\n0\r\n\r\n")
        got = await client.answer()

    assert got.json["error"]["details"]["error_code"] == "request_body_encoding_invalid"
