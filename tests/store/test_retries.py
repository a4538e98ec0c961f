"""The retry budget and the hold that moves, for every store (ledger protocol, section 7)."""

import asyncio

import pytest

from gateway.core.limits import Granted, Kind, Refused, Settlement
from gateway.core.retries import Retry, RetryVerdict, deposit_of
from gateway.store.ledger import Ledger, StoreDown
from tests.servers import Server
from tests.store.conftest import Open, bucket, claim
from tests.until import until

NOTHING = Settlement()
REQUESTS = bucket(per_minute=10, owner="workspace:main")
SLOTS = bucket(Kind.SLOTS, 2, owner="workspace:main")
TOKENS = bucket(Kind.TOKENS, 1000, owner="workspace:main")
OTHER_REQUESTS = bucket(per_minute=10, owner="workspace:spare")
OTHER_SLOTS = bucket(Kind.SLOTS, 2, owner="workspace:spare")
OTHER_TOKENS = bucket(Kind.TOKENS, 1000, owner="workspace:spare")


async def left(ledger: Ledger, *buckets) -> list[int]:
    return [level.remaining for level in (await ledger.peek(buckets, ())).levels]


async def settled(ledger: Ledger, hold: str, settlement: Settlement = NOTHING) -> None:
    ledger.settle(hold, settlement)
    await until(lambda: ledger.health.unconfirmed == 0)


def stay(hold: str, *takes) -> Retry:
    return Retry(hold, "main", "main", takes)


def move(hold: str, *takes, free: bool = False) -> Retry:
    return Retry(hold, "main", "spare", takes, leaves="main", free=free)


async def admit(ledger: Ledger, *takes, share: float = 0.25) -> str:
    one = claim(*takes, retry_deposit=deposit_of(share))
    assert isinstance(await ledger.reserve(one), Granted)
    return one.hold


async def spend_all(ledger: Ledger, hold: str) -> None:
    for _ in range(50):
        await ledger.retry(stay(hold))


class TestBudget:
    async def test_fifty_are_saved_and_no_more(self, ledger: Ledger):
        """A new budget holds 50 retries however many requests were admitted; the next one is refused."""
        hold = ""
        for _ in range(9):
            hold = await admit(ledger)
        said = [await ledger.retry(stay(hold)) for _ in range(51)]

        assert [RetryVerdict(True, 49 - n) for n in range(50)] + [RetryVerdict(False, 0)] == said

    async def test_four_admissions_pay_for_one(self, ledger: Ledger):
        """Each admission deposits its share; a whole retry must be there before one is made."""
        await spend_all(ledger, await admit(ledger))
        said = []
        for _ in range(8):
            hold = await admit(ledger)
            said.append((await ledger.retry(stay(hold))).granted)

        assert [False, False, False, True, False, False, False, True] == said

    async def test_a_refused_claim_deposits_nothing(self, ledger: Ledger):
        """Only what was admitted earns."""
        hold = await admit(ledger, (REQUESTS, 10), share=1)
        await spend_all(ledger, hold)
        refused = await ledger.reserve(claim((REQUESTS, 10), retry_deposit=deposit_of(1)))

        assert isinstance(refused, Refused)
        assert not (await ledger.retry(stay(hold))).granted

    async def test_concurrent_retries_share_one_budget(self, ledger: Ledger):
        """200 at once get 50."""
        hold = await admit(ledger)
        said = await asyncio.gather(*(ledger.retry(stay(hold)) for _ in range(200)))

        assert 50 == sum(verdict.granted for verdict in said)

    async def test_a_retry_needs_room_in_the_workspace(self, ledger: Ledger):
        """It takes a request unit as well; without room nothing is taken, and the wait is said."""
        hold = await admit(ledger, (REQUESTS, 9))
        first, second = [await ledger.retry(stay(hold, (REQUESTS, 1))) for _ in range(2)]

        assert (True, 49) == (first.granted, first.budget)
        assert (False, REQUESTS, 49) == (second.granted, second.by, second.budget)
        assert 5 < second.retry_after_seconds <= 6

    async def test_nothing_is_given_back(self, ledger: Ledger):
        """A retry's unit is used up like any request unit."""
        hold = await admit(ledger, (REQUESTS, 1))
        await ledger.retry(stay(hold, (REQUESTS, 1)))
        await settled(ledger, hold)

        assert [8] == await left(ledger, REQUESTS)


