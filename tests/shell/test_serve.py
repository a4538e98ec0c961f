"""The gateway as a process: how a newcomer starts it and how an orchestrator stops it."""

import asyncio
import json
import os
import re
import signal
import ssl
import stat
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from gateway.serve import first_key
from tests.raw import RawAnswer, RawClient

ROOT = Path(__file__).parents[2]
ASK = b'{"model": "claude-haiku-4-5", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}'


@dataclass
class Process:
    """A started gateway and what it printed so far."""

    child: asyncio.subprocess.Process
    printed: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.printed)

    @property
    def key(self) -> str:
        return self.text.partition("ANTHROPIC_API_KEY=")[2].split()[0]

    async def said(self, event: str, count: int = 1) -> dict[str, object]:
        """The line of an event, when it was printed `count` times."""
        async with asyncio.timeout(30):
            while len(lines := [line for line in self.printed if f'"event":"{event}"' in line]) < count:
                await asyncio.sleep(0.02)
        value: dict[str, object] = json.loads(lines[count - 1])
        return value

    async def ask(self, method: str, target: str, body: bytes = b"", *, key: str | None = None) -> RawAnswer:
        port = int(str((await self.said("started"))["port"]))
        async with RawClient(port) as client:
            return await client.ask(method, target, [(b"anthropic-version", b"2023-06-01")], body, key=key or self.key)


@asynccontextmanager
async def serve(directory: Path, *arguments: str, **env: str) -> AsyncIterator[Process]:
    base = {name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "ANTHROPIC_"))}
    settings = {"GATEWAY_PORT": "0", "GATEWAY_OPS_PORT": "0", "GATEWAY_DRAIN_DELAY_SECONDS": "0"}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "serve", *arguments,
        cwd=directory, env={**base, "PYTHONPATH": str(ROOT), **settings, **env},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, stdin=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    process = Process(child)

    async def read() -> None:
        assert child.stdout is not None
        while line := await child.stdout.readline():
            process.printed.append(line.decode())

    reading = asyncio.create_task(read())
    try:
        yield process
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()
        await reading


async def test_first_start_without_a_key(tmp_path: Path) -> None:
    """Without a real key the simulator answers, and both the start and every answer say so."""
    async with serve(tmp_path) as gateway:
        await gateway.said("started")
        got = await gateway.ask("POST", "/v1/messages", ASK)

        assert "answers come from the SIMULATOR" in gateway.text
        assert "export ANTHROPIC_BASE_URL=http://127.0.0.1:" in gateway.text
        assert (got.status, got.value(b"x-gateway-upstream")) == (200, b"simulator")
        first_key = gateway.key

    kept = tmp_path / ".state" / "team-key"
    assert kept.read_text().strip() == first_key
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600

    async with serve(tmp_path) as gateway:
        await gateway.said("started")
        assert gateway.key == first_key


async def test_first_start_with_a_key(tmp_path: Path) -> None:
    """With a real key requests go to the real API, and the key is printed nowhere."""
    async with serve(tmp_path, ANTHROPIC_API_KEY="sk-ant-api03-planted") as gateway:
        started = await gateway.said("started")

        assert started["upstream"] == ["https://api.anthropic.com"]
        assert "Requests go to the real Claude API" in gateway.text
        assert "sk-ant-api03-planted" not in gateway.text


async def test_own_key_is_no_real_key(tmp_path: Path) -> None:
    """Started in a shell that follows its own welcome, the gateway does not take itself for Claude."""
    state = tmp_path / ".state"
    state.mkdir()
    (state / "team-key").write_text("gwk_drawn_before\n")
    own = {"ANTHROPIC_API_KEY": "gwk_drawn_before", "ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}
    async with serve(tmp_path, **own) as gateway:
        await gateway.said("started")
        got = await gateway.ask("POST", "/v1/messages", ASK)
        warning = await gateway.said("settings")

    assert (got.status, got.value(b"x-gateway-upstream")) == (200, b"simulator")
    assert "ANTHROPIC_API_KEY is the gateway's own team key" in str(warning["warning"])


def test_first_key_is_whole_or_not_there(tmp_path: Path) -> None:
    """However many starts race for the first key, there is one, and nothing else is left behind."""
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(first_key, [tmp_path / "state"] * 32))

    assert [path.name for path in (tmp_path / "state").iterdir()] == ["team-key"]
    assert keys == {(tmp_path / "state" / "team-key").read_text().strip()}
    assert all(re.fullmatch(r"gwk_[A-Za-z0-9_-]{43}", key) for key in keys)


