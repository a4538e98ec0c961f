"""The concurrency window halves under many refusals, at most once a second, and goes when they end."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.overload.window import LAST, LEAST, Window


def used(under_way: int, *, refused: int = 0, now: float = 0.0) -> Window:
    """A window with so many calls under way, after 50 answers of which so many were refusals."""
    window = Window(under_way=under_way)
    for n in range(LAST):
        window.record(now, refused=n >= LAST - refused)
    return window


def test_thirty_percent_are_borne() -> None:
    """15 refusals of 50 set no window, the 16th halves what was under way."""
    window = used(100, refused=15)
    assert window.limit is None
    window.record(0.0, refused=True)

    limited: object = window.limit
    assert (50, False) == (limited, window.has_room())


def test_once_a_second() -> None:
    """However many refusals come, it halves once a second and not below an eighth of what was under way."""
    window, limits = used(100, refused=16), []
    for tick in range(80):
        window.record(tick / 10, refused=True)
        limits.append(window.limit)

    assert [50] * 10 + [25] * 10 + [12] * 60 == limits


def test_a_quiet_lane_has_none() -> None:
    """Two calls under way are not made fewer."""
    assert used(LEAST, refused=30).limit is None


def test_answers_open_it_again() -> None:
    """Once refusals are below 30 % each answer makes room for one more, until it is as wide as it was: then it goes."""
    window, limits = used(10, refused=16), []
    assert window.limit == 5
    for _ in range(60):
        window.record(5.0, refused=False)
        limits.append(window.limit)

    grown = [limit for limit in limits if limit != 5]
    assert [6, 7, 8, 9] == grown[:4]
    assert {None} == set(grown[4:])


def test_recovery_forgets() -> None:
    """After an outage nothing of it narrows the lane."""
    window = used(100, refused=40)
    window.forget()

    assert (None, 0, True) == (window.limit, window.refused, window.has_room())


@given(st.lists(st.tuples(st.floats(0, 3), st.booleans(), st.integers(0, 200)), max_size=200))
def test_its_laws(history: list[tuple[float, bool, int]]) -> None:
    """Refusals are counted over the last 50; it shrinks only over 30 %, by half, a second after the last time."""
    window, now, halved = Window(), 0.0, float("-inf")
    for passed, refused, under_way in history:
        now += passed
        window.under_way = under_way
        before = window.limit
        window.record(now, refused=refused)
        assert window.refused == sum(window.recent)
        assert window.limit is None or window.limit >= LEAST
        shrank = window.limit is not None and (before is None or window.limit < before)
        if shrank:
            assert window.refused > 0.3 * LAST
            assert now - halved >= 1
            half = (under_way if before is None else before) // 2
            assert window.limit == max(LEAST, 0 if before is None else window.full // 8, half)
            halved = now
