"""Result lines as bills: every line priced on its own, one rounding per row, and no line for nothing."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import batch_bills
from gateway.core.answers import from_batch_line
from gateway.core.batch_bills import BatchBills
from gateway.core.meter import BatchMeter
from gateway.core.work import Bill, Item
from gateway.prices_file import default_table
from gateway.settling import reading
from gateway.settling.reading import Spool

TABLE = default_table()
NOW = 1_795_000_000.0
OPUS, HAIKU = "claude-opus-5", "claude-haiku-4-5"
ITEM = Item(
    id="msgbatch_1", kind="batch", hold="gwr_1", team="search", key="prod", workspace="main", route="batches.create",
    models=(OPUS,), nano=4_000_000, input=400, output=80,
)  # fmt: skip


def line(outcome: str = "succeeded", model: str | None = OPUS, **usage: Any) -> bytes:
    message = {"message": {"model": model, "content": [{"type": "text"}], "usage": usage}}
    return msgspec.json.encode({"custom_id": "r", "result": {"type": outcome, **message}})


def billed(*lines: bytes, requests: int = 4, charge_as: str | None = None, item: Item = ITEM) -> tuple[Bill, ...]:
    bills = BatchBills(item, TABLE, requests=requests, when=NOW, charge_as=charge_as)
    for one in lines:
        bills.add(from_batch_line(one))
    return bills.bills()


usages = st.tuples(st.sampled_from([OPUS, HAIKU]), st.integers(0, 10**5), st.integers(0, 10**5), st.integers(0, 10**5))


@given(st.lists(usages, max_size=30))
def test_each_model_is_rounded_once(lines: list[tuple[str, int, int, int]]) -> None:
    """The sum of the lines at half price, to the nano-dollar; the hold's own id always stands first."""
    rates = {OPUS: (5000, 500, 25000), HAIKU: (1000, 100, 5000)}
    exact = dict.fromkeys(rates, Fraction())
    for model, input, cached, output in lines:
        exact[model] += sum(
            n * Fraction(rate, 2) for n, rate in zip((input, cached, output), rates[model], strict=True)
        )
    bills = billed(*(line(model=m, input_tokens=i, cache_read_input_tokens=c, output_tokens=o) for m, i, c, o in lines))
    found = {bill.model: bill.nano for bill in bills}

    assert {m: int(nano + Fraction(1, 2)) for m, nano in exact.items() if nano} == {m: n for m, n in found.items() if n}
    assert ("gwr_1", OPUS) == (bills[0].id, bills[0].model)
    assert len({bill.id for bill in bills}) == len(bills)


def test_what_a_line_does_not_say_is_its_share() -> None:
    """Of four requests each is a quarter of what was expected; the row says that it is an estimate."""
    (bill,) = billed(b"{ no line", line(input_tokens=100, output_tokens=20), line(model=OPUS))

    assert Bill("gwr_1", OPUS, 3 * (100 * 2500 + 20 * 12500), {"input": 300, "output": 60}, 3, "no_usage") == bill


@pytest.mark.parametrize("outcome", ["errored", "canceled", "expired"])
def test_what_was_not_served_is_free(outcome: str) -> None:
    """Whatever else such a line says."""
    assert (Bill("gwr_1", OPUS, requests=0),) == billed(line(outcome, input_tokens=10**6))


def test_an_outcome_nobody_knows_is_not_free() -> None:
    """It may have cost something, so it costs its share."""
    (bill,) = billed(line("partially_served", input_tokens=1))

    assert ("no_usage", 1) == (bill.estimated, bill.requests)
    assert bill.nano > 0


def test_a_model_without_a_price() -> None:
    """The model that was asked for, else the one that stands in, else the share of what was held."""
    future = msgspec.structs.replace(ITEM, models=("claude-from-the-future-9",))
    text = line(model="claude-from-the-future-9", input_tokens=100, output_tokens=0)
    asked = billed(text)
    stand_in = billed(text, item=future, charge_as=OPUS)
    share = billed(text, item=future)

    assert [250_000, 250_000, 1_000_000] == [some[0].nano for some in (asked, stand_in, share)]
    assert [None, None, "no_usage"] == [some[0].estimated for some in (asked, stand_in, share)]


def test_a_row_is_never_more_than_the_ledger_believes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a number of tokens another bill is begun; together they are the same money."""
    monkeypatch.setattr(batch_bills, "MOST_TOKENS", 1000)
    bills = billed(*(line(input_tokens=600, output_tokens=0) for _ in range(10)))

    assert ["gwr_1", "gwr_1.1", "gwr_1.2", "gwr_1.3", "gwr_1.4"] == [bill.id for bill in bills]
    assert 10 * 600 * 2500 == sum(bill.nano for bill in bills)


def test_long_results_go_through_a_file_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of them stands in the directory, whenever one looks, and they come back whole."""
    monkeypatch.setattr(reading, "SPOOL_BYTES", 1000)
    spool = Spool(tmp_path)
    lines = [line(input_tokens=n) + b"\n" for n in range(100)]
    for one in lines:
        spool.write(one)
    spool.rewind()

    assert ([], sum(map(len, lines))) == (list(tmp_path.iterdir()), spool.size)
    assert b"".join(lines) == b"".join(pieces(spool))
    spool.close()


def pieces(spool: Spool) -> Iterator[bytes]:
    while piece := spool.read(777):
        yield piece


def test_memory_does_not_grow_with_the_lines() -> None:
    """A hundred thousand lines leave two rows behind."""
    bills, meter = BatchBills(ITEM, TABLE, requests=10**5, when=NOW, charge_as=None), BatchMeter()
    block = b"".join(line(model=model, input_tokens=7) + b"\n" for model in (OPUS, HAIKU) for _ in range(500))
    for _ in range(20):
        meter.feed(block)
        for one in meter.take():
            bills.add(one)

    assert [10**4, 10**4] == [bill.requests for bill in bills.bills()]
    assert ([], 2) == (meter.take(), sum(len(rows) for rows in bills._rows.values()))
