"""Real keys come and go, and no team sees it."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from gateway.core.teams import Policy, UpstreamKey, Workspace
from gateway.policy import Loaded
from tests.proxy.conftest import ASK, OTHER_KEY, Running, Start
from tests.proxy.test_retry import FINE, each, failing, post
from tests.raw import RawAnswer
from tests.wire.scripted import Scripted, Step, Wire, answer, read_request, serve

KEYS = tuple(UpstreamKey(name, f"sk-ant-api03-{name}") for name in ("k1", "k2", "k3"))
REVOKED = failing(b"401 x", "authentication_error", message="invalid x-api-key")
SCOPELESS = failing(b"403 x", "permission_error", code="api_key_scope_missing")
FORBIDDEN = failing(b"403 x", "permission_error", message="Your organization lacks this feature.")


def refusing(*names: str, refusal: bytes = REVOKED, fine: bytes = FINE) -> Step:
    """An upstream that refuses these keys and takes all others."""
    read = read_request()

    async def step(wire: Wire) -> None:
        while True:
            await read(wire)
            bad = key_of(wire.upstream.requests[-1].values(b"x-api-key")) in names
            wire.writer.write(refusal if bad else fine)
            await wire.writer.drain()

    return step


def key_of(values: list[bytes]) -> str:
    (value,) = values
    return value.decode().rpartition("-")[2]


def used(upstream: Scripted) -> list[str]:
    return [key_of(received.values(b"x-api-key")) for received in upstream.requests]


def events(gateway: Running, name: str) -> list[dict[str, Any]]:
    return [line for line in gateway.lines if line["event"] == name]


async def billing(gateway: Running) -> RawAnswer:
    return await gateway.ask("POST", "/v1/messages", body=ASK, key=OTHER_KEY)


@pytest.mark.parametrize("refusal", [REVOKED, SCOPELESS], ids=["401", "403-scope"])
async def test_a_refused_key_is_left_at_once(start: Start, refusal: bytes) -> None:
    """The request that met it moves on, the next ones never try it; one log line and a metric say so."""
    async with Scripted([refusing("k1", "k2", refusal=refusal)]) as upstream:
        gateway = await start(upstream.url, workspace={"keys": KEYS})
        statuses = [(await post(gateway)).status for _ in range(3)]
        lines = await gateway.requests(3)
        benched = events(gateway, "key_benched")

    assert [200] * 3 == statuses
    assert used(upstream)[-3:] == ["k3"] * 3
    assert len(upstream.requests) <= 5
    assert {"k3"} == {line["upstream_key"] for line in lines}
    assert len(benched) == len({line["key"] for line in benched}) == len(upstream.requests) - 3
    for line in benched:
        assert 1 == gateway.metric("gateway_workspace_key", workspace="main", key=line["key"], state="benched")
        assert 0 == gateway.metric("gateway_workspace_key", workspace="main", key=line["key"], state="active")
    assert None is gateway.metric("gateway_retries_total", workspace="main", reason="key")
    assert None is gateway.metric("gateway_retry_budget", workspace="main")


async def test_every_key_refused(start: Start) -> None:
    """When none is left the team is told whose fault it is, and nothing more is sent for half a minute."""
    async with Scripted([serve(REVOKED)]) as upstream:
        gateway = await start(upstream.url, workspace={"keys": KEYS})
        first, second = await post(gateway), await post(gateway)

    assert (503, "api_error") == first.error[:2] == second.error[:2]
    assert sorted(used(upstream)) == ["k1", "k2", "k3"]
    assert "30" == second.value(b"retry-after").decode()
    assert "sk-ant" not in str(gateway.lines)


async def test_other_refusals_bench_nothing(start: Start) -> None:
    """A 403 about the request, a 429 and a 529 are no fault of the key."""
    rate = failing(b"429 x", "rate_limit_error")
    async with Scripted(each(FORBIDDEN, rate, FINE)) as upstream:
        gateway = await start(upstream.url, workspace={"keys": KEYS})
        statuses = [(await post(gateway)).status for _ in range(3)]

    assert [403, 429, 200] == statuses
    assert 1 == len(set(used(upstream)))
    assert [] == events(gateway, "key_benched")


async def test_a_team_sticks_to_its_key(start: Start) -> None:
    """All requests of a team go out with one key, whatever their number."""
    async with Scripted([serve(FINE)]) as upstream:
        gateway = await start(upstream.url, workspace={"keys": KEYS})
        await asyncio.gather(*(post(gateway) for _ in range(20)))

    assert 1 == len(set(used(upstream)))


async def test_an_upload_does_not_move_on(start: Start) -> None:
    """A streamed body can't be sent twice: the client is told, and the next upload takes another key."""
    async with Scripted([refusing("k1", "k2")]) as upstream:
        gateway = await start(upstream.url, workspace={"keys": KEYS[1:]})
        head = [(b"content-type", b"multipart/form-data; boundary=x")]
        got = [await gateway.ask("POST", "/v1/files", head, b"abc") for _ in range(2)]

    assert ([503, 200] if len(upstream.requests) == 2 and used(upstream)[0] == "k2" else [200, 200]) == [
        answer.status for answer in got
    ]


