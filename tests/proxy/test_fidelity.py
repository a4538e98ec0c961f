"""What passes through is what came: bytes and headers in both directions, less the tables of core/headers.py."""

import asyncio
import gzip
import ssl
from pathlib import Path

import pytest
import trustme

from tests.proxy.conftest import ASK, KEY, REAL_KEY, Start
from tests.raw import request
from tests.wire.scripted import Scripted, read_request, send, send_split, serve

PLAIN = b'{"id": "msg_1", "model": "claude-opus-5", "usage": {"input_tokens": 9, "output_tokens": 4}}'


def answer(body: bytes = PLAIN, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    lines = [b"HTTP/1.1 " + status, *headers, b"content-length: %d" % len(body)]
    return b"\r\n".join([*lines, b"", b""]) + body


async def test_body_leaves_as_the_bytes_that_came(start: Start) -> None:
    """Spaces, key order, number forms and escapes of a body reach Claude untouched."""
    odd = b'{"messages":[ ],\t"model"  :"claude-opus-5","max_tokens":1e1,"x":"\\u00e9 \xc3\xa9","n":1.50}\n'
    async with Scripted([serve(answer())]) as upstream:
        gateway = await start(upstream.url)
        await gateway.ask("POST", "/v1/messages?beta=true", body=odd)

    assert odd == upstream.requests[0].body
    assert upstream.requests[0].line == b"POST /v1/messages?beta=true HTTP/1.1"


async def test_headers_leave_in_order_less_what_must_stay(start: Start) -> None:
    """Credentials, cookies, hop-by-hop and forwarding headers stay; all else passes with its case, order and copies."""
    sent = [
        (b"Authorization", b"Bearer " + KEY.encode()),
        (b"anthropic-version", b"2026-10-21"),
        (b"anthropic-beta", b"context-1m-2025-08-07"),
        (b"Anthropic-Beta", b"a-beta-nobody-knows"),
        (b"User-Agent", b"Anthropic/Python 2.11.0"),
        (b"X-Stainless-Retry-Count", b"0"),
        (b"X-Bytes", b"caf\xc3\xa9 \xe9"),
        (b"Cookie", b"session=1"),
        (b"Connection", b"keep-alive, X-Hop"),
        (b"X-Hop", b"1"),
        (b"Keep-Alive", b"timeout=5"),
        (b"TE", b"trailers"),
        (b"Proxy-Authorization", b"Basic eA=="),
        (b"X-Forwarded-For", b"10.0.0.1"),
        (b"Forwarded", b"for=10.0.0.1"),
        (b"CF-Connecting-IP", b"10.0.0.1"),
        (b"anthropic-workspace-id", b"wrkspc_other"),
        (b"anthropic-user-profile-id", b"uprof_other"),
        (b"x-gateway-anything", b"1"),
        (b"accept-encoding", b"gzip, br"),
        (b"x-api-key", KEY.encode()),
    ]
    async with Scripted([serve(answer())]) as upstream:
        gateway = await start(upstream.url)
        await gateway.ask("POST", "/v1/messages", sent, ASK, key=None)

    expected = [
        (b"Host", upstream.origin.authority.encode()),
        *sent[1:7],
        (b"accept-encoding", b"identity"),
        (b"x-api-key", REAL_KEY.encode()),
        (b"Content-Length", b"%d" % len(ASK)),
    ]
    assert expected == upstream.requests[0].headers


async def test_answer_comes_back_as_the_bytes_that_came(start: Start) -> None:
    """Status, reason, duplicate headers, bytes outside ASCII and the body reach the client; shared limits do not."""
    head = (
        b"request-id: req_1",
        b"anthropic-organization-id: org_1",
        b"anthropic-workspace-id: wrkspc_1",
        b"X-Twice: 1",
        b"x-twice: 2",
        b"X-Bytes: \xe9",
        b"anthropic-ratelimit-requests-remaining: 3999",
        b"Set-Cookie: __cf_bm=1",
        b"Connection: keep-alive, X-Hop",
        b"X-Hop: 1",
        b"Date: Fri, 20 Nov 2026 12:00:00 GMT",
    )
    async with Scripted([serve(answer(PLAIN, *head, status=b"200 Very Well"))]) as upstream:
        gateway = await start(upstream.url)
        got = await gateway.ask("POST", "/v1/messages", body=ASK)

    ours = got.value(b"x-gateway-request-id")
    assert got.body == PLAIN
    assert got.headers == [
        (b"request-id", b"req_1"),
        (b"anthropic-organization-id", b"org_1"),
        (b"anthropic-workspace-id", b"wrkspc_1"),
        (b"X-Twice", b"1"),
        (b"x-twice", b"2"),
        (b"X-Bytes", b"\xe9"),
        (b"Date", b"Fri, 20 Nov 2026 12:00:00 GMT"),
        (b"x-gateway-request-id", ours),
        (b"content-length", b"%d" % len(PLAIN)),
    ]


@pytest.mark.parametrize("status", [b"400 Bad Request", b"404 Not Found", b"429 Too Many Requests", b"529 Overloaded"])
async def test_errors_of_claude_pass_byte_for_byte(start: Start, status: bytes) -> None:
    """An error body of Claude is never rewritten, whatever its shape: Claude Code matches its wording."""
    body = b'{"type":"error", "error": {"type":"x_error","message":"caf\xc3\xa9 \\u00e9"},"request_id":"req_9"}\n'
    async with Scripted([serve(answer(body, b"request-id: req_9", b"retry-after: 7", status=status))]) as upstream:
        gateway = await start(upstream.url)
        got = await gateway.ask("POST", "/v1/messages", body=ASK)

    assert (got.status, got.body) == (int(status[:3]), body)
    assert got.value(b"retry-after") == b"7"


async def test_edge_page_is_wrapped(start: Start) -> None:
    """An HTML page of the edge becomes an API error with the same status; its ray id stands in the log."""
    page = b"<html><h1>502 Bad Gateway</h1></html>"
    raw = answer(page, b"content-type: text/html", b"cf-ray: 8f1-FRA", status=b"502 Bad Gateway")
    async with Scripted([serve(raw)]) as upstream:
        gateway = await start(upstream.url)
        got = await gateway.ask("POST", "/v1/messages", body=ASK)
        line = (await gateway.requests(1))[0]

    assert got.error[:2] == (502, "api_error")
    assert got.value(b"content-type") == b"application/json"
    assert line["cf_ray"] == "8f1-FRA"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (
            b"401 Unauthorized",
            b'{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}',
        ),
        (
            b"403 Forbidden",
            b'{"type":"error","error":{"type":"permission_error","message":"m","details":{"error_code":"api_key_scope_missing"}}}',
        ),
        (
            b"403 Forbidden",
            b'{"type":"error","error":{"type":"permission_error","message":"This API key is disabled."}}',
        ),
    ],
    ids=["revoked", "scope", "disabled"],
)
async def test_refusal_of_our_key_is_not_the_teams_fault(start: Start, status: bytes, body: bytes) -> None:
    """Claude's 401 or 403 about the workspace's key is a 503 to the team: its own key is fine."""
    async with Scripted([serve(answer(body, status=status))]) as upstream:
        gateway = await start(upstream.url)
        got = await gateway.ask("POST", "/v1/messages", body=ASK)

    assert got.error[:2] == (503, "api_error")
    assert REAL_KEY.encode() not in got.body


