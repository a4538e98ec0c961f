"""The scripts against the pure arithmetic, on random histories: same answers, same state."""

import struct
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import book
from gateway.core.book import Booked, Held, Reply, Said, Spent, State
from gateway.core.buckets import Tank
from gateway.core.limits import Bucket, Budget, Claim, Kind, Settlement
from gateway.core.plan import Charge, Plan, charge_of, entry_of, held_entry, plan_of, row_name, sweep_of
from gateway.core.retries import Asked, Retry, Tried, asked_of, moved, retry
from gateway.store.keys import Keys
from gateway.store.scripts import Script, script
from tests.servers import Server

# Redis's own clock can't be moved; a key that the test sets can.
CLOCK = "local function clock() return tonumber(redis.call('GET', '{gw}:test-clock')) end"
NOVEMBER = 1_795_000_000_000  # 2026-11-18, in ms
WRITER = "w1"


class OnRedis:
    """The store as the scripts see it, driven like the pure `State`."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.keys = Keys("gw")
        self.reserve_script = script("reserve", clock=CLOCK)
        self.charge_script = script("charge", clock=CLOCK)
        self.retry_script = script("retry", clock=CLOCK)
        self.client.hset(self.keys.store, "epoch", "e1")

    def _call(self, what: Script, keys: list[bytes], *args: Any) -> list[Any]:
        return msgspec.msgpack.decode(self.client.eval(what.text, len(keys), *keys, *args))

    def at(self, now: int) -> None:
        self.client.set("{gw}:test-clock", now)

    def reserve(self, hold: str, plan: Plan) -> Reply:
        keys = [self.keys.store, self.keys.mark(hold), self.keys.holds(WRITER, plan), *self.keys.owners(plan)]
        return Reply.of(self._call(self.reserve_script, keys, "e1", hold, msgspec.msgpack.encode(plan)), plan)

    def retry(self, hold: str, asked: Asked, plan: Plan | None) -> Tried:
        keys = [self.keys.store, self.keys.holds(WRITER), *map(self.keys.owner, asked.owners)]
        part, after = msgspec.msgpack.encode(asked.part), msgspec.msgpack.encode(plan) if plan is not None else ""
        args: list[bytes | str] = ["e1", hold, str(asked.cost), part, asked.leaves, after]
        return Tried.of(self._call(self.retry_script, keys, *args))

    def charge(self, it: Charge, plan: Plan) -> Booked:
        keys = [
            self.keys.store,
            self.keys.mark(it.hold),
            self.keys.holds(WRITER, plan),
            self.keys.swept(WRITER),
            self.keys.writer(WRITER),
            self.keys.rows(it.day),
            self.keys.rows(it.month),
            *self.keys.owners(plan),
        ]
        return Booked.of(self._call(self.charge_script, keys, "e1", msgspec.msgpack.encode(it)))

    def state(self) -> State:
        """What is in Redis, as the pure `State`."""
        state = State()
        for key in self.client.keys("{gw}:*"):
            name = key.decode().removeprefix("{gw}:")
            family, _, rest = name.partition(":")
            if family == "of":
                for field, value in self.client.hgetall(key).items():
                    _read_field(state, rest, field.decode(), value)
            elif family in {"holds", "swept"}:
                held = {k.decode(): _held(v) for k, v in self.client.hgetall(key).items()}
                (state.holds if family == "holds" else state.swept).update(held)
            elif family == "rows":
                for field, value in self.client.hgetall(key).items():
                    row, _, what = field.decode().partition("\t")
                    state.rows[rest, row, what] = int(value)
            elif family == "writer":
                state.applied[rest] = int(self.client.hget(key, "n"))
        return state


def _read_field(state: State, owner: str, field: str, value: bytes) -> None:
    what, _, rest = field.partition("|")
    if what == "spent":
        state.spent[owner, rest] = Spent(*map(int, struct.unpack("<ddd", value)))
    elif what == "held":
        state.held[owner, rest] = int(value)
    elif what == "raise":
        nano, until = map(int, struct.unpack("<dd", value))
        state.raises[owner, rest] = (nano, until)
    elif what == "retries":
        state.retries[owner] = int(value)
    elif what == "slots":
        state.slots[owner, field] = int(value)
    else:
        state.tanks[owner, field] = Tank(*map(int, struct.unpack("<dddd", value)))


def _held(value: bytes) -> Held:
    at, passed = map(int, struct.unpack("<dd", value[:16]))
    return Held(at, passed, msgspec.msgpack.decode(value[16:], type=Plan))


# Few limits and few sizes, so that the steps of a history meet: what one takes, another finds missing.
buckets = st.builds(
    Bucket,
    owner=st.sampled_from(["team:a", "workspace:w"]),
    kind=st.sampled_from([Kind.REQUESTS, Kind.TOKENS, Kind.INPUT, Kind.OUTPUT, Kind.SLOTS]),
    pattern=st.just("*"),
    per_minute=st.sampled_from([3, 7, 10**6, 10**11]),
    burst_seconds=st.sampled_from([20, 60]),
    shadow=st.sampled_from([False, False, True]),
)
budgets = st.builds(
    Budget,
    owner=st.sampled_from(["team:a", "key:a/k"]),
    ceiling_nano=st.sampled_from([1000, 8 * 10**15]),
    per=st.sampled_from(["day", "month"]),
    time_zone=st.sampled_from(["UTC", "Pacific/Auckland"]),
    mode=st.sampled_from(["block", "block", "warn"]),
)
sizes = st.sampled_from([1, 1, 2, 3, 500_000, 10**11])
takes = st.lists(st.tuples(buckets, sizes), min_size=1, max_size=4, unique_by=lambda t: (t[0].owner, t[0].field))
nanos = st.sampled_from([0, 100, 400, 900, 10**15])
spends = st.lists(st.tuples(budgets, nanos), max_size=3, unique_by=lambda s: (s[0].owner, s[0].per))
usages = st.builds(
    Settlement,
    input=st.sampled_from([0, 1, 2, 300_000, 10**9, -1]),
    output=st.sampled_from([0, 1, 200_000, 10**9]),
    nano=nanos,
    produced=st.booleans(),
    estimated=st.sampled_from([None, None, "cut"]),
    usage=st.dictionaries(st.sampled_from(["input", "cache_read", "searches"]), st.integers(0, 9), max_size=2),
)
old = st.integers(1, 4)  # which of the latest holds
steps = st.one_of(
    st.tuples(st.just("pass"), st.sampled_from([1, 17, 5_000, 70_000, -30_000, 86_400_000, 30 * 86_400_000])),
    st.tuples(st.just("reserve"), takes, spends, st.sampled_from([True, True, False])),
    st.tuples(st.just("reserve"), takes, spends, st.sampled_from([True, True, False])),
    st.tuples(st.just("ask again"), old),
    st.tuples(st.just("retry"), old, takes, st.sampled_from(["stay", "stay", "move", "move free", "move unheard"])),
    st.tuples(st.just("settle"), old, usages),
    st.tuples(st.just("settle"), old, usages),
    st.tuples(st.just("crash"), old),
    st.tuples(st.just("sweep"), old),
    st.tuples(st.just("send again"), st.sampled_from([-1, 0, 2])),
    st.tuples(st.just("raise"), nanos),
    st.tuples(st.just("lose"), st.sampled_from([0, 0, 1])),
)


@pytest.fixture(scope="module")
def client(valkey_of_session: Server):
    valkey_of_session.heal()
    with valkey_of_session.client() as client:
        yield client


class Twins:
    """The two stores side by side: every step is put to both."""

    def __init__(self, client: Any) -> None:
        client.flushall()
        self.redis, self.pure = OnRedis(client), State()
        self.now, self.n = NOVEMBER, 0
        self.holds: list[tuple[str, Plan]] = []
        self.last: tuple[Charge, Plan] | None = None
        self.redis.at(self.now)

    def do(self, step: tuple[Any, ...]) -> None:
        match step:
            case ("pass", ms):
                self.now += ms
                self.redis.at(self.now)
                # Redis ends its marks by a clock of its own.
                for hold in [hold for hold, ends in self.pure.marks.items() if ends <= self.now]:
                    del self.pure.marks[hold]
                    self.redis.client.delete(self.redis.keys.mark(hold))
            case ("reserve", takes, spends, leased):
                hold = f"h{len(self.holds)}"
                claim = Claim(
                    hold, "a", "k", "w", tuple(takes), tuple(spends), leased=leased, nano=700, retry_deposit=15_000
                )
                self.holds.append((hold, plan_of(claim, self.now)))
                self.reserve(*self.holds[-1])
            case ("ask again", back) if back <= len(self.holds):
                self.reserve(*self.holds[-back])
            case ("retry", back, takes, how) if back <= len(self.holds):
                self.retry(back, tuple(takes), how)
            case ("settle", back, usage) if back <= len(self.holds):
                hold, plan = self.holds[-back]
                self.charge(charge_of(entry_of(self.n + 1, hold, self.now, plan, usage), self.now), plan)
            case ("crash", back) if back <= len(self.holds):
                hold, plan = self.holds[-back]
                self.charge(charge_of(held_entry(self.n + 1, hold, self.now, plan, "crashed"), self.now), plan)
            case ("sweep", back) if back <= len(self.holds):
                hold, plan = self.holds[-back]
                self.charge(sweep_of(hold, self.now, plan, self.now), plan)
            case ("send again", ahead) if self.last is not None:
                it, plan = self.last
                self.charge(msgspec.structs.replace(it, n=max(1, self.n + ahead)), plan)
            case ("raise", nano):
                until = self.now + 60_000
                self.pure.raises["team:a", "month"] = (nano, until)
                self.redis.client.hset(self.redis.keys.owner("team:a"), "raise|month", struct.pack("<dd", nano, until))
            case ("lose", lost):
                self.pure.lost = lost
                self.redis.client.hset(self.redis.keys.store, "lost", lost)

    def reserve(self, hold: str, plan: Plan) -> None:
        assert book.reserve(self.pure, hold, plan, self.now, self.now) == self.redis.reserve(hold, plan)

    def retry(self, back: int, takes: tuple[tuple[Bucket, int], ...], how: str) -> None:
        """`unheard`: the answer to a move is lost, so its process settles by the plan it asked for."""
        hold, plan = self.holds[-back]
        moves = how != "stay" and plan.leased and not plan.moved
        other = tuple((replace(bucket, owner="workspace:v" if moves else "workspace:w"), n) for bucket, n in takes)
        other = tuple({bucket.field: (bucket, n) for bucket, n in other}.values())
        asked = asked_of(
            Retry(hold, "w", "v" if moves else "w", other, leaves="w" if moves else "", free=how == "move free")
        )
        after = moved(plan, asked) if moves else None
        tried = retry(self.pure, hold, asked, self.now)
        assert tried == self.redis.retry(hold, asked, after)
        if after is not None and (tried.said == Said.GRANTED or how == "move unheard"):
            self.holds[-back] = hold, after

    def charge(self, it: Charge, plan: Plan) -> None:
        self.last = it, plan
        assert book.charge(self.pure, WRITER, it, self.now, self.now) == self.redis.charge(it, plan)
        self.n = self.pure.applied.get(WRITER, 0)

    def states(self) -> tuple[State, State]:
        """Marks apart: Redis drops them by its own clock."""
        pure = {name: value for name, value in vars(self.pure).items() if name not in {"marks", "lost"}}
        return State(**pure), self.redis.state()


@settings(max_examples=100)
@given(history=st.lists(steps, min_size=8, max_size=40))
def test_lua_and_python_agree(client: Any, history: list[Any]):
    """After every step of a random history both stores have said the same and hold the same."""
    twins = Twins(client)
    for step in history:
        twins.do(step)
    pure, on_redis = twins.states()

    assert pure == on_redis


def test_row_names_survive_odd_names():
    """A team's name may hold anything; its row is still one field."""
    plan = Plan([], 'a"b\t|c', "k", "m", "messages", 0, leased=True)

    assert '["a\\"b\\t|c","k","m","messages"]' == row_name(plan)