async def test_an_operators_word(start: Start) -> None:
    """Drain, bench and activate take hold with the next request, and are told with the states."""
    async with Scripted([serve(FINE)]) as upstream:
        gateway = await start(upstream.url, workspace={"keys": KEYS[:2]})
        up, main = gateway.app.upstream, gateway.app.policy.workspaces["main"]
        await post(gateway)
        first = used(upstream)[-1]
        up.set_key(main, first, "draining")
        await post(gateway)
        second = used(upstream)[-1]
        up.set_key(main, second, "benched")
        await post(gateway)
        states = up.states(gateway.app.policy)["main"]["keys"]
        up.set_key(main, second, "active")
        await post(gateway)
        with pytest.raises(KeyError, match="no key 'k9'"):
            up.set_key(main, "k9", "active")

    assert [first, second, first, second] == used(upstream)
    assert first != second
    assert ("draining", "benched") == (states[first]["state"], states[second]["state"])
    assert "sk-ant" not in str(states)


def with_keys(policy: Policy, *keys: UpstreamKey) -> Loaded:
    main = replace(policy.workspaces["main"], keys=keys)
    return Loaded(replace(policy, workspaces={"main": main}), (), {})


async def test_a_changed_secret_is_a_new_key(start: Start) -> None:
    """A reload puts the next request on the new secret; what the old one was blamed for is forgotten."""
    old, new = UpstreamKey("k1", "sk-ant-api03-old"), UpstreamKey("k1", "sk-ant-api03-new")
    async with Scripted([refusing("old")]) as upstream:
        gateway = await start(upstream.url, workspace={"keys": (old,)})
        before = await post(gateway)
        gateway.app.adopt(with_keys(gateway.app.policy, new))
        after = await post(gateway)

    assert (503, 200) == (before.status, after.status)
    assert ["old", "new"] == used(upstream)
    assert 1 == gateway.metric("gateway_workspace_key", workspace="main", key="k1", state="active")


async def test_workspaces_without_keys_say_so(start: Start) -> None:
    """An empty pool is the platform team's to fill."""
    gateway = await start("http://127.0.0.1:9", workspace={"keys": ()})
    got = await post(gateway)

    assert (503, "Workspace 'main' has no key. The platform team must add one to the gateway's policy.") == (
        got.error[0],
        got.error[2],
    )


def spare(url: str, *, name: str = "spare") -> Workspace:
    return Workspace(name, base_url=url, keys=(UpstreamKey("s1", f"sk-ant-api03-{name}"),))


def limited(seconds: int) -> bytes:
    return failing(b"429 x", "rate_limit_error", b"retry-after: %d" % seconds)


class TestRests:
    async def test_a_limit_rests_its_lane(self, start: Start) -> None:
        """After a 429 the class is not asked again before its time: the gateway answers, truly; other classes go on."""
        async with Scripted([*each(limited(20)), serve(FINE)]) as upstream:
            gateway = await start(upstream.url)
            first, second = await post(gateway), await post(gateway)
            other = await gateway.ask("POST", "/v1/messages", body=ASK.replace(b"opus-5", b"sonnet-5"))
            counted = await gateway.ask("POST", "/v1/messages/count_tokens", body=ASK)
            (line,) = events(gateway, "rest")

        assert [429, 429, 200, 200] == [got.status for got in (first, second, other, counted)]
        assert (429, "rate_limit_error") == second.error[:2]
        assert 19 <= int(second.value(b"retry-after")) <= 20
        assert (b"limit", 3) == (second.value(b"x-gateway-refused-by"), len(upstream.requests))
        assert ("lane", "opus-5", "rate_limited") == (line["scope"], line["model_class"], line["reason"])
        assert 1 == gateway.metric("gateway_rests_total", workspace="main", reason="rate_limited")
        assert gateway.metric("gateway_rest_until_timestamp_seconds", workspace="main", model_class="opus-5")

    async def test_a_short_rest_is_over_soon(self, start: Start) -> None:
        """A 429 of a second is repeated by the request that met it, after that second."""
        async with Scripted(each(limited(1), FINE, FINE)) as upstream:
            gateway = await start(upstream.url)
            statuses = [(await post(gateway)).status for _ in range(2)]

        assert ([200, 200], 3) == (statuses, len(upstream.requests))

    @pytest.mark.parametrize(("whose", "asked"), [("", 1), ("workspace ", 2)], ids=["organization", "workspace"])
    async def test_a_usage_limit_rests_wide(self, start: Start, whose: str, asked: int) -> None:
        """Its text rests the workspace until the date, and the sister workspaces too when the organization is meant:
        they are told the same words without a call."""
        date = "You will regain access on 2099-01-01 at 00:00 UTC."
        text = f"You have reached your specified {whose}API usage limits. {date}"
        used_up = failing(b"400 x", "invalid_request_error", b"anthropic-organization-id: org-1", message=text)
        known = answer(b"{}", b"200 OK", b"anthropic-organization-id: org-1")
        async with Scripted(each(known, used_up)) as upstream, Scripted([serve(known)]) as sister:
            gateway = await start(upstream.url, others=(spare(sister.url),))
            policy = gateway.app.policy
            team = replace(policy.teams["billing"], workspace="spare")
            keys = {digest: (team if t.name == "billing" else t, key) for digest, (t, key) in policy.keys.items()}
            gateway.app.policy = replace(policy, keys=keys)
            await post(gateway)
            await billing(gateway)
            first, again, other = await post(gateway), await post(gateway), await billing(gateway)
            (line,) = events(gateway, "rest")

        assert (400, text) == (first.status, first.json["error"]["message"])
        assert (400, "invalid_request_error", text) == again.error
        assert b"false" == again.value(b"x-should-retry")
        assert (2, asked) == (len(upstream.requests), len(sister.requests))
        assert (400 if asked == 1 else 200) == other.status
        assert "usage_limit" == line["reason"]
        assert ("org-1" if asked == 1 else None) == line["organization"]
