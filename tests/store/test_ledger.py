"""The laws of holds and settlements, for every store."""

import asyncio
import time
from dataclasses import replace

import pytest

from gateway.core.limits import Granted, Kind, Refused, Settlement
from gateway.core.periods import day_of, month_of
from gateway.store.ledger import Holder, Ledger, Row
from tests.store.conftest import Heard, bucket, budget, claim
from tests.until import until

NOTHING = Settlement()


async def left(ledger: Ledger, *buckets) -> list[int]:
    return [level.remaining for level in (await ledger.peek(buckets, ())).levels]


async def money(ledger: Ledger, *budgets) -> list[tuple[int, int]]:
    """Spent and held of each budget, once every settlement is booked."""
    await until(lambda: ledger.health.unconfirmed == 0)
    return [(standing.spent_nano, standing.held_nano) for standing in (await ledger.peek((), budgets)).standings]


class TestBuckets:
    async def test_room_for_ten_admits_ten(self, ledger: Ledger):
        """500 concurrent claims on a bucket with room for 10 admit 10, and the others take nothing anywhere."""
        few, many = bucket(per_minute=10), bucket(Kind.TOKENS, 10**6, owner="workspace:main")
        verdicts = await asyncio.gather(*(ledger.reserve(claim((few, 1), (many, 1000))) for _ in range(500)))

        assert 10 == sum(isinstance(verdict, Granted) for verdict in verdicts)
        assert [0, 990_000] == pytest.approx(await left(ledger, few, many), abs=2000)

    async def test_a_refusal_says_which_how_long_and_what_is_left(self, ledger: Ledger):
        """The tightest limit is named, with a wait that is true for that claim, and every level is told."""
        slow, fast = bucket(per_minute=6), bucket(Kind.INPUT, 600)
        await ledger.reserve(claim((slow, 6), (fast, 600)))
        refused = await ledger.reserve(claim((slow, 1), (fast, 10)))

        assert isinstance(refused, Refused)
        assert (slow, False, False) == (refused.by, refused.close, refused.never)
        assert 9 < refused.retry_after_seconds <= 10
        assert [(slow, 0), (fast, pytest.approx(0, abs=9))] == [
            (level.bucket, level.remaining) for level in refused.levels
        ]
        assert [pytest.approx(60, abs=1), pytest.approx(60, abs=1)] == [
            lvl.full_after_seconds for lvl in refused.levels
        ]

    async def test_after_the_wait_it_passes(self, ledger: Ledger):
        """Whoever comes back after `retry_after_seconds`, alone, is admitted."""
        quick = bucket(per_minute=1200)  # one in 50 ms
        await ledger.reserve(claim((quick, 1200)))
        again = claim((quick, 3))
        refused = await ledger.reserve(again)
        assert isinstance(refused, Refused)
        await asyncio.sleep(refused.retry_after_seconds)

        assert isinstance(await ledger.reserve(again), Granted)

    async def test_requests_are_never_given_back_tokens_are(self, ledger: Ledger):
        """When nothing was produced, tokens go back whole and the request unit stays taken."""
        requests, tokens = bucket(per_minute=10), bucket(Kind.TOKENS, 60)
        one = claim((requests, 1), (tokens, 50))
        await ledger.reserve(one)
        assert [9, 10] == await left(ledger, requests, tokens)
        ledger.settle(one.hold, NOTHING)
        await until(lambda: ledger.health.unconfirmed == 0)

        assert [9, 60] == await left(ledger, requests, tokens)

    async def test_the_difference_to_the_hold_is_booked(self, ledger: Ledger):
        """Each bucket ends at what was used: input at input, output at output, tokens at their sum."""
        kinds = [bucket(kind, 60) for kind in (Kind.TOKENS, Kind.INPUT, Kind.OUTPUT)]
        one = claim(*((each, 40) for each in kinds))
        await ledger.reserve(one)
        ledger.settle(one.hold, Settlement(input=10, output=3, produced=True))
        await until(lambda: ledger.health.unconfirmed == 0)

        assert [47, 50, 57] == await left(ledger, *kinds)

    async def test_an_overrun_is_a_debt(self, ledger: Ledger):
        """More used than held: the level goes below nothing, and refills from there."""
        output = bucket(Kind.OUTPUT, 60)
        one = claim((output, 10))
        await ledger.reserve(one)
        ledger.settle(one.hold, Settlement(output=180, produced=True))
        await until(lambda: ledger.health.unconfirmed == 0)
        refused = await ledger.reserve(claim((output, 1)))

        assert isinstance(refused, Refused)
        assert 118 < refused.retry_after_seconds <= 121

    async def test_slots_come_back(self, ledger: Ledger):
        """A slot is taken while its call lasts, whatever came of the call."""
        slots = bucket(Kind.SLOTS, 2)
        first, second = claim((slots, 1)), claim((slots, 1))
        await ledger.reserve(first)
        await ledger.reserve(second)
        refused = await ledger.reserve(claim((slots, 1)))
        ledger.settle(first.hold, NOTHING)
        await until(lambda: ledger.health.unconfirmed == 0)

        assert isinstance(refused, Refused)
        assert (slots, 1.0) == (refused.by, refused.retry_after_seconds)
        assert [1] == await left(ledger, slots)

    async def test_a_claim_that_can_never_fit(self, ledger: Ledger):
        """Only a claim whose least exceeds the capacity is refused for ever; any other is held at the capacity."""
        tokens = bucket(Kind.TOKENS, 100)
        never = await ledger.reserve(claim((tokens, 120)))
        clamped = await ledger.reserve(claim((tokens, 120), at_least=(90,)))

        assert isinstance(never, Refused)
        assert never.never
        assert isinstance(clamped, Granted)
        assert [0] == await left(ledger, tokens)

    async def test_close(self, ledger: Ledger):
        """A refusal at the estimate that its lower bound would have passed says so; a budget's refusal never does."""
        tokens, broke = bucket(Kind.INPUT, 100), budget(1)
        await ledger.reserve(claim((tokens, 50)))
        close = await ledger.reserve(claim((tokens, 60), at_least=(40,)))
        far = await ledger.reserve(claim((tokens, 60), at_least=(55,)))
        poor = await ledger.reserve(claim((tokens, 60), at_least=(40,), spends=((broke, 2 * 10**9),)))

        assert [True, False, False] == [v.close for v in (close, far, poor) if isinstance(v, Refused)]

    async def test_shadow_reports_and_lets_pass(self, ledger: Ledger):
        """A limit in shadow refuses nothing, says what it would have refused, and takes no more than it would have."""
        shadow, real = bucket(per_minute=1, shadow=True), bucket(Kind.TOKENS, 1000)
        first = await ledger.reserve(claim((shadow, 1), (real, 1)))
        beyond = claim((shadow, 1), (real, 1))
        second = await ledger.reserve(beyond)
        ledger.settle(beyond.hold, Settlement(input=1, produced=True))

        assert isinstance(first, Granted)
        assert isinstance(second, Granted)
        assert [(), (shadow,)] == [first.would_refuse, second.would_refuse]
        assert [0] == await left(ledger, shadow)

    async def test_a_changed_limit_neither_refills_nor_empties(self, ledger: Ledger):
        """Lowered, the level is clamped; raised, it stays; and the time before a raise refills at the old rate."""
        was = bucket(per_minute=100)
        await ledger.reserve(claim((was, 40)))
        raised = replace(was, per_minute=6000)
        assert [60] == pytest.approx(await left(ledger, raised), abs=1)
        await ledger.reserve(claim((raised, 1)))
        lowered = replace(was, per_minute=5)
        await ledger.reserve(claim((lowered, 1)))

        assert [4] == await left(ledger, lowered)
        assert [4] == await left(ledger, was)

    async def test_two_takes_on_one_bucket_are_one(self, ledger: Ledger):
        """A request that bills two models under one pattern takes from their bucket once, for both."""
        tokens = bucket(Kind.TOKENS, 100)
        await ledger.reserve(claim((tokens, 30), (tokens, 20)))

        assert [50] == pytest.approx(await left(ledger, tokens), abs=1)


