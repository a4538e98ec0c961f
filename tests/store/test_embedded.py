"""What is special about the store of one process: its files, its clocks and its restarts."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from gateway.core.limits import Granted, Kind, Refused, Settlement
from gateway.core.periods import CLOSING_MS, DAY_MS, day_start
from gateway.store import audit, journal
from gateway.store.guarded import Guarded
from gateway.store.ledger import StoreDown, StoreUnfit
from tests.store.conftest import Heard, bucket, budget, claim
from tests.store.disk import full
from tests.until import until

PURSE = budget(100)
USED = Settlement(input=3, output=2, nano=10**6, produced=True)


class Clocks:
    """Two clocks that a test moves."""

    def __init__(self) -> None:
        self.mono = 5_000
        self.wall = day_start("2026-11-30") + 12 * 3_600_000

    def options(self) -> dict[str, object]:
        return {"monotonic": lambda: self.mono, "wall": lambda: self.wall}

    def tick(self, ms: int) -> None:
        self.mono += ms
        self.wall += ms


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


async def call(ledger, nano: int = 10**6) -> None:
    one = claim(spends=((PURSE, 0),))
    assert isinstance(await ledger.reserve(one), Granted)
    ledger.settle(one.hold, Settlement(nano=nano, produced=True))


async def spent(ledger) -> int:
    return (await ledger.peek((), [PURSE])).standings[0].spent_nano


async def left(ledger, what) -> int:
    return (await ledger.peek([what], ())).levels[0].remaining


async def test_one_process_only(open_embedded, tmp_path: Path):
    """A second gateway on the same state directory does not start, and is told what to do."""
    await open_embedded(tmp_path)
    with pytest.raises(StoreUnfit, match="set GATEWAY_REDIS_URL"):
        await open_embedded(tmp_path)


async def test_a_wall_clock_that_jumps_changes_no_bucket(open_embedded, tmp_path: Path, clocks: Clocks):
    """Buckets move by the monotonic clock: an hour forward or back refills and empties nothing."""
    ledger = await open_embedded(tmp_path, **clocks.options())
    few = bucket(per_minute=10)
    await ledger.reserve(claim((few, 10)))
    clocks.wall += 3_600_000
    assert 0 == await left(ledger, few)
    clocks.wall -= 2 * 3_600_000
    clocks.mono += 6_000

    assert 1 == await left(ledger, few)


@pytest.mark.parametrize(("away", "expected"), [(0, 0), (30_000, 5), (10**9, 10), (-(10**9), 0)])
async def test_levels_refill_over_the_downtime(open_embedded, tmp_path: Path, clocks: Clocks, away: int, expected: int):
    """A restart refills what the wall clock says has passed, and nothing when it went back."""
    few = bucket(per_minute=10)
    ledger = await open_embedded(tmp_path, **clocks.options())
    await ledger.reserve(claim((few, 10)))
    await ledger.stop()
    clocks.wall += away
    clocks.mono = 77  # after a reboot it begins anew
    again = await open_embedded(tmp_path, **clocks.options())

    assert expected == await left(again, few)


async def test_a_budget_begins_anew_with_its_period(open_embedded, tmp_path: Path, clocks: Clocks):
    """At the month's end what was spent is last month's; money held stays held."""
    ledger = await open_embedded(tmp_path, **clocks.options())
    await call(ledger)
    held = claim(spends=((PURSE, 7),))
    await ledger.reserve(held)
    clocks.tick(DAY_MS)
    (standing,) = (await ledger.peek((), [PURSE])).standings
    assert (0, 7) == (standing.spent_nano, standing.held_nano)
    ledger.settle(held.hold, Settlement(nano=5, produced=True))

    assert 5 == await spent(ledger)
    rows = await ledger.rows("day", "2026-11-30", "2026-12-31")
    assert [("2026-11-30", 10**6), ("2026-12-01", 5)] == [(row.period, row.amounts["nano"]) for row in rows]


async def test_a_closed_month_takes_nothing_more(open_embedded, tmp_path: Path, clocks: Clocks):
    """A journal that comes in 72 h after its month's end is booked today, marked late."""
    first = await open_embedded(tmp_path, **clocks.options())
    one = claim(spends=((PURSE, 0),))
    await first.reserve(one)
    with full():
        # The settlement reaches the journal's memory only; the hold stands on disk, as after a crash.
        await first.stop()
    clocks.tick(DAY_MS + CLOSING_MS)
    again = await open_embedded(tmp_path, **clocks.options())
    rows = await again.rows("month", "2026-11", "2026-12")

    assert ["2026-12"] == [row.period for row in rows]
    assert 1 == rows[0].amounts["late_requests"]


