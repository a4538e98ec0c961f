"""What the ledger does for work that goes on after its call, asked of each store alike."""

import time

from gateway.core.limits import Granted, Settlement
from gateway.core.periods import day_of
from gateway.store import audit
from gateway.store.ledger import Ledger
from tests.store.conftest import Open, budget, claim, heard, open_ledger  # noqa: F401  # the stores' own fixtures

PURSE = budget(100)
USED = Settlement(nano=300, produced=True, usage={"input": 10, "output": 5}, requests=7)
MORE = Settlement(nano=20, produced=True, usage={"output": 1}, requests=0)


async def booked(ledger: Ledger) -> tuple[dict[str, dict[str, int]], tuple[int, int]]:
    """The amounts of today's rows by model, and what the budget has spent and held."""
    today = day_of(int(time.time() * 1000))
    rows = {row.model: dict(row.amounts) for row in await ledger.rows("day", today, today)}
    (standing,) = (await ledger.peek([], [PURSE])).standings
    return rows, (standing.spent_nano, standing.held_nano)


def held(hold: str, nano: int = 10**9):
    return claim(hold=hold, spends=((PURSE, nano),), model="m", kind="batches.create", leased=False)


def beside(id: str, model: str = "n"):
    return claim(hold=id, spends=((PURSE, 0),), model=model, kind="batches.create", leased=False, nano=0)


async def test_finish_books_once(open_ledger: Open) -> None:  # noqa: F811
    """The hold goes, the cost is booked, and doing it again changes nothing."""
    ledger = await open_ledger()
    assert isinstance(await ledger.reserve(held("h1")), Granted)
    ledger.leave("h1")
    assert ({}, (0, 10**9)) == await booked(ledger)
    for _ in range(3):
        await ledger.finish("h1", USED)

    assert ({"m": {"requests": 7, "nano": 300, "input": 10, "output": 5}}, (300, 0)) == await booked(ledger)


async def test_book_books_once(open_ledger: Open) -> None:  # noqa: F811
    """Under an id of its own, beside a hold that stays; a row that goes on counts no request again."""
    ledger = await open_ledger()
    await ledger.reserve(held("h1"))
    for _ in range(3):
        await ledger.book(beside("h1.1"), USED)
        await ledger.book(beside("h1.2"), MORE)

    assert ({"n": {"requests": 7, "nano": 320, "input": 10, "output": 6}}, (320, 10**9)) == await booked(ledger)


async def test_once_over_restarts(open_ledger: Open, tmp_path) -> None:  # noqa: F811
    """An id that was booked is known to those that come after."""
    first = await open_ledger(tmp_path / "a")
    await first.reserve(held("h1"))
    await first.book(beside("h1.1"), USED)
    await first.finish("h1", MORE)
    await first.stop()
    second = await open_ledger(tmp_path / "a")
    await second.book(beside("h1.1"), USED)
    await second.finish("h1", MORE)

    assert (320, 0) == (await booked(second))[1]


async def test_a_hold_outlives_its_process(open_ledger: Open, tmp_path) -> None:  # noqa: F811
    """What one held and left, the next one finishes."""
    first = await open_ledger(tmp_path / "a")
    await first.reserve(held("h1"))
    first.leave("h1")
    await first.stop()
    second = await open_ledger(tmp_path / "a")
    assert (0, 10**9) == (await booked(second))[1]
    await second.finish("h1", USED)

    assert (300, 0) == (await booked(second))[1]


async def test_nothing_was_used(open_ledger: Open) -> None:  # noqa: F811
    """A hold that is finished with nothing leaves no row."""
    ledger = await open_ledger()
    await ledger.reserve(held("h1"))
    await ledger.finish("h1", Settlement())

    assert ({}, (0, 0)) == await booked(ledger)


async def test_an_audit_counts_it_once(open_ledger: Open, tmp_path) -> None:  # noqa: F811
    """Journalled by two who both thought they had to, it is one cost, in the store and in the files."""
    directory = tmp_path / "a"
    first = await open_ledger(directory)
    await first.reserve(held("h1"))
    await first.book(beside("h1.1"), USED)
    await first.finish("h1", MORE)
    await first.stop()
    second = await open_ledger(directory)
    await second.book(beside("h1.1"), USED)
    await second.finish("h1", MORE)
    report = await audit.verify(second, [directory / "journal"])  # type: ignore[arg-type]  # both stores can be audited

    assert (True, ()) == (report.agrees, report.differences)
