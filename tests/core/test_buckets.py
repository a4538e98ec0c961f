"""The bucket law: what is admitted, what is left, and how long to wait."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import book
from gateway.core.book import Said, State
from gateway.core.buckets import FLOOR, Tank, capacity_of, correct, refill, wait_ms, whole_units
from gateway.core.limits import MOST_UNITS, UNIT, Bucket, Claim, Kind, Refused, bucket_faults
from gateway.core.plan import plan_of
from gateway.core.verdicts import verdict_of

WIDEST = MOST_UNITS * UNIT

NOVEMBER = 1_795_000_000_000


def requests(per_minute: int, **more) -> Bucket:
    return Bucket("team:a", Kind.REQUESTS, "*", per_minute, **more)


def ask(state: State, bucket: Bucket, units: int, now: int) -> book.Reply:
    claim = Claim(f"h{now}-{len(state.holds)}", "a", "k", "w", ((bucket, units),))
    return book.reserve(state, claim.hold, plan_of(claim, NOVEMBER), now, NOVEMBER)


waits = st.one_of(st.just(0), st.integers(0, 50), st.integers(0, 30_000), st.integers(-5_000, 10**9))


@given(
    rate=st.sampled_from([1, 7, 60, 997, MOST_UNITS]),
    burst=st.sampled_from([60, 61, 90]),
    moves=st.lists(st.tuples(waits, st.integers(1, 20)), min_size=1, max_size=60),
)
def test_no_interval_admits_more_than_capacity_and_rate(rate: int, burst: int, moves: list[tuple[int, int]]):
    """However claims are timed and sized, between any two moments at most capacity + rate x time passes.

    A clock that goes back and comes again has passed that time twice, in the store as well.
    """
    state, bucket, now, passed = State(), requests(rate, burst_seconds=burst), 0, 0
    admitted: list[tuple[int, int]] = []
    for wait, units in moves:
        now += wait
        passed += max(0, wait)
        if ask(state, bucket, units, now).said == Said.GRANTED:
            admitted.append((passed, units))

    for first, (since, _) in enumerate(admitted):
        taken = 0
        for at, units in admitted[first:]:
            taken += units * UNIT
            assert taken <= capacity_of(bucket) + rate * (at - since)


@given(rate=st.integers(1, 10**6), units=st.integers(1, 100), used=st.integers(0, 200))
def test_the_wait_is_true_and_not_longer(rate: int, units: int, used: int):
    """After exactly the wait that a refusal names the claim passes; a millisecond earlier it does not."""
    bucket = requests(max(rate, units))
    state = State(
        tanks={("team:a", bucket.field): Tank(UNIT * (units - used), 0, bucket.per_minute, capacity_of(bucket))}
    )
    wait = wait_ms(UNIT * (units - used), UNIT * units, bucket.per_minute)
    if wait:
        assert Said.REFUSED == ask(state, bucket, units, wait - 1).said

    assert Said.GRANTED == ask(state, bucket, units, wait).said


@pytest.mark.parametrize(
    ("level", "at", "rate", "capacity", "asked_rate", "asked_capacity", "now", "expected"),
    [
        pytest.param(0, 0, 10, 100, 10, 100, 3, 30, id="r per ms"),
        pytest.param(0, 0, 10, 100, 10, 100, 11, 100, id="up to the capacity"),
        pytest.param(90, 0, 10, 100, 10, 100, -5, 90, id="a clock that went back refills nothing"),
        pytest.param(-50, 0, 10, 100, 10, 100, 4, -10, id="out of a debt"),
        pytest.param(80, 0, 10, 100, 10, 20, 0, 20, id="a lowered limit clamps"),
        pytest.param(80, 0, 10, 100, 50, 500, 0, 80, id="a raised limit keeps the level"),
        pytest.param(0, 0, 10, 100, 50, 500, 5, 50, id="time before a raise refills at the old rate"),
        pytest.param(0, 0, 10, 100, 50, 500, 50, 100, id="and to the old capacity"),
        pytest.param(0, 0, 50, 500, 10, 100, 5, 50, id="the stricter of two policies counts"),
        pytest.param(FLOOR, 0, MOST_UNITS, WIDEST, MOST_UNITS, WIDEST, 10**15, WIDEST, id="the widest"),
    ],
)  # fmt: skip
def test_refilling(level, at, rate, capacity, asked_rate, asked_capacity, now, expected):
    """A level moves with time and limits as the rows say."""
    assert expected == refill(Tank(level, at, rate, capacity), asked_rate, asked_capacity, now)


def test_a_new_bucket_is_full():
    """Whoever was never seen may burst at once."""
    assert 600 * UNIT == refill(None, 600, 600 * UNIT, 5)


def test_corrections_use_the_last_limit_and_know_their_ends():
    """Giving back stops at the capacity, charging at the deepest debt, and both count the time that passed first."""
    tank = Tank(50, 0, 10, 100)

    assert Tank(75, 2, 10, 100) == correct(tank, 99, 999, 2, 5)
    assert Tank(100, 2, 10, 100) == correct(tank, 99, 999, 2, 500)
    assert Tank(FLOOR, 2, 10, 100) == correct(tank, 99, 999, 2, -(10**16))
    assert Tank(94, 7, 10, 99) == correct(None, 10, 99, 7, -5)


def test_units_left_are_whole_and_never_below_nothing():
    """Half a request can't be used, and a debt is no number for a header."""
    assert [0, 0, 1, 1] == [whole_units(level) for level in (-5, UNIT - 1, UNIT, 2 * UNIT - 1)]


