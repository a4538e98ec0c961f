"""Sums of several processes: whatever the order, they add up, and old days fade."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.day_sums import KEPT_DAYS, SECONDS_PER_DAY, DaySums

NOON = 20_000 * SECONDS_PER_DAY + 43_200.0
SIZE = 3

ADDITIONS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b#c|d"]), st.integers(0, SIZE - 1), st.integers(1, 9), st.integers(0, KEPT_DAYS - 1)
    ),
    max_size=12,
)


class Store:
    """What Redis does with the sums: fields by day that are added to."""

    def __init__(self) -> None:
        self.days: dict[int, dict[str, float]] = {}

    def add(self, taken: dict[int, dict[str, float]]) -> None:
        for day, fields in taken.items():
            known = self.days.setdefault(day, {})
            for name, value in fields.items():
                known[name] = known.get(name, 0.0) + value


@given(st.lists(st.tuples(st.integers(0, 2), ADDITIONS, st.booleans()), max_size=8))
def test_replicas_agree_with_one_process(turns: list[tuple[int, list[tuple[str, int, int, int]], bool]]) -> None:
    """Three processes that add, send and refresh in any order, some sends failing, end with the sums of one."""
    store = Store()
    alone = DaySums()
    replicas = [DaySums() for _ in range(3)]
    for index, additions, arrives in turns:
        for key, place, value, age in additions:
            for sums in (alone, replicas[index]):
                sums.add(key, {place: float(value)}, SIZE, NOON - age * SECONDS_PER_DAY)
        taken = replicas[index].take()
        if arrives:
            store.add(taken)
            replicas[index].confirm()
    for sums in [*replicas, *replicas]:  # once for what had failed before, once for what came after it
        store.add(sums.take())
        sums.confirm()
    for sums in replicas:
        for day, fields in store.days.items():
            sums.refresh(day, fields)

    for key in ("a", "b#c|d", "unknown"):
        expected = alone.total(key, SIZE, NOON)
        for sums in replicas:
            plain, faded = sums.total(key, SIZE, NOON)
            assert plain == pytest.approx(expected[0])
            assert faded == pytest.approx(expected[1])


def test_old_days_fade_and_go() -> None:
    """A day's sums count half after two days, and not at all once they are no longer kept."""
    sums = DaySums()
    for age in range(KEPT_DAYS + 2):
        sums.add("a", {0: 1.0}, 1, NOON - age * SECONDS_PER_DAY)

    plain, faded = sums.total("a", 1, NOON)
    assert [KEPT_DAYS] == plain
    assert [sum(0.5 ** (age / 2) for age in range(KEPT_DAYS))] == pytest.approx(faded)


def test_days_that_are_over_are_not_kept() -> None:
    """What the store said of a day goes once the day no longer counts."""
    sums = DaySums()
    for day in range(100):
        sums.refresh(day, {"a#0": 1.0})

    assert list(range(100 - KEPT_DAYS, 100)) == sorted(sums._stored)


def test_what_was_not_sent_is_sent_again() -> None:
    """A send that was not confirmed is repeated as it was; what came after it follows, and counts all the while."""
    sums = DaySums()
    sums.add("a", {1: 2.0}, 2, NOON)
    first = sums.take()
    sums.add("a", {1: 3.0}, 2, NOON)
    second = sums.take()

    assert [{20_000: {"a#1": 2.0}}, {20_000: {"a#1": 2.0}}] == [first, second]
    assert [0.0, 5.0] == sums.total("a", 2, NOON)[0]

    sums.confirm()
    assert {20_000: {"a#1": 3.0}} == sums.take()
    sums.confirm()
    assert {} == sums.take()
    assert [0.0, 5.0] == sums.total("a", 2, NOON)[0]