async def test_forbidden_feature_passes(start: Start) -> None:
    """A 403 that is about the request, not about our key, reaches the team as Claude wrote it."""
    body = b'{"type":"error","error":{"type":"permission_error","message":"This organization lacks the feature."}}'
    async with Scripted([serve(answer(body, status=b"403 Forbidden"))]) as upstream:
        gateway = await start(upstream.url)
        got = await gateway.ask("POST", "/v1/messages", body=ASK)

    assert (got.status, got.body) == (403, body)


@pytest.mark.parametrize("coding", [b"gzip", b"x-gzip"])
async def test_compressed_request_leaves_decoded(start: Start, coding: bytes) -> None:
    """A gzip body is decoded and leaves without its coding; the bytes inside are the client's."""
    async with Scripted([serve(answer())]) as upstream:
        gateway = await start(upstream.url)
        got = await gateway.ask("POST", "/v1/messages", [(b"Content-Encoding", coding)], gzip.compress(ASK))

    assert got.status == 200
    assert upstream.requests[0].body == ASK
    assert upstream.requests[0].values(b"content-encoding") == []


async def test_compressed_answer_passes_and_is_metered(start: Start) -> None:
    """An answer that comes compressed after all passes as it is, and its usage is still read."""
    packed = gzip.compress(PLAIN)
    async with Scripted([serve(answer(packed, b"content-encoding: gzip"))]) as upstream:
        gateway = await start(upstream.url)
        got = await gateway.ask("POST", "/v1/messages", body=ASK)
        line = (await gateway.requests(1))[0]

    assert (got.body, got.value(b"content-encoding")) == (packed, b"gzip")
    assert (line["input_tokens"], line["output_tokens"]) == (9, 4)