class TestMove:
    async def test_the_workspace_part_moves(self, ledger: Ledger):
        """The other workspace's buckets are taken from, the first one's slot and tokens come back, its request does
        not; team and key count once."""
        team = bucket(per_minute=10)
        hold = await admit(ledger, (team, 1), (REQUESTS, 1), (SLOTS, 1), (TOKENS, 400))
        verdict = await ledger.retry(move(hold, (OTHER_REQUESTS, 1), (OTHER_SLOTS, 1), (OTHER_TOKENS, 400)))

        assert RetryVerdict(True, 49) == verdict
        assert [9, 9, 2, 1000] == await left(ledger, team, REQUESTS, SLOTS, TOKENS)
        assert [9, 1, 600] == await left(ledger, OTHER_REQUESTS, OTHER_SLOTS, OTHER_TOKENS)

    async def test_what_was_used_is_booked_where_it_went(self, ledger: Ledger):
        """After a move the settlement corrects the other workspace's tokens and frees its slot."""
        hold = await admit(ledger, (REQUESTS, 1), (SLOTS, 1), (TOKENS, 400))
        await ledger.retry(move(hold, (OTHER_REQUESTS, 1), (OTHER_SLOTS, 1), (OTHER_TOKENS, 400)))
        await settled(ledger, hold, Settlement(input=90, output=10, produced=True))

        assert [9, 2, 1000] == await left(ledger, REQUESTS, SLOTS, TOKENS)
        assert [9, 2, pytest.approx(900, abs=100)] == await left(ledger, OTHER_REQUESTS, OTHER_SLOTS, OTHER_TOKENS)

    async def test_no_room_there_means_no_move(self, ledger: Ledger):
        """All of the other workspace's buckets or nothing: the hold stays whole where it is."""
        await admit(ledger, (OTHER_SLOTS, 2))
        hold = await admit(ledger, (REQUESTS, 1), (SLOTS, 1))
        verdict = await ledger.retry(move(hold, (OTHER_REQUESTS, 1), (OTHER_SLOTS, 1)))

        assert (False, OTHER_SLOTS, 50) == (verdict.granted, verdict.by, verdict.budget)
        assert [9, 1, 10, 0] == await left(ledger, REQUESTS, SLOTS, OTHER_REQUESTS, OTHER_SLOTS)
        await settled(ledger, hold)
        assert [2, 0] == await left(ledger, SLOTS, OTHER_SLOTS)

    async def test_before_anything_was_sent_it_is_free(self, ledger: Ledger):
        """A request that never went to its own workspace has not been tried: it costs no retry."""
        hold = await admit(ledger, (REQUESTS, 1))

        assert RetryVerdict(True, 50) == await ledger.retry(move(hold, (OTHER_REQUESTS, 1), free=True))

    async def test_a_settled_hold_does_not_move(self, ledger: Ledger):
        """Nothing is taken anywhere for a hold that is gone."""
        hold = await admit(ledger, (REQUESTS, 1))
        await settled(ledger, hold)

        assert not (await ledger.retry(move(hold, (OTHER_REQUESTS, 1)))).granted
        assert [10] == await left(ledger, OTHER_REQUESTS)

    async def test_it_moves_on(self, ledger: Ledger):
        """A hold may move again: the first workspace pays, and nothing is left behind in the second."""
        third = bucket(Kind.SLOTS, 2, owner="workspace:third")
        hold = await admit(ledger, (SLOTS, 1))
        await ledger.retry(move(hold, (OTHER_SLOTS, 1)))
        verdict = await ledger.retry(Retry(hold, "main", "third", ((third, 1),), leaves="spare"))

        assert RetryVerdict(True, 48) == verdict
        assert [2, 2, 1] == await left(ledger, SLOTS, OTHER_SLOTS, third)
        await settled(ledger, hold)
        assert [2, 2, 2] == await left(ledger, SLOTS, OTHER_SLOTS, third)

    async def test_shadow_buckets_report_only(self, ledger: Ledger):
        """A shadow bucket without room there holds nobody up and is not charged; the team's takes keep their places."""
        shadow = bucket(per_minute=10, owner="workspace:spare", shadow=True)
        tokens = bucket(Kind.TOKENS, 100)
        await admit(ledger, (shadow, 10))
        hold = await admit(ledger, (SLOTS, 1), (tokens, 40))
        verdict = await ledger.retry(move(hold, (shadow, 1), (OTHER_SLOTS, 1)))
        await settled(ledger, hold, Settlement(input=30, produced=True))

        assert verdict.granted
        assert [2, 2, 70, 0] == await left(ledger, SLOTS, OTHER_SLOTS, tokens, shadow)


async def test_moved_holds_of_a_dead_process_are_swept_where_they_are(open_ledger: Open, tmp_path):
    """A crash after a move leaves no slot behind: the next process of the same directory frees it."""
    first = await open_ledger(tmp_path / "one")
    hold = await admit(first, (REQUESTS, 1))
    await first.retry(move(hold, (OTHER_REQUESTS, 1)))
    await first.stop()
    second = await open_ledger(tmp_path / "one")
    await until(lambda: second.health.unconfirmed == 0)

    assert [9] == await left(second, OTHER_REQUESTS)


async def test_without_the_store_there_is_no_retry(redis_ledger, valkey: Server):
    """A store that is gone says so; no attempt is made on its behalf."""
    ledger = await redis_ledger()
    hold = await admit(ledger)
    valkey.pause()
    try:
        with pytest.raises(StoreDown):
            await ledger.retry(stay(hold))
    finally:
        valkey.resume()


async def test_a_move_whose_answer_was_lost(redis_ledger, valkey: Server):
    """Moved or not, the store knows: its settlement frees exactly what is held, and both slots are free afterwards."""
    ledger = await redis_ledger()
    hold = await admit(ledger, (SLOTS, 1))
    valkey.pause()
    try:
        with pytest.raises(StoreDown):
            await ledger.retry(move(hold, (OTHER_SLOTS, 1)))
    finally:
        valkey.resume()
    await until(lambda: ledger.health.ok)
    await settled(ledger, hold)

    assert [2, 2] == await left(ledger, SLOTS, OTHER_SLOTS)
