"""The list of work, asked of each store alike: who may take an item, who may change it, and what survives."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.core.work import Bill, Item, Progress
from gateway.store.redis import RedisLedger
from gateway.store.work import Work
from gateway.store.work_embedded import EmbeddedWork
from gateway.store.work_redis import RedisWork

Open = Callable[[], Awaitable[Work]]


def item(id: str = "msgbatch_1", **more: Any) -> Item:
    facts: dict[str, Any] = {"kind": "batch", "hold": "gwr_1", "team": "search", "key": "prod", "workspace": "main"}
    return Item(id=id, **{**facts, "route": "batches.create", **more})


@pytest.fixture(params=["embedded", "redis"])
async def open_work(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Open]:
    """Opens the list, the same one each time; on Redis each is a process of its own."""
    opened: list[Work] = []
    ledgers: list[RedisLedger] = []

    async def start() -> Work:
        work: Work
        if request.param == "embedded":
            if opened:
                return opened[0]
            work = EmbeddedWork(tmp_path)
        else:
            url = request.getfixturevalue("valkey").url
            ledgers.append(RedisLedger(url, tmp_path, timeout_ms=1000))
            await ledgers[-1].start()
            work = RedisWork(ledgers[-1])
        await work.start()
        opened.append(work)
        return work

    yield start
    for work in opened:
        await work.stop()
    for ledger in ledgers:
        await ledger.stop()


@pytest.fixture
async def work(open_work: Open) -> Work:
    return await open_work()


async def test_an_item_comes_back_as_it_was_put(work: Work) -> None:
    """Whole, whatever is in it; and it is there for whoever asks."""
    full = item(
        models=("claude-opus-5",), headers=(("anthropic-version", "2023-06-01"),), since=1763600000.25, nano=2**52 + 1,
        progress=Progress({"input": 10**11}, 10**30, 5, 2), bills=(Bill("gwr_1.3", "m", 7, {"output": 3}, 0, "cut"),),
    )  # fmt: skip
    await work.add(full, due_in=0)
    (leased,) = await work.lease(seconds=60, most=10)

    assert (full, full) == (leased.item, await work.get(full.id))


async def test_an_item_is_not_put_over(work: Work) -> None:
    """The second of two that put the same item changes nothing."""
    await work.add(item(nano=1), due_in=60)
    await work.add(item(nano=2), due_in=0)

    assert [] == await work.lease(seconds=60, most=10)
    assert item(nano=1) == await work.get("msgbatch_1")


async def test_only_what_is_due_is_leased(work: Work) -> None:
    """The longest overdue first, no more than asked for, each to one."""
    for name, due_in in (("a", -1), ("b", -3), ("c", 60), ("d", -2)):
        await work.add(item(name), due_in=due_in)
    first = await work.lease(seconds=60, most=2)
    rest = await work.lease(seconds=60, most=10)

    assert [["b", "d"], ["a"]] == [sorted(one.item.id for one in some) for some in (first, rest)]
    assert [] == await work.lease(seconds=60, most=10)


async def test_one_of_many_gets_it(open_work: Open) -> None:
    """However many ask at once."""
    works = [await open_work() for _ in range(3)]
    await works[0].add(item(), due_in=0)
    found = await asyncio.gather(*(one.lease(seconds=60, most=1) for one in works * 5))

    assert 1 == sum(len(leased) for leased in found)


async def test_a_lapsed_lease_changes_nothing(work: Work) -> None:
    """Who was away too long finds that another has it, whatever it tries."""
    await work.add(item(), due_in=0)
    (slow,) = await work.lease(seconds=0, most=1)
    (quick,) = await work.lease(seconds=60, most=1)
    tries = [
        await work.keep(slow, item(nano=1), seconds=9),
        await work.let(slow, item(nano=2), due_in=0),
        await work.renew(slow, seconds=9),
        await work.done(slow),
    ]

    assert [False] * 4 == tries
    assert item() == await work.get("msgbatch_1")
    assert await work.done(quick)
    assert await work.get("msgbatch_1") is None


async def test_an_item_goes_on_as_it_was_left(work: Work) -> None:
    """Kept, it stays with its holder; let go, the next who asks in time has the new text."""
    await work.add(item(), due_in=0)
    (held,) = await work.lease(seconds=60, most=1)
    assert await work.keep(held, item(tries=1), seconds=60)
    assert await work.renew(held, seconds=60)
    assert [] == await work.lease(seconds=60, most=1)
    assert await work.let(held, item(tries=2), due_in=0)
    (next_one,) = await work.lease(seconds=60, most=1)

    assert item(tries=2) == next_one.item
    assert not await work.let(held, item(tries=3), due_in=0)


async def test_a_nudge_brings_it_forward(work: Work) -> None:
    """What waits is due at once; what is being looked at is looked at again; what is not there is told."""
    await work.add(item(), due_in=600)
    assert await work.nudge("msgbatch_1", due_in=300)
    assert [] == await work.lease(seconds=60, most=1)
    assert await work.nudge("msgbatch_1")
    (held,) = await work.lease(seconds=60, most=1)
    assert await work.nudge("msgbatch_1")
    assert [] == await work.lease(seconds=60, most=1)
    await work.let(held, held.item, due_in=600)

    assert 1 == len(await work.lease(seconds=60, most=1))
    assert not await work.nudge("msgbatch_2")


async def test_a_nudge_counts_once(work: Work) -> None:
    """The look after it is the last one that comes early."""
    await work.add(item(), due_in=0)
    (held,) = await work.lease(seconds=60, most=1)
    await work.nudge("msgbatch_1")
    await work.let(held, held.item, due_in=600)
    (again,) = await work.lease(seconds=60, most=1)
    await work.let(again, again.item, due_in=600)

    assert [] == await work.lease(seconds=60, most=1)


async def test_one_is_taken_by_its_id(work: Work) -> None:
    """Due or not, unless another has it or it is done."""
    await work.add(item(), due_in=600)
    held = await work.take("msgbatch_1", seconds=60)
    assert held is not None
    assert await work.take("msgbatch_1", seconds=60) is None
    await work.done(held)

    assert await work.take("msgbatch_1", seconds=60) is None


async def test_one_takes_the_place_of_another(work: Work) -> None:
    """Once the create has answered; the place-holder is gone even when somebody has it."""
    await work.add(item("gwr_1", kind="new"), due_in=0)
    (early,) = await work.lease(seconds=60, most=1)
    await work.bind("gwr_1", item(), due_in=0)

    assert not await work.let(early, early.item, due_in=0)
    assert (None, item()) == (await work.get("gwr_1"), await work.get("msgbatch_1"))
    assert {"batch": 1} == (await work.counts()).by_kind


async def test_dropped(work: Work) -> None:
    """A create that failed leaves nothing behind."""
    await work.add(item(), due_in=0)
    await work.drop("msgbatch_1")

    assert [] == await work.lease(seconds=60, most=1)
    assert await work.get("msgbatch_1") is None


async def test_counted(work: Work) -> None:
    """By kind, and how long the first of them is overdue."""
    await work.add(item("a"), due_in=-120)
    await work.add(item("b", kind="session"), due_in=60)
    counts = await work.counts()

    assert {"batch": 1, "session": 1} == counts.by_kind
    assert 119 <= counts.overdue_seconds < 180


async def test_a_restart_frees_what_was_leased(tmp_path: Path) -> None:
    """The embedded list has one process: when it starts, nobody else holds anything."""
    first = EmbeddedWork(tmp_path)
    await first.start()
    await first.add(item(), due_in=0)
    await first.lease(seconds=600, most=1)
    await first.stop()
    second = EmbeddedWork(tmp_path)
    await second.start()
    (leased,) = await second.lease(seconds=60, most=1)
    await second.stop()

    assert item() == leased.item
