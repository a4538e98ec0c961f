"""Waiting for a limit: who asks again, who lines up, and how it ends."""

import asyncio
import time

import pytest

from gateway.core.limits import Granted, Kind, Refused, Settlement, Verdict
from gateway.store.waiting import Waiting
from tests.store.conftest import bucket, budget, claim
from tests.until import until


class Counting:
    """A ledger that counts who asked."""

    def __init__(self, inner) -> None:
        self._inner = inner
        self.asked: list[str] = []

    def __getattr__(self, name: str):
        return getattr(self._inner, name)

    async def reserve(self, asked) -> Verdict:
        self.asked.append(asked.hold)
        return await self._inner.reserve(asked)


@pytest.fixture
async def ledger(open_embedded, tmp_path) -> Counting:
    return Counting(await open_embedded(tmp_path))


@pytest.fixture
def waiting(ledger: Counting) -> Waiting:
    return Waiting(ledger)


def soon(seconds: float = 20.0) -> float:
    return time.monotonic() + seconds


async def line_up(waiting: Waiting, *claims, deadline: float | None = None) -> list[asyncio.Task[Verdict]]:
    """Start admissions one after the other, each standing in line before the next begins."""
    tasks = []
    for one in claims:
        tasks.append(asyncio.create_task(waiting.admit(one, deadline or soon())))
        await until(lambda: waiting.waiting + sum(task.done() for task in tasks) == len(tasks))
    return tasks


async def test_room_is_not_waited_for(waiting: Waiting, ledger: Counting):
    """With room in the bucket, waiting is reserving."""
    one = claim((bucket(per_minute=10, max_wait_seconds=5), 1))

    assert isinstance(await waiting.admit(one, soon()), Granted)
    assert ([one.hold], 0) == (ledger.asked, waiting.waiting)


async def test_the_head_asks_and_the_line_moves_in_order(waiting: Waiting, ledger: Counting):
    """Nobody but the head asks again; they are admitted in the order in which they came."""
    quick = bucket(per_minute=600, max_wait_seconds=20)
    await ledger.reserve(claim((quick, 600)))
    claims = [claim((quick, 1)) for _ in range(5)]
    done: list[Verdict] = []
    tasks = await line_up(waiting, *claims)
    for task in tasks:
        task.add_done_callback(lambda task: done.append(task.result()))
    await asyncio.gather(*tasks)

    assert [one.hold for one in claims] == [verdict.hold for verdict in done if isinstance(verdict, Granted)]
    # One refusal brought the first into the line; a retry that came a moment early would be one more.
    assert len(ledger.asked) <= 1 + 1 + 2 * len(claims)
    assert 0 == waiting.waiting


async def test_a_limit_that_does_not_wait(waiting: Waiting, ledger: Counting):
    """Without max_wait_seconds a refusal is a refusal, and so is one by a budget or for ever."""
    hard, soft, broke = bucket(per_minute=1), bucket(Kind.TOKENS, 10, max_wait_seconds=9), budget(1)
    await ledger.reserve(claim((hard, 1)))
    refused = [
        await waiting.admit(claim((hard, 1)), soon()),
        await waiting.admit(claim(spends=((broke, 2 * 10**9),)), soon()),
        await waiting.admit(claim((soft, 11)), soon()),
    ]

    assert [hard, broke, soft] == [verdict.by for verdict in refused if isinstance(verdict, Refused)]


async def test_a_wait_that_could_not_help_is_not_begun(waiting: Waiting, ledger: Counting):
    """When the delay is longer than the limit or the client's deadline allows, the refusal comes at once."""
    slow = bucket(per_minute=1, max_wait_seconds=5)
    await ledger.reserve(claim((slow, 1)))
    began = time.monotonic()
    by_limit = await waiting.admit(claim((slow, 1)), soon(500))
    patient = bucket(per_minute=1, max_wait_seconds=500, pattern="claude-*")
    await ledger.reserve(claim((patient, 1)))
    by_deadline = await waiting.admit(claim((patient, 1)), soon(5))

    assert [slow, patient] == [verdict.by for verdict in (by_limit, by_deadline) if isinstance(verdict, Refused)]
    assert time.monotonic() - began < 4


async def test_who_is_blocked_elsewhere_keeps_its_place(waiting: Waiting, ledger: Counting):
    """A head that another waiting limit refuses stays the head; those behind it do not overtake."""
    requests = bucket(per_minute=1200, max_wait_seconds=20)
    tokens = bucket(Kind.TOKENS, 60_000, max_wait_seconds=20)
    await ledger.reserve(claim((requests, 1200)))
    first, second = await line_up(waiting, claim((requests, 1), (tokens, 300)), claim((requests, 1)))
    await ledger.reserve(claim((tokens, 60_000)))  # when its turn comes, the head finds another limit in its way
    await second

    assert first.done()
    assert isinstance(first.result(), Granted)


async def test_a_turn_that_never_comes(waiting: Waiting, ledger: Counting):
    """At its deadline a waiter behind the head is refused with its own levels and the head's delay."""
    slots = bucket(Kind.SLOTS, 1, max_wait_seconds=20)
    busy = claim((slots, 1))
    await ledger.reserve(busy)
    (head,) = await line_up(waiting, claim((slots, 1)))
    refused = await waiting.admit(claim((slots, 1)), soon(0.05))

    assert isinstance(refused, Refused)
    assert (slots, 1.0, [0]) == (refused.by, refused.retry_after_seconds, [level.remaining for level in refused.levels])
    ledger.settle(busy.hold, Settlement())
    assert isinstance(await head, Granted)


async def test_a_client_that_leaves_the_line(waiting: Waiting, ledger: Counting):
    """Cancelled at the head or behind it, the line goes on without it and nothing stays held."""
    quick = bucket(per_minute=600, max_wait_seconds=20)
    await ledger.reserve(claim((quick, 600)))
    claims = [claim((quick, 1)) for _ in range(4)]
    tasks = await line_up(waiting, *claims)
    for gone in (0, 2):
        tasks[gone].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert [True, False, True, False] == [task.cancelled() for task in tasks]
    assert 0 == waiting.waiting


async def test_a_drain_refuses_everybody_at_once(waiting: Waiting, ledger: Counting):
    """Heads and followers are refused, and whoever comes after is not kept waiting either."""
    slow = bucket(per_minute=10, max_wait_seconds=60)
    await ledger.reserve(claim((slow, 10)))
    tasks = await line_up(waiting, *(claim((slow, 1)) for _ in range(3)))
    waiting.drain()
    verdicts = await asyncio.gather(*tasks)
    late = await waiting.admit(claim((slow, 1)), soon())

    assert [slow] * 4 == [verdict.by for verdict in (*verdicts, late) if isinstance(verdict, Refused)]
    assert 0 == waiting.waiting