async def test_stream_passes_chunk_by_chunk(start: Start) -> None:
    """Every byte of a stream arrives as it was sent: comments, pings, unknown events, broken UTF-8."""
    stream = b': hello \xff\n\nevent: ping\ndata: {}\r\n\r\nevent: from_the_future\ndata: {"a":\ndata: 1}\n\n'
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    framed = b"".join(b"1\r\n%c\r\n" % byte for byte in stream) + b"0\r\n\r\n"
    async with Scripted([read_request(), send(head), send_split(framed, 3)]) as upstream:
        gateway = await start(upstream.url)
        got = await gateway.ask("POST", "/v1/messages", body=ASK)

    assert got.body == stream
    assert got.ended
    assert got.values(b"connection") == []


async def test_results_url_points_at_the_gateway(start: Start) -> None:
    """SDKs follow `results_url` with the team's key: it must lead back here, by the Host the client used."""
    url = b"https://api.anthropic.com/v1/messages/batches/msgbatch_1/results"
    body = b'{"id":"msgbatch_1", "results_url" : "%b", "note":"%b"}' % (url, url)
    async with Scripted([serve(answer(body))]) as upstream:
        gateway = await start(upstream.url)
        got = await gateway.ask("GET", "/v1/messages/batches/msgbatch_1")

    assert got.body == body.replace(url, url.replace(b"https://api.anthropic.com", b"http://gateway.test"), 1)


async def test_results_url_prefers_the_public_url(start: Start) -> None:
    """Behind a TLS balancer the Host is not enough; the setting wins."""
    url = b"https://api.anthropic.com/v1/messages/batches/b/results".replace(b"/", b"\\/")
    body = b'{"data":[{"results_url":"%b"},{"results_url":null}]}' % url
    async with Scripted([serve(answer(body))]) as upstream:
        gateway = await start(upstream.url, settings={"public_url": "https://claude.example.com"})
        got = await gateway.ask("GET", "/v1/messages/batches")

    assert [item["results_url"] for item in got.json["data"]] == [
        "https://claude.example.com/v1/messages/batches/b/results",
        None,
    ]


async def test_interim_answers_of_claude_are_skipped(start: Start) -> None:
    """1xx answers are between Claude and the gateway."""
    early = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    async with Scripted([read_request(), send(early + early + answer())]) as upstream:
        gateway = await start(upstream.url)
        got = await gateway.ask("POST", "/v1/messages", body=ASK)

    assert (got.interim, got.body) == ([], PLAIN)


