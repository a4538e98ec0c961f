"""Redis restarted, emptied, frozen or full, under load: what the calls see meanwhile and what is booked after."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.core.limits import Granted, Kind, Refused, Settlement
from gateway.store import audit, batcher
from gateway.store.guarded import Guarded
from gateway.store.ledger import Ledger, StoreDown, StoreUnfit
from gateway.store.redis import RedisLedger
from tests.store.conftest import Heard, bucket, budget, claim
from tests.until import until

WIDE = bucket(per_minute=10**6)
SLOTS = bucket(Kind.SLOTS, 1000)
PURSE = budget(1000)
NANO = 1_000_003  # of each call, so that a sum tells how many there were


@dataclass
class Load:
    """Calls that go on until told to stop, and what they saw."""

    granted: int = 0
    refused: int = 0
    down: int = 0
    slowest: float = 0.0
    going: bool = True
    workers: list[asyncio.Task[None]] = field(default_factory=list)

    async def call(self, ledger: Ledger) -> None:
        while self.going:
            one = claim((WIDE, 1), (SLOTS, 1), spends=((PURSE, 10**6),))
            began = time.monotonic()
            try:
                verdict = await ledger.reserve(one)
            except StoreDown:
                self.down += 1
            else:
                self.granted += isinstance(verdict, Granted)
                self.refused += isinstance(verdict, Refused)
            self.slowest = max(self.slowest, time.monotonic() - began)
            await asyncio.sleep(0.002)
            # As the proxy does: settled by its id whatever came of the reserve.
            ledger.settle(one.hold, Settlement(nano=NANO, produced=True))


@asynccontextmanager
async def loaded(ledger: Ledger, workers: int = 20) -> AsyncIterator[Load]:
    load = Load()
    load.workers = [asyncio.create_task(load.call(ledger)) for _ in range(workers)]
    try:
        yield load
    finally:
        load.going = False
        await asyncio.gather(*load.workers)


@pytest.fixture
async def guarded(tmp_path: Path, heard: Heard) -> AsyncIterator[Callable[..., object]]:
    """Starts a guarded ledger on a URL. The timeout leaves room for a busy machine."""
    started: list[Guarded] = []

    async def start(url: str, *, timeout_ms: int = 1000) -> Guarded:
        inner = RedisLedger(url, tmp_path / "one", observer=heard, timeout_ms=timeout_ms)
        started.append(Guarded(inner, observer=heard))
        await started[-1].start()
        return started[-1]

    yield start
    for ledger in started:
        await ledger.stop()


async def settled(ledger: Ledger) -> tuple[int, int, int]:
    """Spend and hold of the budget and the free slots, once the store is back and everything is sent."""
    await until(lambda: ledger.health.ok and ledger.health.unconfirmed == 0)
    found = await ledger.peek([SLOTS], [PURSE])
    return found.standings[0].spent_nano, found.standings[0].held_nano, found.levels[0].remaining


async def test_forgotten_scripts_are_loaded_again(guarded, valkey):
    """SCRIPT FLUSH under load is noticed by nobody, and no settlement is lost or doubled."""
    ledger = await guarded(valkey.url)
    async with loaded(ledger) as load:
        for _ in range(5):
            await asyncio.sleep(0.05)
            with valkey.client() as client:
                client.script_flush()

    assert (0, 0) == (load.down, load.refused)
    assert (load.granted * NANO, 0, 1000) == await settled(ledger)


async def test_a_restart(guarded, new_valkey, heard: Heard):
    """Killed and started again on its append-only file: one outage is told, and everything is booked once."""
    server = new_valkey(aof=True)
    ledger = await guarded(server.url)
    async with loaded(ledger) as load:
        await asyncio.sleep(0.2)
        server.kill()
        await asyncio.sleep(0.2)
        server.start()
        await until(lambda: ledger.health.ok)
        await asyncio.sleep(0.1)

    assert (load.granted * NANO, 0, 1000) == await settled(ledger)
    assert 1 == len(heard.named("store_down"))
    assert not ledger.health.data_lost


@pytest.mark.parametrize("dead_seconds", [5.0, 0.15], ids=["the connection waits", "the connection is given up"])
async def test_frozen(guarded, valkey, heard: Heard, monkeypatch, measured, dead_seconds: float):
    """A store that stops answering holds a call up for the timeout, once; after the thaw late reserves hold nothing."""
    monkeypatch.setattr(batcher, "DEAD_SECONDS", dead_seconds)
    ledger = await guarded(valkey.url, timeout_ms=50)
    async with loaded(ledger) as load:
        await asyncio.sleep(0.2)
        valkey.pause()
        before = load.granted
        await asyncio.sleep(0.6)
        meanwhile = load.granted - before
        valkey.resume()
        await until(lambda: ledger.health.ok)
        await asyncio.sleep(0.1)

    measured(f"frozen for 0.6 s: {meanwhile} calls meanwhile, slowest {load.slowest * 1000:.0f} ms, of a timeout of 50")
    assert (load.granted * NANO, 0, 1000) == await settled(ledger)
    assert meanwhile > 20
    assert 1 == len(heard.named("store_down"))
    with valkey.client() as client:
        assert [] == client.keys("{gw}:holds:*")


async def test_emptied(guarded, valkey, heard: Heard, tmp_path: Path):
    """An empty store is recognised at once: journals are sent again, blocking budgets stay closed until rebuilt."""
    ledger = await guarded(valkey.url)
    async with loaded(ledger) as load:
        await asyncio.sleep(0.2)
        with valkey.client() as client:
            client.flushall()
        await until(lambda: ledger.health.data_lost)
        lost_at = load.granted
        await asyncio.sleep(0.1)
        assert lost_at == load.granted
    assert ledger.health.data_lost
    await until(lambda: heard.named("store_data_lost"))
    assert 1 == len(heard.named("store_data_lost"))
    refused = await ledger.reserve(claim(spends=((PURSE, 1),)))
    warned = await ledger.reserve(claim(spends=((budget(1000, mode="warn"), 1),)))

    assert isinstance(refused, Refused)
    assert refused.unavailable
    assert isinstance(warned, Granted)
    # Everything was sent again from the journal, so the budget knows its spend even before it opens.
    spent, _, _ = await settled(ledger)
    assert load.granted * NANO == spent
    report = await audit.rebuild(ledger._inner, [tmp_path / "one" / "journal"])
    await until(lambda: not ledger.health.data_lost)
    assert (True, ()) == (report.agrees, report.differences)
    assert isinstance(await ledger.reserve(claim(spends=((PURSE, 1),))), Granted)


async def test_set_back_a_little(redis_ledger, valkey, heard: Heard):
    """A store that forgot the last moments, as after a failover, is sent them again and has lost nothing."""
    ledger = await redis_ledger(lease_ms=400)
    await spend(ledger, 5)
    with valkey.client() as client:
        kept = {key: client.dump(key) for key in client.keys("*")}
        await spend(ledger, 5)
        with client.pipeline(transaction=True) as at_once:  # no renewal may find it half-way
            at_once.flushall()
            for key, value in kept.items():
                at_once.restore(key, 0, value)
            at_once.execute()
    await until(lambda: heard.named("settlements_sent_again"))

    assert (10 * NANO, 0, 1000) == await settled(ledger)
    assert [{"from": 6, "to": 10}] == heard.named("settlements_sent_again")
    assert not ledger.health.data_lost


async def test_set_back_far(redis_ledger, valkey):
    """A store whose last sign of life is older than the one we saw by more than 30 s has lost what others settled."""
    ledger = await redis_ledger(lease_ms=400)
    await spend(ledger, 5)
    with valkey.client() as client:
        client.hincrby("{gw}:store", "beat", -60_000)
    await until(lambda: ledger.health.data_lost)
    refused = await ledger.reserve(claim(spends=((PURSE, 1),)))

    assert isinstance(refused, Refused)
    assert refused.unavailable
    await ledger.accept_empty()
    await until(lambda: not ledger.health.data_lost)


async def spend(ledger: Ledger, calls: int) -> None:
    for _ in range(calls):
        one = claim((SLOTS, 1), spends=((PURSE, 0),))
        await ledger.reserve(one)
        ledger.settle(one.hold, Settlement(nano=NANO, produced=True))
    await until(lambda: ledger.health.unconfirmed == 0)


async def test_another_process_closes_the_budgets_too(redis_ledger, valkey, tmp_path: Path):
    """One that never knew the old store sees at its next call that data was lost."""
    old = await redis_ledger(tmp_path / "old")
    with valkey.client() as client:
        client.flushall()
    new = await redis_ledger(tmp_path / "new")
    assert not new.health.data_lost
    with pytest.raises(StoreDown):
        await old.reserve(claim())
    await until(lambda: old.health.ok and old.health.data_lost)
    refused = await new.reserve(claim(spends=((PURSE, 1),)))

    assert isinstance(refused, Refused)
    assert refused.unavailable


async def test_full(guarded, valkey, heard: Heard):
    """A store out of memory takes nothing and half of nothing: calls go on locally until it takes writes again."""
    ledger = await guarded(valkey.url)
    async with loaded(ledger) as load:
        await asyncio.sleep(0.1)
        with valkey.client() as client:
            client.config_set("maxmemory", 1)
            await asyncio.sleep(0.2)
            client.config_set("maxmemory", 0)
        await until(lambda: ledger.health.ok)

    assert (load.granted * NANO, 0, 1000) == await settled(ledger)
    assert "OOM" in str(heard.named("store_down")[0]["reason"])


async def test_open_and_closed(guarded, new_valkey, heard: Heard):
    """Without a store an `open` claim takes its share of what was last seen, a `closed` one is refused."""
    server = new_valkey()
    ledger = await guarded(server.url)
    few = bucket(per_minute=10)
    for _ in range(4):
        await ledger.reserve(claim((few, 1)))
    server.kill()
    await until(lambda: not ledger.health.ok)
    verdicts = [await ledger.reserve(claim((few, 1))) for _ in range(7)]

    assert [True] * 6 + [False] == [isinstance(verdict, Granted) for verdict in verdicts]
    with pytest.raises(StoreDown):
        await ledger.reserve(claim((few, 1), store_down="closed"))
    assert 1 == len(heard.named("store_down"))


async def test_what_was_admitted_without_the_store_is_charged_to_it(guarded, new_valkey):
    """Settlements of an outage go before new reserves, so its requests, tokens and dollars are missing from them."""
    server = new_valkey(aof=True)
    ledger = await guarded(server.url)
    requests, tokens = bucket(per_minute=10), bucket(Kind.TOKENS, 1000)
    await ledger.reserve(claim((requests, 1), (tokens, 1), spends=((PURSE, 1),)))
    server.kill()
    await until(lambda: not ledger.health.ok)
    for _ in range(3):
        one = claim((requests, 1), (tokens, 10), spends=((PURSE, 10),))
        assert isinstance(await ledger.reserve(one), Granted)
        ledger.settle(one.hold, Settlement(input=200, nano=7, produced=True))
    server.start()
    await until(lambda: ledger.health.ok)
    verdict = await ledger.reserve(claim((requests, 1), (tokens, 1), spends=((PURSE, 1),)))

    assert isinstance(verdict, Granted)
    left = [level.remaining for level in verdict.levels]
    assert 5 <= left[0] <= 7  # a busy machine gives the buckets time to refill
    assert 398 <= left[1] <= 800
    assert [21] == [standing.spent_nano for standing in verdict.standings]


async def test_away_at_the_start(redis_ledger, new_valkey, tmp_path: Path):
    """A gateway starts without its store, and finds it when it comes."""
    server = new_valkey()
    server.kill()
    ledger = await redis_ledger(url=server.url)
    with pytest.raises(StoreDown):
        await ledger.reserve(claim())
    server.start()
    await until(lambda: ledger.health.ok)

    assert isinstance(await ledger.reserve(claim()), Granted)


async def test_a_frozen_store_kills_nobody(redis_ledger, valkey, heard: Heard, tmp_path: Path):
    """After a freeze longer than every lease, all processes are well and keep their holds."""
    quick = {"lease_ms": 200, "sweep_seconds": 0.1}
    first, second = [await redis_ledger(tmp_path / name, **quick) for name in ("first", "second")]
    held = claim((SLOTS, 1))
    await first.reserve(held)
    valkey.pause()
    await asyncio.sleep(0.5)
    valkey.resume()
    await until(lambda: first.health.ok and second.health.ok)
    await asyncio.sleep(0.3)

    assert [] == heard.named("process_dead")
    assert [held.hold] == [holder.hold for holder in await second.holders("search")]


class TestMarks:
    async def test_a_late_reserve_holds_nothing(self, redis_ledger, valkey, tmp_path: Path):
        """A settlement that overtakes its reserve bars it: the reserve is refused when it arrives."""
        ledger = await redis_ledger()
        one = claim((SLOTS, 1), spends=((PURSE, 10**9),))
        task = asyncio.create_task(ledger.reserve(one))
        await asyncio.sleep(0)
        task.cancel()
        ledger.settle(one.hold, Settlement())
        await until(lambda: ledger.health.unconfirmed == 0)
        # It was held and freed in that order; the same id once more is as late as can be.
        with valkey.client() as client:
            client.set(ledger.keys.mark(one.hold), 1, px=60_000)
        late = await ledger.reserve(one)

        assert isinstance(late, Refused)
        assert [1000] == [level.remaining for level in (await ledger.peek([SLOTS], [])).levels]

    async def test_an_unknown_hold_leaves_a_mark_for_a_minute(self, redis_ledger, valkey):
        """The zero settlement of a reserve that never arrived charges nothing and stays known for 60 s."""
        ledger = await redis_ledger()
        one = claim((SLOTS, 1))
        valkey.pause()
        task = asyncio.create_task(ledger.reserve(one))
        await asyncio.sleep(0.01)
        ledger._link.batcher.close("cut")  # before a byte of it was read
        await asyncio.gather(task, return_exceptions=True)
        ledger.settle(one.hold, Settlement())
        with_deadline = asyncio.get_running_loop().time() + 5
        valkey.resume()
        await until(lambda: ledger.health.ok and ledger.health.unconfirmed == 0)
        with valkey.client() as client:
            left = client.pttl(ledger.keys.mark(one.hold))
            held = client.hlen(ledger.keys.holds(ledger._writer))

        assert asyncio.get_running_loop().time() < with_deadline
        assert 0 == held
        assert left == -2 or 50_000 < left <= 60_000  # -2: the reserve had been read, and was undone


class TestUnleased:
    async def test_any_process_settles_it_once(self, redis_ledger, tmp_path: Path, heard: Heard):
        """A batch's hold outlives its process, is swept by nobody, and two that settle it book one settlement."""
        quick = {"lease_ms": 200, "sweep_seconds": 0.1}
        first = await redis_ledger(tmp_path / "first", **quick)
        batch = claim(hold="msgbatch_1", spends=((PURSE, 10**9),), leased=False)
        await first.reserve(batch)
        await first.stop()
        second, third = [await redis_ledger(tmp_path / name, **quick) for name in ("second", "third")]
        await asyncio.sleep(0.5)
        recalled = [await ledger.recall("msgbatch_1") for ledger in (second, third)]
        for ledger in (second, third):
            ledger.settle("msgbatch_1", Settlement(nano=5, produced=True))
        await until(lambda: second.health.unconfirmed == third.health.unconfirmed == 0)

        assert [True, True] == recalled
        assert (5, 0, 1000) == await settled(third)
        assert not await second.recall("msgbatch_1")


