"""Calm under an outage: few calls go out, the others are told the truth, and it is over soon after it is over."""

import asyncio
import time
from dataclasses import dataclass, field, replace

import pytest

from gateway.core.limits import Bucket, Kind
from tests.proxy.conftest import ASK, Running, Start
from tests.proxy.test_keys import billing, events, limited, spare
from tests.proxy.test_retry import FINE, OVERLOADED, each, failing, post
from tests.wire.scripted import Scripted, Step, Wire, answer, read_request, serve

STUBBORN = [(b"x-stainless-retry-count", b"2")]  # a client that gets no extra attempts
BARE = answer(b"{}", b"200 OK")


@dataclass
class Claude:
    """An upstream whose answer is set while it runs."""

    say: bytes = FINE
    seconds: float = 0.0
    every_second: bool = False  # every second call is refused
    most: int = 0
    asked: int = 0
    _now: int = field(default=0)

    def script(self) -> list[Step]:
        read = read_request()

        async def step(wire: Wire) -> None:
            while True:
                await read(wire)
                self.asked += 1
                self._now += 1
                self.most = max(self.most, self._now)
                say = OVERLOADED if self.every_second and self.asked % 2 else self.say
                await asyncio.sleep(self.seconds)
                self._now -= 1
                wire.writer.write(say)
                await wire.writer.drain()

        return [step]


async def asked(gateway: Running, times: int) -> list[int]:
    return [(await post(gateway, STUBBORN)).status for _ in range(times)]


async def test_an_outage_is_met_by_the_breaker(start: Start) -> None:
    """After ten failures the gateway answers by itself, with a wait that is true; a probe finds Claude back."""
    claude = Claude(OVERLOADED)
    async with Scripted(claude.script()) as upstream:
        gateway = await start(upstream.url)
        statuses = await asked(gateway, 10)
        refused = await post(gateway, STUBBORN)
        counted = await gateway.ask("POST", "/v1/messages/count_tokens", body=ASK, headers=STUBBORN)
        calls = len(upstream.requests)
        open_then = gateway.metric("gateway_breaker_open", workspace="main", model_class="opus-5")
        claude.say = FINE
        await asyncio.sleep(float(refused.value(b"retry-after")))
        back = await asked(gateway, 2)

    assert ([529] * 10, 11) == (statuses, calls)
    assert (529, "overloaded_error") == refused.error[:2]
    assert (b"true", b"gateway") == (refused.value(b"x-should-retry"), refused.value(b"x-gateway-refused-by"))
    assert 529 == counted.status  # counting is a lane of its own, so Claude itself said this
    assert b"x-gateway-refused-by" not in {name for name, _ in counted.headers}
    assert [200, 200] == back
    assert (1, 0) == (open_then, gateway.metric("gateway_breaker_open", workspace="main", model_class="opus-5"))
    assert [1, 1] == [len(events(gateway, name)) for name in ("breaker_open", "breaker_closed")]


async def test_a_refused_connection_counts_too(start: Start) -> None:
    """An upstream that is gone opens the breaker as well as one that refuses."""
    async with Scripted([]) as upstream:
        url = upstream.url
    gateway = await start(url)
    statuses = await asked(gateway, 12)

    assert [502] * 10 + [529] * 2 == statuses


async def test_client_errors_do_not_count(start: Start) -> None:
    """A team that sends nonsense opens no breaker."""
    async with Scripted([serve(failing(b"400 x", "invalid_request_error"))]) as upstream:
        gateway = await start(upstream.url)

        assert [400] * 15 == await asked(gateway, 15)