async def test_head_is_answered_like_get_without_a_body(start: Start) -> None:
    """HEAD reaches Claude as HEAD, and its length is told though no body comes."""
    async with Scripted([read_request(), send(b"HTTP/1.1 200 OK\r\ncontent-length: 77\r\n\r\n")]) as upstream:
        gateway = await start(upstream.url)
        async with gateway.client() as client:
            first = await client.ask("HEAD", "/v1/files/file_1/content", key=KEY)
            client.send(request("HEAD", "/api/hello"))
            second = await client.answer("HEAD")

    assert (first.status, first.value(b"content-length")) == (200, b"77")
    assert upstream.requests[0].line == b"HEAD /v1/files/file_1/content HTTP/1.1"
    assert second.status == 200


async def test_headers_of_a_sign_on_proxy_stay(start: Start) -> None:
    """Tokens and names of people, which a proxy before the gateway puts in, never reach Claude."""
    names = [
        b"x-amzn-oidc-data", b"X-Goog-IAP-JWT-Assertion", b"x-goog-authenticated-user-email",
        b"x-ms-token-aad-id-token", b"x-ms-client-principal", b"x-auth-request-access-token",
        b"x-original-forwarded-for", b"cf-access-jwt-assertion",
    ]  # fmt: skip
    async with Scripted([serve(answer())]) as upstream:
        gateway = await start(upstream.url)
        await gateway.ask("POST", "/v1/messages", [(name, b"eyJ.planted") for name in names], ASK)

    assert b"eyJ.planted" not in upstream.requests[0].head


async def test_results_url_keeps_its_query(start: Start) -> None:
    """Only the origin of a `results_url` is ours to change."""
    urls = [b"https://api.anthropic.com/v1/messages/batches/b/results?sig=a%2Fb&x=/v1/", b"//edge/v1/x", b"/v1/y"]
    for url in urls:
        body = b'{"results_url":"%b"}' % url
        async with Scripted([serve(answer(body))]) as upstream:
            gateway = await start(upstream.url)
            got = await gateway.ask("GET", "/v1/messages/batches/b")

        assert got.json["results_url"].encode() == b"http://gateway.test" + url[url.index(b"/v1/") :]


async def test_results_url_in_a_compressed_answer(start: Start) -> None:
    """An edge that compresses unasked must not lead team keys to Claude: the answer is unpacked, or refused."""
    body = b'{"data":[{"results_url":"https://api.anthropic.com/v1/messages/batches/b/results"}]}'
    for coding, packed in ((b"gzip", gzip.compress(body)), (b"br", b"\x8b\x01\x80{}\x03")):
        async with Scripted([serve(answer(packed, b"Content-Encoding: " + coding))]) as upstream:
            gateway = await start(upstream.url)
            got = await gateway.ask("GET", "/v1/messages/batches")

        if coding == b"gzip":
            assert got.body == body.replace(b"https://api.anthropic.com", b"http://gateway.test")
            assert got.values(b"content-encoding") == []
        else:
            assert got.error[:2] == (502, "api_error")


async def test_head_of_a_batch_tells_claudes_length(start: Start) -> None:
    """A HEAD has no body in which anything could be changed."""
    async with Scripted([read_request(), send(b"HTTP/1.1 200 OK\r\ncontent-length: 77\r\n\r\n")]) as upstream:
        gateway = await start(upstream.url)
        got = await gateway.ask("HEAD", "/v1/messages/batches/b")

    assert got.value(b"content-length") == b"77"


async def test_results_url_over_tls(start: Start, tmp_path: Path) -> None:
    """A client that came by https is led back by https."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    body = b'{"results_url":"https://api.anthropic.com/v1/messages/batches/b/results"}'
    async with Scripted([serve(answer(body))]) as upstream:
        gateway = await start(upstream.url, settings={"tls_cert": certificate, "tls_key": key})
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, ssl=context)
        writer.write(request("GET", "/v1/messages/batches/b", [(b"Connection", b"close")], key=KEY))
        got = await reader.read()
        writer.close()

    assert got.endswith(b'{"results_url":"https://gateway.test/v1/messages/batches/b/results"}')