async def test_tls_on_both_listeners(tmp_path: Path) -> None:
    """With a certificate both listeners speak TLS, and so does the URL that a newcomer pastes."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with serve(tmp_path, GATEWAY_TLS_CERT="cert.pem", GATEWAY_TLS_KEY="key.pem") as gateway:
        started = await gateway.said("started")
        heads = []
        for port in (started["port"], started["ops_port"]):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(str(port)), ssl=context)
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            heads.append(await reader.readline())
            writer.close()

    assert f"https://127.0.0.1:{started['port']}" in gateway.text
    assert heads == [b"HTTP/1.1 401 Unauthorized\r\n", b"HTTP/1.1 200 OK\r\n"]


async def test_sigterm_ends_with_zero(tmp_path: Path) -> None:
    """SIGTERM drains and exits 0; the simulator of a first start goes with it."""
    async with serve(tmp_path) as gateway:
        await gateway.said("started")
        gateway.child.send_signal(signal.SIGTERM)

        assert await asyncio.wait_for(gateway.child.wait(), 20) == 0
        await gateway.said("stopped")


async def test_policy_file_is_followed(tmp_path: Path) -> None:
    """A changed file counts for new requests within a second or so; a faulty one is reported and changes nothing."""
    config = tmp_path / "gateway.yaml"
    digest = "1b2db0ea3a1a4c8b4b8d8e4ac8d9b9d1a2f7a6b7a4b6c5d4e3f2a1b0c9d8e7f6"
    text = (
        "workspaces:\n  main:\n    base_url: http://127.0.0.1:9\n    keys: [{name: k1, secret: sk-ant-x}]\n"
        "teams:\n  search:\n    workspace: main\n    keys: [{name: prod, sha256: DIGEST}]\n"
        "    limits: [{requests_per_minute: 600}]\n"
    ).replace("DIGEST", digest)
    config.write_text(text)
    async with serve(tmp_path, "--config", str(config)) as gateway:
        await gateway.said("started")
        config.write_text(text + "    colour: blue\n")
        faulty = await gateway.said("reload")
        config.write_text(text + "    models: [claude-haiku-*]\n")
        good = await gateway.said("reload", 2)
        gateway.child.send_signal(signal.SIGHUP)
        await gateway.said("reload", 3)

    assert "gateway.yaml:10" in str(faulty["faults"])
    assert "colour" in str(faulty["faults"])
    assert good["teams"] == 1


@pytest.mark.parametrize(
    ("env", "why"),
    [
        ({"GATEWAY_PORT": "many"}, "GATEWAY_PORT: must be a whole number"),
        ({"GATEWAY_WORKERS": "2"}, "GATEWAY_WORKERS: 2 workers need a shared store"),
        ({"GATEWAY_CONFIG": "missing.yaml"}, "missing.yaml"),
        ({"GATEWAY_TLS_CERT": "missing.pem", "GATEWAY_TLS_KEY": "missing.key"}, "could not start"),
    ],
)
async def test_start_that_fails(tmp_path: Path, env: dict[str, str], why: str) -> None:
    """What keeps the gateway from starting is said in one line, with exit code 2 and no traceback."""
    async with serve(tmp_path, **env) as gateway:
        code = await asyncio.wait_for(gateway.child.wait(), 30)

    assert code == 2
    assert why in gateway.text
    assert "Traceback" not in gateway.text