async def test_many_refusals_narrow_the_lane(start: Start) -> None:
    """While over 30 % are refused only half as many calls run at once; the rest wait their turn and are served."""
    claude = Claude(FINE, seconds=0.05)
    async with Scripted(claude.script()) as upstream:
        gateway = await start(upstream.url)
        claude.every_second = True
        await asyncio.gather(*(post(gateway, STUBBORN) for _ in range(60)))
        window = gateway.metric("gateway_concurrency_window", workspace="main", model_class="opus-5")
        claude.every_second, claude.most = False, 0
        got = await asyncio.gather(*(post(gateway, STUBBORN) for _ in range(40)))
        wide = gateway.metric("gateway_concurrency_window", workspace="main", model_class="opus-5")

    assert window is not None
    assert 2 <= window <= 30
    assert [200] * 40 == [each.status for each in got]
    assert claude.most < 40
    assert 0 == wide


class TestFailover:
    async def test_a_resting_workspace_is_stood_in_for(self, start: Start) -> None:
        """A team that opted in is served by the spare workspace while its own rests; the other team is refused."""
        async with Scripted(each(limited(30), FINE)) as upstream, Scripted([serve(FINE)]) as other:
            home = {"failover": ("spare",)}
            gateway = await start(upstream.url, workspace=home, others=(spare(other.url),), failover=True)
            statuses = [(await post(gateway)).status for _ in range(3)]
            lines = await gateway.requests(3)
            refused = await billing(gateway)

        assert ([200] * 3, 429) == (statuses, refused.status)
        assert (1, 3) == (len(upstream.requests), len(other.requests))
        assert [("spare", "s1")] * 3 == [(line["workspace"], line["upstream_key"]) for line in lines]
        assert [2, 1, 1] == [line["attempts"] for line in lines]
        assert b"sk-ant-api03-spare" == other.requests[0].values(b"x-api-key")[0]
        assert 1 == gateway.metric("gateway_retries_total", workspace="spare", reason="resting")
        # The first request was a repeat there and cost one; the later two deposited and were never sent home.
        assert 49.5 == gateway.metric("gateway_retry_budget", workspace="main")

    @pytest.mark.parametrize(
        "body",
        [
            ASK.replace(b'"model"', b'"container": "container_1", "model"'),
            ASK.replace(b'"Hi"', b'[{"type":"document","source":{"type":"file","file_id":"file_1"}}]'),
            ASK.replace(b'"model"', b'"thread": {"type":"continue","previous_message_id":"msg_1"}, "model"'),
        ],
        ids=["container", "file", "thread"],
    )
    async def test_what_lives_in_a_workspace_stays(self, start: Start, body: bytes) -> None:
        """A request that names a file, a container or a thread would find nothing elsewhere."""
        async with Scripted([serve(limited(30))]) as upstream, Scripted([serve(FINE)]) as other:
            home = {"failover": ("spare",)}
            gateway = await start(upstream.url, workspace=home, others=(spare(other.url),), failover=True)
            got = [await gateway.ask("POST", "/v1/messages", body=body) for _ in range(2)]

        assert ([429, 429], 0) == ([each.status for each in got], len(other.requests))

    async def test_the_second_repeat_goes_elsewhere(self, start: Start) -> None:
        """One repeat at home, where the prompt caches are, the next one in the spare workspace."""
        async with Scripted([serve(OVERLOADED)]) as upstream, Scripted([serve(FINE)]) as other:
            home = {"failover": ("spare",)}
            gateway = await start(upstream.url, workspace=home, others=(spare(other.url),), failover=True)
            got = await post(gateway)

        assert (200, 2, 1) == (got.status, len(upstream.requests), len(other.requests))

    async def test_an_outage_at_home(self, start: Start) -> None:
        """While the breaker is open every request goes straight to the spare workspace and costs no retry."""
        async with Scripted([serve(OVERLOADED)]) as upstream, Scripted([serve(FINE)]) as other:
            home = {"failover": ("spare",)}
            gateway = await start(upstream.url, workspace=home, others=(spare(other.url),), failover=True)
            for _ in range(5):
                await post(gateway)
            before, budget = len(upstream.requests), gateway.metric("gateway_retry_budget", workspace="main")
            began = time.monotonic()
            statuses = {got.status for got in await asyncio.gather(*(post(gateway) for _ in range(30)))}
            probes = int((time.monotonic() - began) / 0.5) + 1

        assert ({200}, 10) == (statuses, before)
        assert len(upstream.requests) <= before + 2 * probes
        assert budget is not None
        after = gateway.metric("gateway_retry_budget", workspace="main")
        assert after is not None
        assert after >= budget - 2 * probes

    async def test_where_the_money_and_the_units_go(self, start: Start) -> None:
        """Team and key count once, the request unit stays taken at home and is taken again there, the slot moves; all
        asserted on the store (ledger protocol, section 7)."""
        team = Bucket("team:search", Kind.REQUESTS, "*", 100)
        mine = [Bucket("workspace:main", kind, "*", 100) for kind in (Kind.REQUESTS, Kind.SLOTS, Kind.OUTPUT)]
        theirs = [Bucket("workspace:spare", kind, "*", 100) for kind in (Kind.REQUESTS, Kind.SLOTS, Kind.OUTPUT)]
        async with Scripted([serve(limited(30))]) as upstream, Scripted([serve(FINE)]) as other:
            gateway = await start(
                upstream.url,
                workspace={"failover": ("spare",), "buckets": tuple(mine)},
                others=(replace(spare(other.url), buckets=tuple(theirs)),),
                failover=True,
                buckets=(team,),
            )
            assert 200 == (await post(gateway)).status
            await gateway.requests(1)
            levels = (await gateway.app._ledger.peek([team, *mine, *theirs], ())).levels
            holders = await gateway.app._ledger.holders("search")

        left = [level.remaining for level in levels]
        # FINE says 5 output tokens; buckets refill by a unit or so meanwhile.
        assert [99, 99, 100, 100, 99, 100, 95] == pytest.approx(left, abs=1)
        assert [] == holders

    async def test_a_full_spare_is_no_help(self, start: Start) -> None:
        """Without room in the other workspace's limits the team sees its own workspace's refusal."""
        full = Bucket("workspace:spare", Kind.REQUESTS, "*", 1)
        async with Scripted([serve(limited(30))]) as upstream, Scripted([serve(FINE)]) as other:
            gateway = await start(
                upstream.url,
                workspace={"failover": ("spare",)},
                others=(replace(spare(other.url), buckets=(full,)),),
                failover=True,
            )
            statuses = [(await post(gateway)).status for _ in range(3)]

        assert ([200, 429, 429], 1) == (statuses, len(other.requests))

    async def test_the_emptier_of_two(self, start: Start) -> None:
        """Of the failover list the first is asked, unless it is nearly full and the other is not."""
        tight = answer(
            b"{}", b"200 OK", b"anthropic-ratelimit-requests-limit: 100", b"anthropic-ratelimit-requests-remaining: 5"
        )
        async with (
            Scripted([serve(limited(30))]) as upstream,
            Scripted([serve(tight)]) as first,
            Scripted([serve(BARE)]) as second,
        ):
            gateway = await start(
                upstream.url,
                workspace={"failover": ("one", "two")},
                others=(spare(first.url, name="one"), spare(second.url, name="two")),
                failover=True,
            )
            for _ in range(4):
                assert 200 == (await post(gateway)).status
            share = gateway.metric(
                "gateway_upstream_headroom_ratio", workspace="one", model_class="opus-5", limit="requests"
            )

        assert (1, 3, 0.05) == (len(first.requests), len(second.requests), share)

    async def test_keys_that_are_refused_at_home(self, start: Start) -> None:
        """A workspace whose every key is refused is stood in for as well."""
        refused = failing(b"401 x", "authentication_error")
        async with Scripted([serve(refused)]) as upstream, Scripted([serve(FINE)]) as other:
            home = {"failover": ("spare",)}
            gateway = await start(upstream.url, workspace=home, others=(spare(other.url),), failover=True)
            statuses = [(await post(gateway)).status for _ in range(2)]

        assert ([200, 200], 1) == (statuses, len(upstream.requests))