class TestHolds:
    async def test_settling_is_once(self, ledger: Ledger):
        """A second settlement of a hold changes nothing, nor does one of a refused or unknown hold."""
        purse, tokens = budget(10), bucket(Kind.TOKENS, 1000)
        one = claim((tokens, 100), spends=((purse, 10**9),))
        await ledger.reserve(one)
        refused = claim((tokens, 950))
        await ledger.reserve(refused)
        used = Settlement(input=10, nano=5, produced=True)
        places = [ledger.settle(hold, used) for hold in (one.hold, one.hold, refused.hold, "gwr_unknown")]

        assert [True, False, False, False] == [bool(place) for place in places]
        assert [(5, 0)] == await money(ledger, purse)

    async def test_the_client_leaves_during_the_reserve(self, ledger: Ledger):
        """A reserve that was cancelled is settled by its id: slot, tokens and money are back."""
        slots, tokens, purse = bucket(Kind.SLOTS, 1), bucket(Kind.TOKENS, 100), budget(1)
        for _ in range(20):
            one = claim((slots, 1), (tokens, 100), spends=((purse, 10**9),))
            task = asyncio.create_task(ledger.reserve(one))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            ledger.settle(one.hold, NOTHING)

        assert [(0, 0)] == await money(ledger, purse)
        assert [1, 100] == await left(ledger, slots, tokens)

    async def test_a_cancelled_caller_disturbs_nobody(self, ledger: Ledger):
        """Of many reserves in one turn half are cancelled; the others get their own answers."""
        wide = bucket(per_minute=10**6)
        claims = [claim((wide, 1)) for _ in range(100)]
        tasks = [asyncio.create_task(ledger.reserve(one)) for one in claims]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        verdicts = await asyncio.gather(*tasks, return_exceptions=True)

        assert [one.hold for one in claims[1::2]] == [v.hold for v in verdicts[1::2] if isinstance(v, Granted)]

    async def test_who_holds(self, ledger: Ledger):
        """The open holds of a team are listed with key, model and kind."""
        one = claim((bucket(Kind.SLOTS, 2), 1), model="claude-opus-4-8")
        await ledger.reserve(one)
        holders = await ledger.holders("search")

        (found,) = holders
        assert found == Holder(one.hold, "search", "prod", "claude-opus-4-8", "messages", found.since)
        assert abs(found.since - time.time()) < 5
        assert [] == await ledger.holders("other")

    async def test_peeking_takes_nothing(self, ledger: Ledger):
        """Whoever only looks leaves everything as it was, also on buckets that nobody has used."""
        fresh, purse = bucket(per_minute=10), budget(10)
        await ledger.peek([fresh], [purse])
        found = await ledger.peek([fresh], [purse])

        assert [10] == [level.remaining for level in found.levels]
        assert [(0, 0, 10 * 10**9)] == [(s.spent_nano, s.held_nano, s.ceiling_nano) for s in found.standings]


