"""The breaker opens on an outage, not on bad luck, and closes soon after it."""

import random

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.overload.breaker import FEWEST, MOST_PAUSE, PROBE_EVERY, SPAN, Admission, Breaker


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(FEWEST):
        breaker.record(now, failed=True, probe=False, roll=1.0)
    return breaker


def test_ten_failures_open_it() -> None:
    """Nine failures are bad luck, ten without a success are an outage; the wait that is said is true."""
    breaker = Breaker()
    changed = [breaker.record(n / 8, failed=True, probe=False, roll=1.0) for n in range(10)]

    assert [False] * 9 + [True] == changed
    assert ("open", Admission(1.0)) == (breaker.state(1.125), breaker.admit(1.125))


def test_old_failures_do_not_count() -> None:
    """Ten failures spread over minutes leave it closed: the lane is hardly used."""
    breaker = Breaker()
    changed = [breaker.record(n * SPAN / 8, failed=True, probe=False, roll=1.0) for n in range(50)]

    assert not any(changed)


def test_a_fifth_at_random_never_opens_it() -> None:
    """100,000 attempts of which 20 % fail leave it closed."""
    dice, breaker = random.Random(3), Breaker()

    assert not any(breaker.record(n / 100, failed=dice.random() < 0.2, probe=False, roll=0.0) for n in range(100_000))


def test_one_probe_at_a_time() -> None:
    """After the pause one call each half second goes to look; the others are told when it may be worth it."""
    breaker = opened()

    assert Admission(1.0) == breaker.admit(0.0)
    assert ("half_open", Admission(0.0, probe=True)) == (breaker.state(1.0), breaker.admit(1.0))
    assert Admission(PROBE_EVERY - 0.125) == breaker.admit(1.125)
    assert Admission(0.0, probe=True) == breaker.admit(1.5)


def test_a_probe_that_succeeds_closes_it() -> None:
    """One good answer is enough, and what failed before is forgotten."""
    breaker = opened()
    breaker.admit(1.0)

    assert breaker.record(1.2, failed=False, probe=True, roll=0.0)
    assert ("closed", Admission(0.0)) == (breaker.state(1.2), breaker.admit(1.2))
    assert not breaker.record(1.3, failed=True, probe=False, roll=0.0)


def test_a_probe_that_fails_opens_it_for_longer() -> None:
    """1 s, 2 s, then 2.5 s: never so long that recovery would take more than 5."""
    breaker, now, pauses = opened(), 0.0, []
    for _ in range(5):
        wait = breaker.admit(now).wait
        pauses.append(wait)
        now += wait
        assert breaker.admit(now).probe
        assert not breaker.record(now, failed=True, probe=True, roll=1.0)

    assert [1.0, 2.0, 2.5, 2.5, 2.5] == pauses


def test_what_began_before_counts_for_nothing() -> None:
    """A long answer that was begun before the outage does not end it."""
    breaker = opened()

    assert not breaker.record(0.5, failed=False, probe=False, roll=0.0)
    assert breaker.state(0.5) == "open"


steps = st.lists(st.tuples(st.floats(0, 2), st.booleans(), st.booleans(), st.floats(0, 1)), max_size=80)


@given(steps)
def test_it_always_finds_back(history: list[tuple[float, bool, bool, float]]) -> None:
    """Whatever happened, a wait is never longer than a pause, and a lane that works again is open within one."""
    breaker, now = Breaker(), 0.0
    for passed, failed, _, roll in history:
        now += passed
        admission = breaker.admit(now)
        assert 0 <= admission.wait <= MOST_PAUSE
        if not admission.wait:
            breaker.record(now, failed=failed, probe=admission.probe, roll=roll)
    now += breaker.admit(now).wait
    admission = breaker.admit(now)
    if not admission.wait:
        breaker.record(now, failed=False, probe=admission.probe, roll=0.0)
    now += admission.wait + PROBE_EVERY
    assert breaker.admit(now).wait == 0 or breaker.state(now) != "open"


def test_an_outage_is_seen_by_few() -> None:
    """60 s without one answer, 100 calls a second: a few dozen attempts instead of 6,000, and back within 3 s."""
    breaker, dice, attempts = Breaker(), random.Random(1), 0
    back = None
    for tick in range(7000):
        now = tick / 100
        admission = breaker.admit(now)
        if admission.wait:
            continue
        down = now < 60
        attempts += down
        breaker.record(now, failed=down, probe=admission.probe, roll=dice.random())
        if not down and back is None:
            back = now - 60

    assert attempts < 60
    assert back is not None
    assert back < 3
