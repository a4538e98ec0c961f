"""Settlements in order, each applied once, none given up: against a store that loses, doubts and forgets."""

import asyncio
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.book import Said
from gateway.core.plan import Charge, Entry, Plan, charge_of
from gateway.store import outbox as outbox_module
from gateway.store.batcher import ReplyError
from gateway.store.ledger import StoreDown
from gateway.store.outbox import Outbox
from tests.store.conftest import Heard

PLAN = Plan([], "a", "k", "m", "messages", 0, leased=True)


def entry(n: int) -> Entry:
    return Entry(n, f"h{n}", 1_795_000_000_000, PLAN, nano=n)


class Disk:
    """A journal that has everything."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.reads = 0

    def after(self, n: int) -> Iterator[Entry]:
        self.reads += 1
        return iter([entry for entry in self.entries if entry.n > n])


class Store:
    """Applies what it gets like the real one; answers when it is let."""

    def __init__(self) -> None:
        self.applied = 0
        self.books: list[int] = []
        self.waiting: list[tuple[Charge, asyncio.Future[bytes]]] = []

    def send(self, sent: Entry) -> tuple[Charge, asyncio.Future[bytes]]:
        it = charge_of(sent, sent.at)
        self.waiting.append((it, asyncio.get_running_loop().create_future()))
        return self.waiting[-1]

    def answer(self, count: int = 1 << 30) -> None:
        taken, self.waiting = self.waiting[:count], self.waiting[count:]
        for it, future in taken:
            future.set_result(msgspec.msgpack.encode(self._apply(it.n)))

    def lose(self, applied: int = 0) -> None:
        """The connection breaks; the first so many had been applied, and nobody heard of it."""
        taken, self.waiting = self.waiting, []
        for place, (it, future) in enumerate(taken):
            if place < applied:
                self._apply(it.n)
            future.set_exception(StoreDown("cut"))

    def _apply(self, n: int) -> list[int]:
        if n <= self.applied:
            return [Said.SKIPPED, 0, self.applied]
        if n != self.applied + 1:
            return [Said.GAP, 0, self.applied]
        self.applied = n
        self.books.append(n)
        return [Said.DONE, 0, n, n]


class Scene:
    def __init__(self) -> None:
        self.store, self.disk, self.heard = Store(), Disk(), Heard()
        self.doubts: list[str] = []
        self.booked: list[int] = []
        self.box = Outbox(
            self.store.send,
            self.disk,
            observer=self.heard,
            doubt=self.doubts.append,
            booked=lambda it, booked: self.booked.append(it.n),
        )

    def put(self, count: int, *, journalled: bool = True) -> None:
        for _ in range(count):
            one = entry(self.box.last + 1)
            if journalled:
                self.disk.entries.append(one)
            self.box.put(one, journalled=journalled)

    async def settle_down(self) -> None:
        """As the link does: agree on a number after each loss or doubt, until all is confirmed."""
        for _ in range(1000):
            if self.box.unconfirmed == 0:
                return
            if not self.box.open:
                self.box.rewind(self.store.applied)
            self.box.pump()
            self.store.answer()
            await asyncio.sleep(0)
        raise AssertionError(f"{self.box.unconfirmed} never confirmed")


@pytest.fixture
async def scene() -> Scene:
    return Scene()


async def test_in_order_and_once(scene: Scene):
    """What is put is sent in order, told when it is booked, and forgotten when it is confirmed."""
    scene.put(3)
    scene.box.pump()
    assert [] == scene.store.waiting
    scene.box.rewind(0)
    await scene.settle_down()

    assert ([1, 2, 3], [1, 2, 3], {}) == (scene.store.books, scene.booked, scene.box._recent)


async def test_not_too_many_under_way(scene: Scene):
    """A backlog is sent in windows, so that a reserve never waits behind all of it."""
    scene.put(1000)
    scene.box.rewind(0)
    scene.box.pump()

    assert outbox_module.IN_FLIGHT == len(scene.store.waiting)
    await scene.settle_down()
    assert list(range(1, 1001)) == scene.store.books


async def test_a_gap_is_doubted(scene: Scene):
    """When the store misses a number, nothing more is sent before both agree."""
    scene.put(5)
    scene.box.rewind(2)
    scene.box.pump()
    scene.store.answer()
    await asyncio.sleep(0)

    assert ["settlement 3: GAP, 0 applied"] == scene.doubts
    assert not scene.box.open
    await scene.settle_down()
    assert [1, 2, 3, 4, 5] == scene.store.books


async def test_a_refused_command_is_doubted(scene: Scene):
    """NOSCRIPT and whatever else Redis says instead of an answer leads to a new agreement."""
    scene.put(1)
    scene.box.rewind(0)
    scene.box.pump()
    scene.store.waiting.pop()[1].set_exception(ReplyError("NOSCRIPT gone"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert ["NOSCRIPT gone"] == scene.doubts
    await scene.settle_down()
    assert [1] == scene.store.books


async def test_memory_is_bounded_by_the_journal(scene: Scene, monkeypatch):
    """While the store is away only so much is kept in memory; the rest is read back, in one pass."""
    monkeypatch.setattr(outbox_module, "IN_MEMORY", 100)
    scene.put(2000)
    assert 100 == len(scene.box._recent)
    scene.box.rewind(0)
    await scene.settle_down()

    assert list(range(1, 2001)) == scene.store.books
    assert 1 == scene.disk.reads


async def test_what_no_disk_has_stays_in_memory(scene: Scene, monkeypatch):
    """With a full disk memory is all there is, and its bound does not count."""
    monkeypatch.setattr(outbox_module, "IN_MEMORY", 10)
    scene.put(50, journalled=False)
    scene.box.rewind(0)
    await scene.settle_down()

    assert list(range(1, 51)) == scene.store.books


async def test_a_number_that_nobody_has(scene: Scene, monkeypatch):
    """Neither in memory nor on disk: it is told, and the numbers after it go on."""
    scene.put(5)
    del scene.box._recent[3]
    del scene.disk.entries[2]
    scene.box.rewind(0)
    await scene.settle_down()

    assert [1, 2, 3, 4, 5] == scene.store.books
    assert [{"number": 3}] == scene.heard.named("settlement_unreadable")


async def test_a_store_that_fell_back(scene: Scene):
    """What it had confirmed and then forgot is sent again from the journal."""
    scene.put(10)
    scene.box.rewind(0)
    await scene.settle_down()
    scene.store.applied = 4
    scene.put(2)
    scene.box.rewind(4)
    await scene.settle_down()

    assert [*range(1, 11), *range(5, 13)] == scene.store.books


moves = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(1, 30)),
        st.tuples(st.just("pump"), st.just(0)),
        st.tuples(st.just("answer"), st.integers(1, 20)),
        st.tuples(st.just("lose"), st.integers(0, 20)),
        st.tuples(st.just("agree"), st.just(0)),
        st.tuples(st.just("wait"), st.just(0)),
    ),
    max_size=60,
)


@given(moves=moves)
async def test_whatever_happens(moves: list[tuple[str, int]]):
    """After any history of losses, late answers and agreements each settlement was applied once, in order."""
    scene = Scene()
    scene.box.rewind(0)
    for move, count in moves:
        match move:
            case "put":
                scene.put(count)
            case "pump":
                scene.box.pump()
            case "answer":
                scene.store.answer(count)
            case "lose":
                scene.store.lose(count)
            case "agree":
                scene.box.rewind(scene.store.applied)
            case "wait":
                await asyncio.sleep(0)
    await asyncio.sleep(0)
    await scene.settle_down()

    assert list(range(1, scene.box.last + 1)) == scene.store.books
    assert [] == scene.heard.events
