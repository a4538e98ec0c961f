"""What processes admit while the store is away, and the bound that is promised for it."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.buckets import capacity_of
from gateway.core.fallback import AWAY_SECONDS, Fallback
from gateway.core.limits import UNIT, Bucket, Budget, Claim, Granted, Kind, Level, Refused, Settlement, Standing

WALL = 1_795_000_000_000
LATER = WALL / 1000 + 10**6


def claim(number: int, *takes, **more) -> Claim:
    return Claim(f"h{number}", "a", "k", "w", takes, **more)


def requests(per_minute: int) -> Bucket:
    return Bucket("team:a", Kind.REQUESTS, "*", per_minute)


@given(
    live=st.integers(1, 12),
    per_minute=st.integers(1, 500),
    asks=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 8_000)), min_size=1, max_size=150),
    flaps=st.sets(st.integers(0, 149)),
)
def test_the_bound(live: int, per_minute: int, asks: list[tuple[int, int]], flaps: set[int]):
    """k of n processes cut off for T admit together at most (k/n)(capacity + rate x T), also when the store flaps."""
    bucket = requests(per_minute)
    cut_off: dict[int, Fallback] = {}
    now = admitted = 0
    for number, (process, wait) in enumerate(asks):
        now += wait
        process %= live
        local = cut_off.get(process)
        if local is None:
            local = cut_off[process] = Fallback()
            local.begin(live)
        elif number in flaps:
            local.begin(live)
        admitted += isinstance(local.reserve(claim(number, (bucket, 1)), now, WALL), Granted)

    assert admitted * UNIT * live <= len(cut_off) * (capacity_of(bucket) + per_minute * now)


def test_it_starts_at_the_last_level_seen():
    """A bucket that was nearly empty when the store went is nearly empty without it, and refills at its share."""
    bucket, local = requests(60), Fallback()
    local.see(Granted("h", (Level(bucket, 4, 0.0),)), now=0)
    local.begin(2)
    first = [local.reserve(claim(n, (bucket, 1)), 0, WALL) for n in range(3)]
    later = [local.reserve(claim(n, (bucket, 1)), 2000, WALL) for n in range(3, 5)]

    assert [True, True, False] == [isinstance(verdict, Granted) for verdict in first]
    assert [True, False] == [isinstance(verdict, Granted) for verdict in later]


def test_a_second_outage_goes_on_where_the_first_ended():
    """A store that comes back for a moment does not refill the share, even when it says that all is well."""
    bucket, local = requests(60), Fallback()
    local.begin(2)
    for number in range(30):
        assert isinstance(local.reserve(claim(number, (bucket, 1)), 0, WALL), Granted)
    local.see(Granted("h", (Level(bucket, 60, 0.0),)), now=10)
    local.begin(2)

    assert isinstance(local.reserve(claim(31, (bucket, 1)), 20, WALL), Refused)


def test_a_request_beyond_the_share_waits_for_the_store():
    """It is refused with a wait, not for ever: with the store back it may pass."""
    bucket, local = requests(3), Fallback()
    local.begin(4)
    refused = local.reserve(claim(1, (bucket, 1)), 0, WALL)

    assert isinstance(refused, Refused)
    assert (bucket, AWAY_SECONDS, False) == (refused.by, refused.retry_after_seconds, refused.never)


def test_tokens_are_held_at_the_bucket_and_corrected():
    """A claim larger than the share passes a full bucket and leaves a debt of what it really used, times the share."""
    tokens, local = Bucket("team:a", Kind.TOKENS, "*", 1000), Fallback()
    local.begin(4)
    one = claim(1, (tokens, 400))
    granted = local.reserve(one, 0, WALL)
    local.settle(one.hold, Settlement(input=300, output=50, produced=True), 0)
    refused = local.reserve(claim(2, (tokens, 1)), 0, WALL)

    assert isinstance(granted, Granted)
    assert isinstance(refused, Refused)
    assert 4 * 350 - 1000 + 4 == round(refused.retry_after_seconds * 1000 / 60)


def test_slots_are_shared_and_come_back():
    """Of four slots each of two processes has two."""
    slots, local = Bucket("team:a", Kind.SLOTS, "*", 4), Fallback()
    local.begin(2)
    verdicts = [local.reserve(claim(n, (slots, 1)), 0, WALL) for n in range(3)]
    local.settle("h0", Settlement(), 0)

    assert [True, True, False] == [isinstance(verdict, Granted) for verdict in verdicts]
    assert isinstance(local.reserve(claim(4, (slots, 1)), 0, WALL), Granted)


def test_a_budget_is_its_last_remainder_divided():
    """$10 were left of $100, so one of two processes may spend $5; what is spent counts whatever was held."""
    budget, local = Budget("team:a", 100 * 10**9, "month"), Fallback()
    local.see(Granted("h", (), (Standing(budget, 80 * 10**9, 10 * 10**9, 100 * 10**9, LATER),)), 0)
    local.begin(2)
    first = claim(1, spends=((budget, 4 * 10**9),))
    verdicts = [local.reserve(first, 0, WALL)]
    local.settle(first.hold, Settlement(nano=3 * 10**9, produced=True), 0)
    verdicts += [local.reserve(claim(n, spends=((budget, 10**9),)), 0, WALL) for n in (2, 3, 4)]

    assert [True, True, True, False] == [isinstance(verdict, Granted) for verdict in verdicts]


def test_a_budget_of_a_new_period_has_its_whole_share():
    """What was left of yesterday says nothing about today."""
    budget, local = Budget("team:a", 10**9, "day"), Fallback()
    local.see(Granted("h", (), (Standing(budget, 10**9, 0, 10**9, WALL / 1000 - 1),)), 0)
    local.begin(2)

    assert isinstance(local.reserve(claim(1, spends=((budget, 5 * 10**8),)), 0, WALL), Granted)
    assert isinstance(local.reserve(claim(2, spends=((budget, 1),)), 0, WALL), Refused)


def test_after_lost_data_blocking_budgets_stay_closed():
    """What the store forgot is not known here either."""
    local = Fallback()
    local.begin(1)
    local.lost = True
    blocking, warning = (Budget("team:a", 10**9, "day", mode=mode) for mode in ("block", "warn"))
    refused = local.reserve(claim(1, spends=((blocking, 1),)), 0, WALL)

    assert isinstance(refused, Refused)
    assert refused.unavailable
    assert isinstance(local.reserve(claim(2, spends=((warning, 1),)), 0, WALL), Granted)


def test_a_hold_of_the_store_is_left_alone():
    """Settling what was admitted by the store changes no share."""
    bucket, local = requests(60), Fallback()
    local.begin(1)
    local.settle("gwr_of_the_store", Settlement(input=10**6, nano=5, produced=True), 0)
    granted = local.reserve(claim(1, (bucket, 1)), 0, WALL)

    assert isinstance(granted, Granted)
    assert [59] == [level.remaining for level in granted.levels]


def test_budget_beyond_the_share_is_not_exhausted() -> None:
    """Who asks for more than the share of a budget that has money is told to come soon; at its end, to stay away."""
    budget, resets = Budget("team:a", 10**9, "month"), 10**10
    seen = []
    for spent in (10**8, 10**9):
        local = Fallback()
        local.see(Granted("h", (), (Standing(budget, spent, 0, 10**9, resets),)), 0)
        local.begin(100)
        refused = local.reserve(Claim("h2", "a", "k", "w", (), ((budget, 10**7),), nano=10**7), 1, 10**12)
        assert isinstance(refused, Refused)
        seen.append((refused.held, refused.retry_after_seconds == AWAY_SECONDS))

    assert [(True, True), (False, False)] == seen