@pytest.mark.parametrize(
    ("bucket", "fault"),
    [
        (requests(0), "team:a: requests for '*': 0 is not between 1 and 100000000000"),
        (requests(-5), "team:a: requests for '*': -5 is not between 1 and 100000000000"),
        (requests(10**12), "team:a: requests for '*': 1000000000000 is not between 1 and 100000000000"),
        (requests(10, burst_seconds=0), "team:a: requests for '*': burst_seconds 0 is not between 1 and 86400"),
        (
            requests(10, burst_seconds=5),
            "team:a: requests for '*': 10 per minute in 5 s hold less than one; raise burst_seconds to 6 or more",
        ),
        (
            requests(10**11, burst_seconds=90),
            "team:a: requests for '*': holds 150000000000, more than 100000000000; lower burst_seconds",
        ),
        (requests(1, max_wait_seconds=-1), "team:a: requests for '*': max_wait_seconds -1 is not between 0 and 600"),
    ],
)
def test_unusable_limits(bucket: Bucket, fault: str):
    """Each mistake is named with its value and, where there is one, the way out."""
    assert [fault] == bucket_faults([bucket])


def test_one_limit_twice():
    """The same kind with the same pattern twice for one owner leaves open which one counts."""
    one = requests(5)

    assert ["team:a: requests for '*' is limited 2 times"] == bucket_faults([one, replace(one, per_minute=6)])
    assert [] == bucket_faults([one, replace(one, pattern="claude-opus-*"), replace(one, kind=Kind.SLOTS)])


def test_capacity():
    """burst_seconds worth of the rate, in whole units; for slots, their number."""
    assert [600, 60, 900] == [requests(600, burst_seconds=seconds).capacity for seconds in (60, 6, 90)]
    assert 40 == Bucket("team:a", Kind.SLOTS, "*", 40, burst_seconds=6).capacity


def test_the_longest_wait_is_named():
    """Of several limits without room the one that takes longest answers: waiting for another would be in vain."""
    state, quick, slow = State(), requests(600), replace(requests(6), owner="workspace:w")
    both = Claim("h", "a", "k", "w", ((quick, 600), (slow, 6)))
    assert Said.GRANTED == book.reserve(state, "h", plan_of(both, NOVEMBER), 0, NOVEMBER).said
    again = replace(both, hold="h2", takes=((quick, 1), (slow, 1)))
    plan = plan_of(again, NOVEMBER)

    refused = verdict_of(again, plan, book.reserve(state, "h2", plan, 1, NOVEMBER))
    assert isinstance(refused, Refused)
    assert slow == refused.by
