"""The key pool: a team keeps its key, a refused key is left at once and comes back when Claude takes it again."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.overload.keys import SECOND_CHANCE, KeyPool, rendezvous
from gateway.core.teams import UpstreamKey

KEYS = [UpstreamKey(name, f"secret of {name}") for name in ("k1", "k2", "k3")]
TEAMS = [f"team-{n}" for n in range(300)]


def chosen(pool: KeyPool, team: str, now: float = 0.0, but: tuple[str, ...] = ()) -> str | None:
    key = pool.choose(KEYS, team, now, but=but)
    return key.name if key is not None else None


def test_a_team_keeps_its_key() -> None:
    """The same key each time, and about a third of the teams for each of three."""
    pool = KeyPool()
    first = {team: chosen(pool, team) for team in TEAMS}

    assert first == {team: chosen(pool, team, now=1e6) for team in TEAMS}
    assert all(70 <= count <= 130 for count in Counter(first.values()).values())


def test_only_its_own_teams_move() -> None:
    """A key that is drained hands over its teams; all others stay, and they all come back with it."""
    pool = KeyPool()
    before = {team: chosen(pool, team) for team in TEAMS}
    pool.set(KEYS[0], "draining", 1.0)
    during = {team: chosen(pool, team) for team in TEAMS}
    pool.set(KEYS[0], "active", 2.0)

    assert {"k2", "k3"} == set(during.values())
    assert all(during[team] == key for team, key in before.items() if key != "k1")
    assert before == {team: chosen(pool, team) for team in TEAMS}


def test_a_new_secret_keeps_its_teams() -> None:
    """The choice goes by name, so a rotated secret moves nobody; its standing is a new one."""
    fresh = [UpstreamKey(key.name, "another") for key in KEYS]
    pool = KeyPool()
    pool.bench(KEYS[0], "401", 0.0)

    assert [rendezvous(KEYS, team).name for team in TEAMS] == [rendezvous(fresh, team).name for team in TEAMS]
    assert "active" == pool.of(fresh[0]).state


def test_benched_keys_are_left_alone() -> None:
    """Once refused, no request goes out with it while another is active; it is news once."""
    pool = KeyPool()

    assert [True, False] == [pool.bench(KEYS[0], "401", now) for now in (0.0, 1.0)]
    assert {"k2", "k3"} == {chosen(pool, team, now=1e6) for team in TEAMS}


def test_draining_before_none() -> None:
    """A draining key is used again rather than nothing."""
    pool = KeyPool()
    pool.set(KEYS[0], "draining", 0.0)
    for key in KEYS[1:]:
        pool.bench(key, "401", 0.0)

    assert {"k1"} == {chosen(pool, team) for team in TEAMS}


def test_a_second_chance() -> None:
    """When every key is benched, one call each half minute tries one; Claude's word brings it back."""
    pool = KeyPool()
    for key in KEYS:
        pool.bench(key, "401", 0.0)
    assert chosen(pool, "a", now=SECOND_CHANCE - 1) is None
    name = chosen(pool, "a", now=SECOND_CHANCE)
    assert name is not None
    key = next(key for key in KEYS if key.name == name)
    pool.sent(key, SECOND_CHANCE)
    others = {chosen(pool, "a", now=SECOND_CHANCE + 1), chosen(pool, "b", now=SECOND_CHANCE + 1)}

    assert name not in others
    assert pool.worked(key, 31.0)
    assert ("active", {name}) == (pool.of(key).state, {chosen(pool, team, now=32.0) for team in TEAMS})


def test_benched_by_hand_stays() -> None:
    """An operator's word holds: no second chance, and a late answer does not bring it back."""
    pool = KeyPool()
    pool.set(KEYS[0], "benched", 0.0)

    assert not pool.worked(KEYS[0], 1.0)
    assert pool.choose(KEYS[:1], "a", 1e9, but=()) is None


def test_those_tried_are_left_out() -> None:
    """Within a request no key is tried twice."""
    assert chosen(KeyPool(), "a", but=("k1", "k2")) == "k3"
    assert chosen(KeyPool(), "a", but=("k1", "k2", "k3")) is None


def test_it_forgets_what_policy_dropped() -> None:
    """Keys that are not in the policy any more leave nothing behind, and are said to be silent."""
    pool = KeyPool()
    pool.bench(KEYS[0], "401", 0.0)

    assert KEYS[:1] == pool.keep(KEYS[1:])
    assert pool.of(KEYS[0]).state == "active"


def test_a_dropped_key_lives_as_long_as_its_calls() -> None:
    """A key with calls out is silent when the last of them is over, and not before."""
    pool = KeyPool()
    pool.sent(KEYS[0], 1.0)
    pool.sent(KEYS[0], 2.0)
    pool.sent(KEYS[1], 2.0)

    assert [] == pool.keep(KEYS[1:])
    assert (2, 2.0) == (pool.of(KEYS[0]).under_way, pool.of(KEYS[0]).used)
    assert [False, True] == [pool.done(KEYS[0], now) for now in (3.0, 4.0)]
    assert not pool.done(KEYS[1], 5.0)
    assert (0, 5.0) == (pool.of(KEYS[1]).under_way, pool.of(KEYS[1]).used)


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["bench", "drain", "activate", "worked"])), max_size=30))
def test_an_active_key_is_always_preferred(history: list[tuple[int, str]]) -> None:
    """Whatever happened to the keys, a request goes out with an active one while there is one."""
    pool = KeyPool()
    for now, (which, what) in enumerate(history):
        key = KEYS[which]
        match what:
            case "bench":
                pool.bench(key, "401", now)
            case "worked":
                pool.worked(key, now)
            case _:
                pool.set(key, "draining" if what == "drain" else "active", now)
    states = {key.name: pool.of(key).state for key in KEYS}
    name = chosen(pool, "a", now=len(history))

    if "active" in states.values():
        assert name is not None
        assert "active" == states[name]
