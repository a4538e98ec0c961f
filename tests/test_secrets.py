"""Nothing that a team or Claude said, and no key, is anywhere in what the gateway puts out.

A gateway runs as a process of its own at the most talkative log level, and gets requests of every kind with markers
planted wherever a client or an upstream can put one. Then all its output is searched: stdout, stderr, metrics, the ops
pages and every error of its own.
"""

import asyncio
import gzip
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest

from tests.raw import RawAnswer, RawClient, request
from tests.shell.test_serve import Process, serve
from tests.wire.scripted import Scripted, close, pause, read_head, read_request, reset, send, stall
from tests.wire.scripted import serve as answer_all

TEAM_KEY = "gwk_MARKERTEAMKEYqwertyuiop"
REAL_KEY = "sk-ant-api03-MARKERREALKEYasdfghjkl"
MARKERS = ("MARKER", TEAM_KEY, REAL_KEY, sha256(TEAM_KEY.encode()).hexdigest())
PROMPT = (
    b'{"model": "claude-haiku-4-5", "max_tokens": 9, "system": "MARKERsystem", "metadata": {"user_id": "MARKERuser"}, '
    b'"messages": [{"role": "user", "content": "MARKERprompt"}]}'
)
BATCH = b'{"requests": [{"custom_id": "MARKERid", "params": %b}]}' % PROMPT
FORM = b'--x\r\ncontent-disposition: form-data; name="file"; filename="MARKERname"\r\n\r\nMARKERcontent\r\n--x--\r\n'
EVENT = b'event: content_block_delta\ndata: {"type": "content_block_delta", "delta": {"text": "MARKERcompletion"}}\n\n'
STREAM = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nrequest-id: req_1\r\ntransfer-encoding: chunked\r\n\r\n"
)
COMPLETION = (
    b'{"type": "message", "content": [{"type": "text", "text": "MARKERcompletion"}], "usage": {"input_tokens": 1}}'
)
PAGE = b"<html>MARKERpage</html>"

POLICY = """
workspaces:
  main:
    base_url: {url}
    keys: [{{name: k1, secret: "${{file:real-key}}"}}]
teams:
  search:
    workspace: main
    keys: [{{name: prod, sha256: {digest}}}]
    models: ["claude-haiku-*"]
    limits: [{{requests_per_minute: 1000}}]
"""


