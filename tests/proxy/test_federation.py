"""Workload identity: no key anywhere, a token that is always there, and one exchange for all who need it."""

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.core.teams import Federation, UpstreamKey
from gateway.policy import Loaded
from tests.proxy.conftest import Running, Start
from tests.proxy.test_keys import REVOKED, events
from tests.proxy.test_retry import FINE, failing, post
from tests.until import until
from tests.wire.scripted import Received, Scripted, Step, Wire, answer, read_request, serve

DENIED = failing(b"401 x", "authentication_error", message="Authentication failed")


@dataclass
class Claude:
    """Exchanges identity tokens and takes only what it gave out."""

    lifetime: float = 3600.0
    refusing: bool = False  # every exchange is denied
    broken: bool = False  # every exchange is a 500
    patience: asyncio.Event | None = None
    exchanges: list[dict[str, Any]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    revoked: set[str] = field(default_factory=set)
    heads: list[Received] = field(default_factory=list)

    def script(self) -> list[Step]:
        read = read_request()

        async def step(wire: Wire) -> None:
            while True:
                await read(wire)
                wire.writer.write(await self.say(wire.upstream.requests[-1]))
                await wire.writer.drain()

        return [step]

    async def say(self, received: Received) -> bytes:
        self.heads.append(received)
        if received.line.startswith(b"POST /v1/oauth/token "):
            if self.patience is not None:
                await self.patience.wait()
            if self.broken:
                return failing(b"500 x", "api_error")
            if self.refusing:
                return DENIED
            self.exchanges.append(msgspec.json.decode(received.body))
            token = f"sk-ant-oat01-{len(self.exchanges)}"
            return answer(
                msgspec.json.encode({"access_token": token, "token_type": "Bearer", "expires_in": self.lifetime})
            )
        (bearer,) = received.values(b"authorization")
        self.calls.append(bearer.decode().removeprefix("Bearer "))
        return REVOKED if self.calls[-1] in self.revoked else FINE


def identity(folder: Path, token: str = "header.claims.signature") -> UpstreamKey:
    (folder / "token").write_text(token + "\n")
    federation = Federation(
        str(folder / "token"), "fdrl_1", "01234567-89ab-cdef-0123-456789abcdef", "svac_1", "default"
    )
    return UpstreamKey("wif", "", federation)


async def begin(start: Start, upstream: Scripted, folder: Path) -> Running:
    return await start(upstream.url, workspace={"keys": (identity(folder),)})


async def test_a_token_is_there_before_the_first_request(start: Start, tmp_path: Path) -> None:
    """The exchange is made at the start; calls carry the token as bearer, with its beta, and no key."""
    claude = Claude()
    async with Scripted(claude.script()) as upstream:
        gateway = await begin(start, upstream, tmp_path)
        await until(lambda: claude.exchanges)
        got = await post(gateway, [(b"anthropic-beta", b"context-1m-2025-08-07")])

    exchange, call = claude.heads
    assert (200, 2) == (got.status, len(claude.heads))
    assert claude.exchanges == [
        {
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "assertion": "header.claims.signature",
            "federation_rule_id": "fdrl_1",
            "organization_id": "01234567-89ab-cdef-0123-456789abcdef",
            "service_account_id": "svac_1",
            "workspace_id": "default",
        }
    ]
    assert exchange.values(b"anthropic-beta") == [b"oauth-2025-04-20,oidc-federation-2026-04-01"]
    assert call.values(b"authorization") == [b"Bearer sk-ant-oat01-1"]
    assert call.values(b"anthropic-beta") == [b"context-1m-2025-08-07", b"oauth-2025-04-20"]
    assert [] == call.values(b"x-api-key")
    assert 1 == gateway.metric("gateway_token_exchanges_total", workspace="main", key="wif", result="ok")


async def test_one_exchange_for_all(start: Start, tmp_path: Path) -> None:
    """Twenty requests that find no token wait for one exchange."""
    claude = Claude(patience=asyncio.Event())
    async with Scripted(claude.script()) as upstream:
        gateway = await begin(start, upstream, tmp_path)
        asking = [asyncio.create_task(post(gateway)) for _ in range(20)]
        await upstream.asked(1)
        await asyncio.sleep(0.05)
        assert claude.patience is not None
        claude.patience.set()
        statuses = [(await each).status for each in asking]

    assert ([200] * 20, 1) == (statuses, len(claude.exchanges))


async def test_it_is_renewed_ahead(start: Start, tmp_path: Path) -> None:
    """At half of a short life the next token is there, made from the identity file as it is then."""
    claude = Claude(lifetime=0.4)
    async with Scripted(claude.script()) as upstream:
        gateway = await begin(start, upstream, tmp_path)
        await until(lambda: claude.exchanges)
        identity(tmp_path, "header.claims.second")
        await until(lambda: len(claude.exchanges) >= 2)
        claude.patience = asyncio.Event()  # from here on an exchange would be waited for
        got = await asyncio.wait_for(post(gateway), 1)

    assert (200, "header.claims.second") == (got.status, claude.exchanges[1]["assertion"])


async def test_one_forced_renewal_on_401(start: Start, tmp_path: Path) -> None:
    """A token that Claude no longer takes is replaced once, and the team sees nothing."""
    claude = Claude(revoked={"sk-ant-oat01-1"})
    async with Scripted(claude.script()) as upstream:
        gateway = await begin(start, upstream, tmp_path)
        await until(lambda: claude.exchanges)
        statuses = [got.status for got in await asyncio.gather(*(post(gateway) for _ in range(5)))]

    assert ([200] * 5, 2) == (statuses, len(claude.exchanges))
    assert [] == events(gateway, "key_benched")


async def test_a_second_401_benches(start: Start, tmp_path: Path) -> None:
    """When the new token is refused as well the key is at fault: the next key, or the platform team."""
    claude = Claude(revoked={f"sk-ant-oat01-{n}" for n in range(9)})
    async with Scripted(claude.script()) as upstream:
        gateway = await begin(start, upstream, tmp_path)
        await until(lambda: claude.exchanges)
        got = await post(gateway)

    assert (503, "api_error") == got.error[:2]
    assert (2, 2, 1) == (len(claude.exchanges), len(claude.calls), len(events(gateway, "key_benched")))


@pytest.mark.parametrize("trouble", ["refusing", "no file", "empty file", "huge file"])
async def test_no_token_to_be_had(start: Start, tmp_path: Path, trouble: str) -> None:
    """A denial or a missing identity is the platform team's to mend: 503, said once per attempt, the token never."""
    claude = Claude(refusing=trouble == "refusing")
    key = identity(tmp_path, {"empty file": "", "huge file": "x" * 20_000}.get(trouble, "header.claims.signature"))
    if trouble == "no file":
        (tmp_path / "token").unlink()
    async with Scripted(claude.script()) as upstream:
        gateway = await start(upstream.url, workspace={"keys": (key,)})
        got = await post(gateway)
        failed = events(gateway, "token_exchange_failed")

    assert (503, "api_error") == got.error[:2]
    assert failed
    assert "header.claims" not in str(gateway.lines)
    assert "xxxx" not in str(gateway.lines)


async def test_an_endpoint_that_breaks_is_asked_again(start: Start, tmp_path: Path) -> None:
    """A 500 there is like a connection that fails: repeated within the request, and 502 if it stays so."""
    claude = Claude(broken=True)
    async with Scripted(claude.script()) as upstream:
        gateway = await begin(start, upstream, tmp_path)
        got = await post(gateway)
        claude.broken = False
        later = await post(gateway)

    assert (502, 200) == (got.status, later.status)


async def test_a_reload_may_bring_it(start: Start, tmp_path: Path) -> None:
    """A federated key that comes with a reload has its token, one that goes has its keeper stopped."""
    claude = Claude()
    async with Scripted(claude.script()) as upstream:
        gateway = await start(upstream.url)
        policy = gateway.app.policy
        main = replace(policy.workspaces["main"], keys=(identity(tmp_path),))
        gateway.app.adopt(Loaded(replace(policy, workspaces={"main": main}), (), {}))
        await until(lambda: claude.exchanges)
        got = await post(gateway)
        gateway.app.adopt(Loaded(policy, (), {}))

    assert 200 == got.status
    assert {} == gateway.app.upstream.tokens._keepers


@pytest.mark.parametrize(
    "said",
    [b"", b"[]", b"{}", b'{"access_token": 1, "expires_in": 60}', b'{"access_token": "a", "expires_in": 0}',
     b'{"access_token": "a\\nb", "expires_in": 60}'],
)  # fmt: skip
async def test_answers_without_a_token(start: Start, tmp_path: Path, said: bytes) -> None:
    """Whatever the endpoint says, a header is made only of a printable token with a life."""
    async with Scripted([serve(answer(said))]) as upstream:
        gateway = await begin(start, upstream, tmp_path)
        got = await post(gateway)

    assert 503 == got.status