class TestMoney:
    async def test_spent_held_and_asked_for_stay_below_the_ceiling(self, ledger: Ledger):
        """A budget admits while spent + held + amount fits, and says until when it is used up."""
        purse = budget(1)
        one = claim(spends=((purse, 6 * 10**8),))
        await ledger.reserve(one)
        by_hold = await ledger.reserve(claim(spends=((purse, 5 * 10**8),)))
        ledger.settle(one.hold, Settlement(nano=9 * 10**8, produced=True))
        await until(lambda: ledger.health.unconfirmed == 0)
        by_spend = await ledger.reserve(claim(spends=((purse, 2 * 10**8),)))

        assert isinstance(by_hold, Refused)
        assert (purse, True, 1.0) == (by_hold.by, by_hold.held, by_hold.retry_after_seconds)
        assert isinstance(by_spend, Refused)
        assert (purse, False) == (by_spend.by, by_spend.held)
        (standing,) = by_spend.standings
        assert (9 * 10**8, 0) == (standing.spent_nano, standing.held_nano)
        assert by_spend.retry_after_seconds == pytest.approx(standing.resets - time.time(), abs=5)

    async def test_two_hundred_on_the_last_dollar(self, ledger: Ledger, measured):
        """Concurrent calls overrun a budget by at most the sum of their estimate errors."""
        purse = budget(1)
        calls = [claim(spends=((purse, 10**7),)) for _ in range(200)]
        verdicts = await asyncio.gather(*(ledger.reserve(one) for one in calls))
        admitted = [one for one, verdict in zip(calls, verdicts, strict=True) if isinstance(verdict, Granted)]
        for one in admitted:
            ledger.settle(one.hold, Settlement(nano=12_000_000, produced=True))
        [(spent, held)] = await money(ledger, purse)

        measured(f"last dollar: {len(admitted)} of 200 admitted, overrun ${(spent - 10**9) / 10**9:.3f}")
        assert (100, 0) == (len(admitted), held)
        assert spent - 10**9 <= len(admitted) * 2_000_000

    async def test_warn_never_refuses(self, ledger: Ledger):
        """A budget that only warns lets everything pass and is named each time it is over."""
        purse = budget(1, mode="warn")
        first = await ledger.reserve(claim(spends=((purse, 10**9),)))
        second = await ledger.reserve(claim(spends=((purse, 10**9),)))

        assert [(), (purse,)] == [v.would_refuse for v in (first, second) if isinstance(v, Granted)]

    async def test_each_threshold_is_told_once(self, ledger: Ledger, heard: Heard):
        """50, 75, 90 and 100 percent, when the spend goes over them and not again."""
        purse = budget(1, mode="warn")
        for nano in (4, 2, 4, 1):
            one = claim(spends=((purse, 0),))
            await ledger.reserve(one)
            ledger.settle(one.hold, Settlement(nano=nano * 10**8, produced=True))
        await until(lambda: ledger.health.unconfirmed == 0)
        told = [(facts["percent"], facts["spent_nano"]) for facts in heard.named("budget_threshold")]

        assert [(50, 6 * 10**8), (75, 10**9), (90, 10**9), (100, 10**9)] == told

    async def test_a_raise_counts_until_it_ends(self, ledger: Ledger):
        """A temporary raise lifts the ceiling of its budget, and is over at its time."""
        purse = budget(1)
        ask = claim(spends=((purse, 15 * 10**8),))
        await ledger.raise_budget("team:search", "month", 10**9, time.time() + 60)
        raised = await ledger.reserve(ask)
        ledger.settle(ask.hold, NOTHING)
        await until(lambda: ledger.health.unconfirmed == 0)
        await ledger.raise_budget("team:search", "month", 10**9, time.time() - 1)
        lapsed = await ledger.reserve(claim(spends=((purse, 15 * 10**8),)))

        assert isinstance(raised, Granted)
        assert [2 * 10**9] == [standing.ceiling_nano for standing in raised.standings]
        assert isinstance(lapsed, Refused)

    async def test_a_new_budget_knows_what_was_spent_before_it(self, ledger: Ledger):
        """Spend is counted per team and key from the first call, with a budget or without."""
        one = claim()
        await ledger.reserve(one)
        ledger.settle(one.hold, Settlement(nano=7, produced=True))

        assert [(7, 0), (7, 0)] == await money(ledger, budget(1), budget(1, owner="key:search/prod", per="day"))

    async def test_numbers_that_cannot_be_true(self, ledger: Ledger):
        """Negative or absurd usage is not charged: the hold stands, and its row is marked."""
        purse = budget(100)
        for used in (Settlement(input=-5, nano=1, produced=True), Settlement(nano=10**17, produced=True)):
            one = claim(spends=((purse, 10**9),))
            await ledger.reserve(one)
            ledger.settle(one.hold, used)
        assert [(2 * 10**9, 0)] == await money(ledger, purse)
        (row,) = await ledger.rows("day", day_of(_now()), day_of(_now()))

        assert {"requests": 2, "nano": 2 * 10**9, "estimated_requests": 2, "estimated_nano": 2 * 10**9} == row.amounts