async def test_old_rows_are_forgotten(open_embedded, tmp_path: Path, clocks: Clocks):
    """Days are kept for 92 days, months for 13."""
    ledger = await open_embedded(tmp_path, **clocks.options())
    await call(ledger)
    await ledger.stop()
    kept = []
    for days in (92, 93, 395, 427):
        clocks.wall = day_start("2026-11-30") + days * DAY_MS
        ledger = await open_embedded(tmp_path, **clocks.options())
        await ledger._commits.in_thread(ledger._file.prune, clocks.wall)
        rows = [await ledger.rows("day", "2026-11-30", "2026-11-30"), await ledger.rows("month", "2026-11", "2026-11")]
        kept.append([len(found) for found in rows])
        await ledger.stop()

    assert [[1, 1], [0, 1], [0, 1], [0, 0]] == kept


class TestDisk:
    async def test_open_teams_go_on_and_nothing_is_lost(self, open_embedded, tmp_path: Path, heard: Heard):
        """With a full disk an `open` team is served from memory, a `closed` one refused; later all of it is written."""
        ledger = await open_embedded(tmp_path)
        slots = bucket(Kind.SLOTS, 5)
        with full():
            for _ in range(3):
                await call(ledger)
            with pytest.raises(StoreDown):
                await ledger.reserve(claim((slots, 1), store_down="closed"))
            await until(lambda: heard.named("spend_failing"))
            assert not ledger.health.ok
        assert (3 * 10**6, 5) == (await spent(ledger), await left(ledger, slots))
        await until(lambda: ledger.health.ok)
        (row,) = await ledger.rows("month", "2020-01", "2099-12")

        assert 3 * 10**6 == row.amounts["nano"]
        names = [name for name, _ in heard.events]
        assert sorted({"journal_failing", "journal_back", "spend_failing", "spend_back"}) == sorted(names)

    async def test_memory_has_an_end(self, open_embedded, tmp_path: Path, monkeypatch):
        """When memory is full of what the disk would not take, nobody is served: what can't be kept isn't sold."""
        monkeypatch.setattr(journal, "BACKLOG_BYTES", 5_000)
        ledger = Guarded(await open_embedded(tmp_path))
        with full():
            for _ in range(20):
                with contextlib.suppress(StoreDown):
                    await call(ledger)
            with pytest.raises(StoreDown):
                await ledger.reserve(claim(spends=((PURSE, 0),)))
            booked = await spent(ledger)
        await until(lambda: ledger.health.ok)

        assert isinstance(await ledger.reserve(claim(spends=((PURSE, 0),))), Granted)
        assert booked == await spent(ledger) > 0

    async def test_no_room_to_start(self, open_embedded, tmp_path: Path):
        """A state directory that takes nothing stops the start, with its name."""
        with full(), pytest.raises(StoreUnfit, match="GATEWAY_STATE_DIR"):
            await open_embedded(tmp_path)

    async def test_a_broken_file(self, open_embedded, tmp_path: Path):
        """A spend file that is none is not written over."""
        (tmp_path / "spend.sqlite").write_bytes(b"not a database, but somebody's" * 100)
        with pytest.raises(StoreUnfit, match="can't be used"):
            await open_embedded(tmp_path)

    async def test_another_layout(self, open_embedded, tmp_path: Path):
        """A file of another release is refused, never guessed at."""
        ledger = await open_embedded(tmp_path)
        await ledger.stop()
        with sqlite3.connect(tmp_path / "spend.sqlite") as database:
            database.execute("update facts set value = 99 where name = 'layout'")
        database.close()
        with pytest.raises(StoreUnfit, match="layout 99"):
            await open_embedded(tmp_path)


class TestLostData:
    async def test_a_deleted_file(self, open_embedded, tmp_path: Path, heard: Heard):
        """Without its spend file the journals are gone through again; blocking budgets wait until that is accepted."""
        ledger = await open_embedded(tmp_path)
        for _ in range(5):
            await call(ledger)
        await ledger.stop()
        (tmp_path / "spend.sqlite").unlink()
        again = await open_embedded(tmp_path)
        refused = await again.reserve(claim(spends=((PURSE, 1),)))

        assert isinstance(refused, Refused)
        assert refused.unavailable
        assert again.health.data_lost
        assert 5 * 10**6 == await spent(again)
        report = await audit.verify(again, [tmp_path / "journal"])
        assert (5, True) == (report.settlements, report.agrees)
        await again.accept_empty()
        assert isinstance(await again.reserve(claim(spends=((PURSE, 1),))), Granted)

    async def test_it_stays_lost_over_a_restart(self, open_embedded, tmp_path: Path):
        """Nobody's restart accepts the loss."""
        await (await open_embedded(tmp_path)).stop()
        (tmp_path / "spend.sqlite").unlink()
        await (await open_embedded(tmp_path)).stop()

        assert (await open_embedded(tmp_path)).health.data_lost
