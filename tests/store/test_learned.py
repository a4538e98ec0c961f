"""What is learned is added up over processes and restarts, each sum once, in every store."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from gateway.core.day_sums import DaySums
from gateway.learning import Sharing
from gateway.store.cold import SLICE
from gateway.store.ledger import Ledger, StoreDown
from tests.store import disk
from tests.store.conftest import Heard, Open

DAY = 20_000
NOON = DAY * 86_400 + 43_200.0


async def test_what_is_added_is_read_back(ledger: Ledger):
    """By day and field, to the last digit; only the days that were asked for."""
    taken = {DAY - 1: {"model|a#0": 2.0}, DAY: {"model|a#0": 0.1, "team|búsqueda|a#13": 1e-7}}

    first = await ledger.share(taken, [DAY - 2, DAY - 1, DAY])
    second = await ledger.share({}, [DAY])

    assert {DAY - 2: {}, **taken} == first
    assert {DAY: taken[DAY]} == second


async def test_sums_add_up(ledger: Ledger):
    """A second share adds to the first, and leaves what it does not name."""
    await ledger.share({DAY: {"a#0": 1.5, "a#1": 2.0}}, [DAY])

    assert {DAY: {"a#0": 1.75, "a#1": 2.0}} == await ledger.share({DAY: {"a#0": 0.25}}, [DAY])


async def test_more_than_a_slice(ledger: Ledger):
    """Whatever the number of fields, all arrive."""
    fields = {f"output|t|m{place}#0": place + 0.5 for place in range(2 * SLICE + 3)}

    assert {DAY: fields} == await ledger.share({DAY: fields}, [DAY])


async def test_a_restart_finds_it(open_ledger: Open):
    """The next process reads what the last one added."""
    ledger = await open_ledger()
    await ledger.share({DAY: {"a#0": 3.0}}, [DAY])
    await ledger.stop()

    assert {DAY: {"a#0": 3.0}} == await (await open_ledger()).share({}, [DAY])


async def test_processes_add_up(redis_ledger, tmp_path: Path):
    """Two processes on one store read the sum of both, whoever came first."""
    one, other = [await redis_ledger(tmp_path / name) for name in ("one", "other")]
    await asyncio.gather(*(ledger.share({DAY: {"a#0": 1.0}}, [DAY]) for ledger in (one, other)))

    assert [{DAY: {"a#0": 2.0}}] * 2 == [await ledger.share({}, [DAY]) for ledger in (one, other)]


async def test_a_repetition_adds_nothing_twice(redis_ledger, valkey):
    """A share that was added in part, or wholly but without an answer, and is made again, counts once."""
    ledger = await redis_ledger()
    fields = {f"a#{place}": 1.0 for place in range(SLICE + 1)}
    with valkey.client() as client:
        key = ledger.keys.learned(DAY + 1)
        client.set(key, "of another type")
        with pytest.raises(StoreDown, match="WRONGTYPE"):
            await ledger.share({DAY: fields}, [DAY, DAY + 1])
        client.delete(key)

    assert {DAY: fields} == await ledger.share({DAY: fields}, [DAY])
    assert ledger.health.ok


async def test_old_sums_are_forgotten(redis_ledger, open_embedded, tmp_path: Path, valkey):
    """Nine days after the last addition."""
    remote, local = await redis_ledger(tmp_path / "redis"), await open_embedded(tmp_path / "embedded")
    for ledger in (remote, local):
        await ledger.share({DAY: {"a#0": 1.0}}, [DAY])
    with valkey.client() as client:
        left = client.ttl(remote.keys.learned(DAY))

    assert 8 * 86_400 < left <= 9 * 86_400
    assert {DAY: {"a#0": 1.0}, DAY + 8: {}} == await local.share({}, [DAY, DAY + 8])
    assert {DAY: {}, DAY + 9: {}} == await local.share({}, [DAY, DAY + 9])


async def test_a_full_disk_takes_nothing(open_embedded, tmp_path: Path):
    """The file has all of a share or nothing, so that it may be made again."""
    ledger = await open_embedded(tmp_path)
    with disk.full(), pytest.raises(StoreDown, match="spend file"):
        await ledger.share({DAY: {"a#0": 1.0}}, [DAY])

    assert {DAY: {"a#0": 1.0}} == await ledger.share({DAY: {"a#0": 1.0}}, [DAY])
    with sqlite3.connect(tmp_path / "spend.sqlite") as db:
        assert [(DAY, "a#0", 1.0)] == db.execute("select * from learned").fetchall()


class Told(Heard):
    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []

    def faulted(self, fault: BaseException | None, request_id: str | None = None) -> None:
        self.faults.append(type(fault).__name__)


def total(sums: DaySums) -> float:
    return sums.total("a", 1, NOON)[0][0]


class TestSharing:
    async def test_a_failure_is_told_once_and_nothing_is_lost(self, redis_ledger, valkey):
        """While shares fail the process goes on with what it knows; then the store has everything, once."""
        ledger = await redis_ledger()
        sums, told = DaySums(), Told()
        sharing = Sharing(sums, ledger, told=told, clock=lambda: NOON)
        known = []
        with valkey.client() as client:
            for amount, broken in ((1.0, False), (2.0, True), (4.0, True), (8.0, False)):
                sums.add("a", {0: amount}, 1, NOON)
                if broken:  # it adds, and then can't read: whether it added is not known here
                    client.set(ledger.keys.learned(DAY - 1), "of another type")
                else:
                    client.delete(ledger.keys.learned(DAY - 1))
                await sharing.share()
                known.append(total(sums))

        assert [1.0, 3.0, 7.0, 15.0] == known
        assert {DAY: {"a#0": 15.0}} == await ledger.share({}, [DAY])
        assert (1, []) == (len(told.named("learning_not_shared")), told.faults)

    async def test_a_stored_sum_that_is_none(self, redis_ledger, valkey):
        """What can't be read as a number is told as a fault, once, and ends nothing."""
        ledger = await redis_ledger()
        told = Told()
        sharing = Sharing(DaySums(), ledger, told=told, clock=lambda: NOON)
        with valkey.client() as client:
            client.hset(ledger.keys.learned(DAY), "a#0", "many")
        for _ in range(2):
            await sharing.share()

        assert (["ValueError"], []) == (told.faults, told.named("learning_not_shared"))
        assert ledger.health.ok

    async def test_the_last_share_is_at_the_stop(self, open_ledger: Open):
        """What was learned since the last minute is there for the next process."""
        ledger = await open_ledger()
        sums, next_sums = DaySums(), DaySums()
        sharing = Sharing(sums, ledger, told=Told(), seconds=3600, clock=lambda: NOON)
        sharing.start()
        await asyncio.sleep(0)
        sums.add("a", {0: 5.0}, 1, NOON)
        await sharing.stop()
        await Sharing(next_sums, ledger, told=Told(), clock=lambda: NOON).share()

        assert (5.0, 5.0) == (total(sums), total(next_sums))

    async def test_a_new_day(self, ledger: Ledger):
        """Over midnight yesterday still counts, by its weight."""
        now = NOON
        sums = DaySums()
        sharing = Sharing(sums, ledger, told=Told(), clock=lambda: now)
        sums.add("a", {0: 4.0}, 1, now)
        await sharing.share()
        now += 2 * 86_400
        await sharing.share()

        assert ([4.0], [2.0]) == sums.total("a", 1, now)