def whole(body: bytes, status: bytes = b"200 OK", *headers: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 " + status, *headers, b"content-length: %d" % len(body), b"", b""]) + body


def error(kind: bytes) -> bytes:
    return b'{"type":"error","error":{"type":"%b","message":"MARKERerror API key"}}' % kind


# Each request meets the script of the same place: how Claude answers it, or does not.
SCRIPTS = {
    "answer": [read_request(), send(whole(COMPLETION)), close()],
    "stream": [read_request(), send(STREAM + b"%x\r\n%b\r\n0\r\n\r\n" % (len(EVENT), EVENT)), close()],
    "cut": [read_request(), send(STREAM + b"%x\r\n%b\r\n" % (len(EVENT), EVENT)), pause(0.05), reset()],
    "cut-event": [read_request(), send(STREAM + b"20\r\n" + EVENT[:32] + b"\r\n"), pause(0.05), close()],
    "page": [read_request(), send(whole(PAGE, b"502 MARKERreason")), close()],
    "overloaded": [read_request(), send(whole(error(b"overloaded_error"), b"529 Overloaded")), close()],
    "garbage": [read_request(), send(b"MARKERgarbage\r\n\r\n"), stall()],
    "bad-header": [read_request(), send(b"HTTP/1.1 200 OK\r\nMARKER header\r\n\r\n"), stall()],
    "reset": [read_request(), reset()],
    "bad-gzip": [read_request(), send(whole(b"MARKERgzip", b"200 OK", b"content-encoding: gzip")), close()],
    "upload": [read_head(), send(whole(error(b"request_too_large"), b"413 Too Large")), stall()],
    # Last, because a refused key is put aside.
    "revoked": [read_request(), send(whole(error(b"authentication_error"), b"401 Unauthorized")), close()],
    "scope": [read_request(), send(whole(error(b"permission_error"), b"403 Forbidden")), close()],
}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[tuple[Process, Scripted]]:
    async with Scripted([answer_all(whole(COMPLETION))]) as upstream:
        (tmp_path / "real-key").write_text(REAL_KEY)
        digest = sha256(TEAM_KEY.encode()).hexdigest()
        (tmp_path / "gateway.yaml").write_text(POLICY.format(url=upstream.url, digest=digest))
        settings = {"GATEWAY_LOG_LEVEL": "debug", "GATEWAY_HEAD_SECONDS": "1", "PYTHONASYNCIODEBUG": "1"}
        async with serve(tmp_path, "--config", "gateway.yaml", **settings) as process:
            await process.said("started")
            yield process, upstream


def searched(what: str, text: str) -> list[str]:
    """Where a marker stands, with what is around it."""
    return [f"{what}: …{text[max(0, text.find(m) - 80) : text.find(m) + 80]}…" for m in MARKERS if m in text]


async def raw(port: int, data: bytes, *, leave: bool = False) -> RawAnswer | None:
    async with RawClient(port) as client:
        client.send(data)
        if leave:
            await asyncio.sleep(0.05)
            client.abort()
            return None
        return await client.answer("POST")


async def test_answers_of_claude(gateway: tuple[Process, Scripted]) -> None:
    """However Claude answers, its words reach the client alone."""
    process, upstream = gateway
    port = int(str((await process.said("started"))["port"]))
    form = [(b"content-type", b"multipart/form-data; boundary=x")]
    message = request("POST", "/v1/messages?note=MARKERquery", [(b"x-note", b"MARKERheader")], PROMPT, key=TEAM_KEY)
    upload = request("POST", "/v1/files", form, FORM, key=TEAM_KEY)
    answers = {}
    for count, (name, script) in enumerate(SCRIPTS.items(), 1):
        upstream.scripts = [script]
        answers[name] = await raw(port, upload if name == "upload" else message)
        await process.said("request", count)
    process.child.terminate()
    await process.child.wait()
    await process.said("stopped")

    reached = {name for name, got in answers.items() if got is not None and b"MARKER" in got.body}
    ours = [got.body.decode() for got in answers.values() if got is not None and got.values(b"x-gateway-refused-by")]
    assert reached == {"answer", "stream", "cut", "overloaded", "bad-gzip", "upload"}
    assert len(ours) == 5
    assert [found for text in ours for found in searched("error", text)] == []
    assert searched("output", process.text) == []


async def test_requests_of_every_kind(gateway: tuple[Process, Scripted]) -> None:
    """Whatever a client sends, right or wrong, none of it is in an error, a line, a metric or on the ops pages."""
    process, _ = gateway
    started = await process.said("started")
    port, ops_port = int(str(started["port"])), int(str(started["ops_port"]))
    length = [(b"Content-Length", b"99")]
    wrong = [
        # refused before the body
        request("POST", "/v1/messages", body=PROMPT, key="gwk_MARKERunknown"),
        request("POST", "/v1/messages", [(b"Authorization", b"Bearer gwk_MARKERother")], PROMPT, key=TEAM_KEY),
        request("POST", "/v1/messages?api_key=MARKERquerykey", body=PROMPT),
        request("POST", "/v1/MARKERpath", body=PROMPT, key=TEAM_KEY),
        request("POST", "/v1/organizations/MARKERpath?x=MARKER", body=PROMPT, key=TEAM_KEY),
        request("GET", "/v1/files/MARKERfile", body=PROMPT, key=TEAM_KEY),
        request("PUT", "/v1/messages", body=PROMPT, key=TEAM_KEY),
        request("POST", "/v1/messages", [(b"Content-Encoding", b"MARKER")], PROMPT, key=TEAM_KEY),
        request("POST", "/v1/messages", [(b"Content-Encoding", b"gzip")], PROMPT, key=TEAM_KEY),
        request("POST", "/v1/messages", [(b"Content-Encoding", b"gzip")], gzip.compress(PROMPT)[:-9], key=TEAM_KEY),
        # refused by what the body says
        request("POST", "/v1/messages", body=PROMPT[:-1], key=TEAM_KEY),
        request("POST", "/v1/messages", body=b"MARKERtext", key=TEAM_KEY),
        request("POST", "/v1/messages", body=PROMPT[:-1] + b', "MARKERkey": 1, "MARKERkey": 1}', key=TEAM_KEY),
        request("POST", "/v1/messages", body=PROMPT[:-1] + b', "x": "\xffMARKER"}', key=TEAM_KEY),
        request("POST", "/v1/messages", body=PROMPT.replace(b'"claude-haiku-4-5"', b'["MARKER"]'), key=TEAM_KEY),
        request("POST", "/v1/messages", body=PROMPT[:-1] + b', "tools": [{"model": ["MARKER"]}]}', key=TEAM_KEY),
        request("POST", "/v1/messages/batches", body=BATCH[:-2], key=TEAM_KEY),
        request("POST", "/v1/agents", body=b'{"model": "claude-haiku-4-5", "name": "MARKER"', key=TEAM_KEY),
        # no requests at all
        b"GET /MARKER HTTP/1.1\r\nHost: a\r\nMARKER header\r\n\r\n",
        b"MARKER\r\n\r\n",
        b"GET /v1/models?a=\x01MARKER HTTP/1.1\r\nHost: a\r\nx-api-key: " + TEAM_KEY.encode() + b"\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: a\r\nx-api-key: " + TEAM_KEY.encode() + b"\r\nx: " + b"MARKER" * 50_000,
        b"GET /v1/models HTTP/1.1\r\nHost: a\r\nx-api-key: " + TEAM_KEY.encode() + b"\r\nx-late: MARKER",
        request("POST", "/v1/messages", [(b"Transfer-Encoding", b"chunked")], key=TEAM_KEY) + b"MARKER\r\n",
    ]
    ours = [await raw(port, sent) for sent in wrong]
    for sent in [
        request("POST", "/v1/messages", body=PROMPT, key=TEAM_KEY),
        request("POST", "/v1/messages", [(b"Content-Encoding", b"gzip")], gzip.compress(PROMPT), key=TEAM_KEY),
        request("POST", "/v1/messages/count_tokens", body=PROMPT, key=TEAM_KEY),
        request("POST", "/v1/messages/batches", body=BATCH, key=TEAM_KEY),
        request("POST", "/v1/files", [(b"content-type", b"multipart/form-data; boundary=x")], FORM, key=TEAM_KEY),
        request("POST", "/v1/agents", body=b'{"model": "claude-haiku-4-5", "system": "MARKER"}', key=TEAM_KEY),
        request("POST", "/v1/sessions/sesn_1/events", body=b'{"events": ["MARKER"]}', key=TEAM_KEY),
        request("GET", "/v1/files/file_MARKER/content", key=TEAM_KEY),
        request("GET", "/v1/models?after_id=MARKER", key=TEAM_KEY),
    ]:
        await raw(port, sent)
    for sent in [
        request("POST", "/v1/messages", length, key=TEAM_KEY) + PROMPT[:20],
        request("POST", "/v1/files", length, key=TEAM_KEY) + b"MARKER",
        b"GET /MARKER",
    ]:
        await raw(port, sent, leave=True)
    async with RawClient(ops_port) as ops:
        pages = [await ops.ask("GET", path) for path in ("/metrics", "/readyz", "/healthz", "/MARKER")]
    process.child.terminate()
    await process.child.wait()
    await process.said("stopped")

    refusals = [got for got in ours if got is not None and got.values(b"x-gateway-refused-by")]
    assert len(refusals) == len(ours)
    # A message may repeat to the client the path that it asked for, and nothing else of what it sent.
    said = [got.body.decode().replace("/v1/MARKERpath", "") for got in refusals]
    assert [found for text in said for found in searched("error", text)] == []
    assert [found for page in pages for found in searched("ops", page.body.decode())] == []
    assert searched("output", process.text) == []
    assert process.text.count('"event":"request"') >= len(ours)