class TestUnfit:
    async def test_a_wrong_password(self, redis_ledger, new_valkey):
        """Refused credentials stop the start, and the message has no password."""
        server = new_valkey()
        with server.client() as client:
            client.config_set("requirepass", "right")
        url = server.url.replace("//", "//:wrong-and-secret@")
        with pytest.raises(StoreUnfit) as fault:
            await redis_ledger(url=url)

        assert "the store refuses our credentials: WRONGPASS" == str(fault.value)
        with server.client(password="right") as client:
            client.config_set("requirepass", "")

    async def test_another_layout(self, redis_ledger, valkey):
        """Keys of another layout are never guessed at."""
        with valkey.client() as client:
            client.hset("{gw}:store", mapping={"epoch": "e", "layout": "99"})
        with pytest.raises(StoreUnfit, match="layout 99, this gateway writes 1"):
            await redis_ledger()

    async def test_unwise_settings_are_told(self, redis_ledger, valkey, heard: Heard):
        """An eviction policy or a missing append-only file is a warning at the start."""
        with valkey.client() as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            ledger = await redis_ledger()
        finally:
            with valkey.client() as client:
                client.config_set("maxmemory-policy", "noeviction")
        expected = ("maxmemory-policy is allkeys-lru, not noeviction", "appendonly is no, not yes")

        assert expected == ledger.health.warnings
        assert [{"warning": text} for text in expected] == heard.named("store_warning")