class TestRows:
    async def test_a_day_and_a_month(self, ledger: Ledger):
        """Every settlement is in the row of its team, key, model and kind, for its UTC day and its UTC month."""
        for nano, estimated in ((5, None), (7, "cut")):
            one = claim(model="claude-opus-4-8")
            await ledger.reserve(one)
            used = Settlement(3, 2, nano, produced=True, estimated=estimated, usage={"input": 3, "cache_read": 9})
            ledger.settle(one.hold, used)
        unproductive = claim(model="claude-opus-4-8")
        await ledger.reserve(unproductive)
        ledger.settle(unproductive.hold, NOTHING)
        await until(lambda: ledger.health.unconfirmed == 0)
        today, month = day_of(_now()), month_of(_now())
        amounts = {
            "requests": 2,
            "nano": 12,
            "estimated_requests": 1,
            "estimated_nano": 7,
            "input": 6,
            "cache_read": 18,
        }
        row = Row(today, "search", "prod", "claude-opus-4-8", "messages", amounts)

        assert [row] == await ledger.rows("day", today, today)
        assert [replace(row, period=month)] == await ledger.rows("month", month, month, "search")
        assert [] == await ledger.rows("day", today, today, "other")
        assert [] == await ledger.rows("day", "2020-01-01", "2020-01-31")


class TestRestarts:
    async def test_what_was_booked_is_there_after_a_restart(self, open_ledger):
        """Spend, levels and raises outlive an orderly end."""
        requests, purse = bucket(per_minute=10), budget(1)
        ledger = await open_ledger()
        for _ in range(4):
            one = claim((requests, 1), spends=((purse, 10**8),))
            await ledger.reserve(one)
            ledger.settle(one.hold, Settlement(nano=10**7, produced=True))
        await ledger.raise_budget("team:search", "month", 5, time.time() + 60)
        await ledger.stop()
        again = await open_ledger()

        assert [6] == await left(again, requests)
        (standing,) = (await again.peek((), [purse])).standings
        assert (4 * 10**7, 0, 10**9 + 5) == (standing.spent_nano, standing.held_nano, standing.ceiling_nano)


def _now() -> int:
    return int(time.time() * 1000)
