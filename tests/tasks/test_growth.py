"""What a cumulative usage is charged: differences that add up to the whole, rounded once, never taken back."""

from collections.abc import Mapping
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.answers import from_session
from gateway.core.cost import cost
from gateway.core.growth import grown
from gateway.core.usage import Usage
from gateway.core.work import Bill, Item, Progress, estimate, release
from gateway.prices_file import default_table

TABLE = default_table()
NOW = 1_795_000_000.0
OPUS = "claude-opus-5"
BASE = Item(
    id="sesn_1", kind="session", hold="gwr_1", team="search", key="prod", workspace="main", route="sessions.create",
    nano=10**9,
)  # fmt: skip


def read(model: str = OPUS, cents: int | None = None, **usage: Any) -> Usage:
    return reading(usage, model, cents)


def reading(usage: Mapping[str, Any], model: str = OPUS, cents: int | None = None) -> Usage:
    more = {"list_cost": {"amount": str(cents), "currency": "USD"}} if cents is not None else {}
    return from_session(msgspec.json.encode({"agent": {"model": {"id": model}}, "usage": {**usage, **more}}))


def step(item: Item, usage: Usage, charge_as: str | None = None) -> tuple[Item, Bill | None]:
    progress, bill = grown(item, usage, TABLE, when=NOW, charge_as=charge_as)
    return msgspec.structs.replace(item, progress=progress), bill


amounts = st.fixed_dictionaries(
    {
        "input_tokens": st.integers(0, 10**6),
        "output_tokens": st.integers(0, 10**6),
        "cache_read_input_tokens": st.integers(0, 10**6),
        "active_seconds": st.integers(0, 10**5).map(lambda ms: ms / 1000),
    }
)


@given(st.lists(amounts, min_size=1, max_size=8))
def test_any_readings_add_up(steps: list[dict[str, float]]) -> None:
    """However often it is looked at, the bills come to the cost of the whole, rounded once."""
    item, booked, total = BASE, 0, dict.fromkeys(steps[0], 0.0)
    for one in steps:
        total = {name: round(total[name] + one[name], 3) for name in total}
        item, bill = step(item, reading(total))
        booked += bill.nano if bill else 0
    whole = cost(TABLE, reading(total), model=OPUS, when=NOW)

    assert whole is not None
    assert whole.nano == booked == item.progress.nano


@given(st.lists(amounts, min_size=2, max_size=6), st.randoms())
def test_readings_in_any_order_are_never_taken_back(steps: list[dict[str, float]], dice: Any) -> None:
    """A reading that is behind another changes nothing; bills are above zero and numbered without a gap."""
    dice.shuffle(steps)
    item, bills = BASE, []
    for one in steps:
        item, bill = step(item, reading(one))
        bills += [bill] if bill else []

    assert all(bill.nano >= 0 for bill in bills)
    assert [f"gwr_1.{n}" for n in range(1, len(bills) + 1)] == [bill.id for bill in bills]
    assert [1, *[0] * (len(bills) - 1)][: len(bills)] == [bill.requests for bill in bills]


def test_the_same_reading_twice_is_billed_once() -> None:
    """Nothing grew, nothing is booked."""
    item, first = step(BASE, read(input_tokens=10, output_tokens=5))
    again, second = step(item, read(input_tokens=10, output_tokens=5))

    assert Bill("gwr_1.1", OPUS, 10 * 5000 + 5 * 25000, {"input": 10, "output": 5}) == first
    assert (item, None) == (again, second)


def test_claudes_own_figure_within_its_rounding() -> None:
    """Cents are too coarse to be charged: as long as they agree with the tokens, the tokens stand."""
    _, bill = step(BASE, read(input_tokens=1000, output_tokens=1000, cents=3))

    assert bill is not None
    assert 30_000_000 == bill.nano


def test_claudes_own_figure_beyond_it() -> None:
    """Another model ran as well: Claude's figure stands, and later ones are charged by what they grew."""
    item, first = step(BASE, read(input_tokens=1000, cents=50))
    _, second = step(item, read(input_tokens=2000, cents=80))

    assert (500_000_000, 300_000_000) == (first and first.nano, second and second.nano)


def test_a_model_without_a_price() -> None:
    """Claude's figure, else the model that stands in for it, else what is held, marked. Never nothing."""
    figure = step(BASE, read("claude-from-the-future-9", input_tokens=1000, cents=7))[1]
    stand_in = step(BASE, read("claude-from-the-future-9", input_tokens=1000), charge_as=OPUS)[1]
    held = step(BASE, read("claude-from-the-future-9", input_tokens=1000))[1]
    seen = [(bill.nano, bill.model, bill.estimated) for bill in (figure, stand_in, held) if bill]

    assert [
        (70_000_000, "claude-from-the-future-9", None),
        (5_000_000, "claude-from-the-future-9", None),
        (10**9, "claude-from-the-future-9", "no_usage"),
    ] == seen


def test_the_end_of_what_cannot_be_known() -> None:
    """What was held stands, less what was booked; the hold itself is let go."""
    used = msgspec.structs.replace(BASE, models=(OPUS,), progress=Progress({}, 0, 4 * 10**8, 3))
    over = msgspec.structs.replace(BASE, progress=Progress({}, 0, 2 * 10**9, 3))

    assert estimate(used, "deleted").bills == (Bill("gwr_1.4", OPUS, 6 * 10**8, {}, 0, "no_usage"), *release(used))
    assert estimate(over, "deleted").bills == release(over)
