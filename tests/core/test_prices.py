"""Prices and costs: every row of the packaged table by hand, exactness against fractions, and who pays for what."""

import ast
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from math import floor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gateway
from gateway.core.cost import PARTS, Ask, Cost, combined, cost, explain, half_up, held
from gateway.core.prices import Extras, Price, PriceTable, Rates, Tier, missing_price, plain_id
from gateway.core.statement import dollars, steps
from gateway.core.usage import Iteration, Usage
from gateway.prices_file import default_table

TABLE = default_table()


def at(day: str) -> float:
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()


NOW = at("2026-11-20")

# A thousand tokens of each kind, and what they cost in nano-dollars, added up by hand from the fact sheet's columns:
# input + 5m write + 1h write + cache read + output, in dollars per million, times 1,000 tokens.
EACH = Usage(input=1000, cache_write_5m=1000, cache_write_1h=1000, cache_read=1000, output=1000)
ROWS = [
    ("claude-fable-5-2",  8 * 10**6 + 10 * 10**6 + 16 * 10**6 + 200_000 + 40 * 10**6, 74_200_000),
    ("claude-mythos-5-2", 8 * 10**6 + 10 * 10**6 + 16 * 10**6 + 200_000 + 40 * 10**6, 74_200_000),
    ("claude-fable-5-1",  10_000_000 + 12_500_000 + 20_000_000 + 250_000 + 50_000_000, 92_750_000),
    ("claude-mythos-5-1", 10_000_000 + 12_500_000 + 20_000_000 + 250_000 + 50_000_000, 92_750_000),
    ("claude-fable-5",    10_000_000 + 12_500_000 + 20_000_000 + 1_000_000 + 50_000_000, 93_500_000),
    ("claude-mythos-5",   10_000_000 + 12_500_000 + 20_000_000 + 1_000_000 + 50_000_000, 93_500_000),
    ("claude-opus-5-5",   4_000_000 + 5_000_000 + 8_000_000 + 200_000 + 20_000_000, 37_200_000),
    ("claude-opus-5",     5_000_000 + 6_250_000 + 10_000_000 + 500_000 + 25_000_000, 46_750_000),
    ("claude-opus-4-8",   5_000_000 + 6_250_000 + 10_000_000 + 500_000 + 25_000_000, 46_750_000),
    ("claude-opus-4-7",   5_000_000 + 6_250_000 + 10_000_000 + 500_000 + 25_000_000, 46_750_000),
    ("claude-opus-4-6",   5_000_000 + 6_250_000 + 10_000_000 + 500_000 + 25_000_000, 46_750_000),
    ("claude-opus-4-5",   5_000_000 + 6_250_000 + 10_000_000 + 500_000 + 25_000_000, 46_750_000),
    ("claude-opus-4-1",   15_000_000 + 18_750_000 + 30_000_000 + 1_500_000 + 75_000_000, 140_250_000),
    ("claude-opus-4",     15_000_000 + 18_750_000 + 30_000_000 + 1_500_000 + 75_000_000, 140_250_000),
    ("claude-sonnet-5-5", 2_000_000 + 2_500_000 + 4_000_000 + 100_000 + 10_000_000, 18_600_000),
    ("claude-sonnet-5",   2_000_000 + 2_500_000 + 4_000_000 + 200_000 + 10_000_000, 18_700_000),
    ("claude-sonnet-4-6", 3_000_000 + 3_750_000 + 6_000_000 + 300_000 + 15_000_000, 28_050_000),
    ("claude-sonnet-4-5", 3_000_000 + 3_750_000 + 6_000_000 + 300_000 + 15_000_000, 28_050_000),
    ("claude-sonnet-4",   3_000_000 + 3_750_000 + 6_000_000 + 300_000 + 15_000_000, 28_050_000),
    ("claude-haiku-5-5",  100_000 + 125_000 + 200_000 + 10_000 + 500_000, 935_000),
    ("claude-haiku-4-5",  1_000_000 + 1_250_000 + 2_000_000 + 100_000 + 5_000_000, 9_350_000),
    ("claude-haiku-3-5",  800_000 + 1_000_000 + 1_600_000 + 80_000 + 4_000_000, 7_480_000),
]  # fmt: skip


def nano(usage: Usage, model: str, when: float = NOW, *, batch: bool = False, regional: bool = False) -> int:
    found = cost(TABLE, usage, model=model, when=when, batch=batch, regional=regional)
    assert found is not None
    return found.nano


class TestRows:
    """The packaged table."""

    @pytest.mark.parametrize(("model", "summed", "written"), ROWS, ids=[row[0] for row in ROWS])
    def test_row(self, model: str, summed: int, written: int) -> None:
        """A thousand tokens of each kind cost what the fact sheet's columns add up to."""
        assert summed == written == nano(EACH, model)

    def test_every_row_is_checked(self) -> None:
        """No row of the table goes unchecked by hand."""
        assert {row[0] for row in ROWS} == set(TABLE.rows)

    @pytest.mark.parametrize(
        ("model", "expected"),
        [
            ("claude-fable-5-2", 148_400_000),
            ("claude-opus-5-5", 74_400_000),
            ("claude-opus-5", 93_500_000),
            ("claude-opus-4-8", 93_500_000),
        ],
    )
    def test_fast(self, model: str, expected: int) -> None:
        """Fast mode has its own columns."""
        assert expected == nano(replace(EACH, speed="fast"), model)

    def test_fast_that_is_not_listed(self) -> None:
        """A model without a fast price is charged twice the standard one, and the cost says so."""
        found = cost(TABLE, replace(EACH, speed="fast"), model="claude-sonnet-5", when=NOW)

        assert found is not None
        assert (37_400_000, ("fast_unlisted",)) == (found.nano, found.notes)

    def test_fast_mode_of_opus_4_8_ends(self) -> None:
        """From December the model has no fast price of its own."""
        last, first = at("2026-11-30T23:59:59"), at("2026-12-01")
        prices = [TABLE.find("claude-opus-4-8", when) for when in (last, first)]

        assert [True, False] == [price is not None and price.fast is not None for price in prices]

    def test_a_price_changes_at_midnight_utc(self) -> None:
        """The cache reads of Sonnet 5.5 were halved on 2026-10-07."""
        usage = Usage(cache_read=1_000_000)
        days = (at("2026-10-06T23:59:59"), at("2026-10-07"))

        assert [200_000_000, 100_000_000] == [nano(usage, "claude-sonnet-5-5", day) for day in days]

    @pytest.mark.parametrize(
        ("usage", "expected"),
        [
            (Usage(input=100_000, output=1000), 100_000 * 100 + 1000 * 500),
            (Usage(input=100_001, output=1000), 100_001 * 500 + 1000 * 2500),
            (Usage(input=1, cache_read=60_000, cache_write_5m=20_000, cache_write_1h=20_000, output=1000),
             1 * 500 + 60_000 * 50 + 20_000 * 625 + 20_000 * 1000 + 1000 * 2500),
            (Usage(input=1, cache_read=99_999, output=1_000_000), 1 * 100 + 99_999 * 10 + 1_000_000 * 500),
        ],
        ids=["at the border", "above it", "above it with the cache", "output is no prompt"],
    )  # fmt: skip
    def test_prompt_length(self, usage: Usage, expected: int) -> None:
        """A prompt of more than 100,000 tokens, cache included, puts the whole answer into the dearer tier."""
        assert expected == nano(usage, "claude-haiku-5-5")

    def test_prompt_length_counts_per_run(self) -> None:
        """Two runs of 60,000 tokens are two short prompts, not a long one."""
        runs = (Iteration("message", None, 60_000, 10), Iteration("message", None, 60_000, 10))

        assert 2 * (60_000 * 100 + 10 * 500) == nano(Usage(input=120_000, iterations=runs), "claude-haiku-5-5")

    @pytest.mark.parametrize(
        ("model", "how", "usage", "expected"),
        [
            ("claude-opus-5", {"batch": True}, EACH, 23_375_000),
            ("claude-opus-5", {}, replace(EACH, service_tier="batch"), 23_375_000),
            ("claude-opus-5", {"batch": True}, replace(EACH, service_tier="batch"), 23_375_000),
            ("claude-opus-5", {}, replace(EACH, geo="us"), 51_425_000),
            ("claude-opus-4-5", {}, replace(EACH, geo="us"), 46_750_000),
            ("claude-opus-5", {}, replace(EACH, geo="global"), 46_750_000),
            ("claude-opus-4-5", {"regional": True}, EACH, 51_425_000),
            ("claude-opus-4-1", {"regional": True}, EACH, 140_250_000),
            ("claude-opus-5", {"batch": True}, replace(EACH, geo="us"), 25_712_500),
            ("claude-opus-5", {"batch": True, "regional": True}, replace(EACH, geo="us"), 28_283_750),
            ("claude-opus-5", {}, replace(EACH, service_tier="priority"), 46_750_000),
        ],
    )
    def test_percents(self, model: str, how: dict[str, bool], usage: Usage, expected: int) -> None:
        """A batch halves, US residency and regional endpoints add a tenth where the model has them; they multiply."""
        assert expected == nano(usage, model, **how)

    @pytest.mark.parametrize(
        ("usage", "expected"),
        [
            (Usage(web_searches=3), 30_000_000),
            (Usage(web_searches=1, service_tier="batch", geo="us"), 10_000_000),
            (Usage(web_fetches=3), 0),
            (Usage(active_ms=3_600_000), 80_000_000),
            (Usage(active_ms=1), 22),  # 80,000,000 / 3,600,000 = 22.2
            (Usage(active_ms=8), 178),  # 177.8
        ],
    )
    def test_extras(self, usage: Usage, expected: int) -> None:
        """Searches cost a cent each, sessions eight cents an hour; no percent applies to either."""
        assert expected == nano(usage, "claude-opus-5")

    def test_code_execution(self) -> None:
        """Container time is named and left to the invoice, or its minimum is charged, as the table says."""
        usage = Usage(code_executions=4)
        charging = replace(TABLE, extras=replace(TABLE.extras, code_execution_charged=True))
        found = [cost(table, usage, model="claude-opus-5", when=NOW) for table in (TABLE, charging)]

        # Five minutes of an hour at five cents: 50,000,000 / 12 = 4,166,666.7
        assert [(0, ("code_execution_not_charged",)), (4_166_667, ())] == [
            (each.nano, each.notes) for each in found if each is not None
        ]

    @pytest.mark.parametrize(
        ("usage", "note"),
        [
            (Usage(service_tier="gold"), "unknown_service_tier"),
            (Usage(geo="mars"), "unknown_geo"),
            (Usage(speed="warp"), "unknown_speed"),
            (Usage(estimated="fallback_credit"), "fallback_credit_not_applied"),
        ],
    )
    def test_notes(self, usage: Usage, note: str) -> None:
        """A word the table does not know is charged as standard, and the cost says so."""
        found = cost(TABLE, replace(usage, input=1000), model="claude-opus-5", when=NOW)

        assert found == Cost(5_000_000, 5_000_000 * PARTS, "claude-opus-5", notes=(note,))

    def test_every_model_of_the_api(self) -> None:
        """Each id the SDK knows has a price; the deprecated preview without a published one is refused."""
        current = (
            "fable-5-2 mythos-5-2 haiku-5-5 sonnet-5-5 fable-5-1 opus-5-5 mythos-5-1 sonnet-5 fable-5 mythos-5 opus-5 "
            "opus-4-8 opus-4-7 opus-4-6 mythos-preview sonnet-4-6 haiku-4-5 haiku-4-5-20251001 opus-4-5 "
            "opus-4-5-20251101 sonnet-4-5 sonnet-4-5-20250929"
        )
        ids = [f"claude-{name}" for name in current.split()]

        assert ["claude-mythos-preview"] == [model for model in ids if TABLE.find(model, NOW) is None]


class TestNames:
    """The ids of one model."""

    @pytest.mark.parametrize(
        ("model", "canonical"),
        [
            ("claude-opus-5", "claude-opus-5"),
            ("claude-opus-5[1m]", "claude-opus-5"),
            ("claude-haiku-4-5-20251001", "claude-haiku-4-5"),
            ("claude-haiku-4-5-20251001[1m]", "claude-haiku-4-5"),
            ("claude-haiku-4-5@20251001", "claude-haiku-4-5"),
            ("claude-opus-5@default", "claude-opus-5"),
            ("anthropic.claude-opus-5", "claude-opus-5"),
            ("us.anthropic.claude-fable-5-2", "claude-fable-5-2"),
            ("apac.anthropic.claude-opus-4-6-v1", "claude-opus-4-6"),
            ("global.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
            ("anthropic.claude-3-5-haiku-20241022-v1:0:200k", "claude-haiku-3-5"),
            ("arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-opus-4-5-20251101-v1:0", "claude-opus-4-5"),
            ("publishers/anthropic/models/claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
            ("claude-3-5-haiku-latest", "claude-haiku-3-5"),
            ("claude-opus-5-20260101", None),
            ("claude-opus-55", None),
            ("claude-opus", None),
            ("Claude-Opus-5", None),
            ("claude-opus-5 ", None),
            ("arn:aws:bedrock:us-east-1:1:application-inference-profile/abc123", None),
            ("", None),
            ("gpt-5", None),
        ],
    )  # fmt: skip
    def test_canonical(self, model: str, canonical: str | None) -> None:
        """A platform's wrapping and a listed alias are seen through; nothing is guessed."""
        assert canonical == TABLE.canonical(model)

    @given(st.text(max_size=200))
    def test_any_name(self, model: str) -> None:
        """Any text is a name with a price or without one, never an error."""
        assert (TABLE.canonical(model) is None) == (TABLE.find(model, NOW) is None)

    def test_missing(self) -> None:
        """Who meets a model without a price learns which row to add, and what else can be done."""
        text = missing_price("us.anthropic.claude-opus-9")

        assert "{models: [claude-opus-9], input: …" in text
        assert "charge_as" in text

    def test_plain_id_is_stable(self) -> None:
        """A plain id is its own plain form."""
        assert [row[0] for row in ROWS] == [plain_id(row[0]) for row in ROWS]


class TestRuns:
    """Who pays for which run."""

    def test_each_run_at_its_own_price(self) -> None:
        """An adviser is billed at the adviser's rates, the answer's runs at the asked model's."""
        usage = Usage(
            input=412, output=531,
            iterations=(
                Iteration("message", None, 412, 89),
                Iteration("advisor_message", "claude-fable-5-2", 823, 1612),
                Iteration("message", None, 1348, 442, 412),
            ),
        )  # fmt: skip
        own = (412 + 1348) * 5000 + 412 * 500 + (89 + 442) * 25_000
        adviser = 823 * 8000 + 1612 * 40_000

        assert own + adviser == nano(usage, "claude-opus-5")

    def test_the_adviser_is_not_fast(self) -> None:
        """The speed is that of the answer."""
        usage = Usage(
            speed="fast",
            iterations=(Iteration("message", None, 100, 10), Iteration("advisor_message", "claude-sonnet-5", 100, 10)),
        )

        assert 100 * 10_000 + 10 * 50_000 + 100 * 2000 + 10 * 10_000 == nano(usage, "claude-opus-5")

    def test_a_fallback_model_without_fast_mode_is_not_fast(self) -> None:
        """A model that has no fast mode cannot have answered in it, when another one was asked."""
        usage = Usage(input=100, output=10, speed="fast", served_by="claude-sonnet-5")
        found = cost(TABLE, usage, model="claude-opus-5", when=NOW)

        assert found == Cost(300_000, 300_000 * PARTS, "claude-opus-5")

    def test_compaction(self) -> None:
        """The summary's own run is billed beside the answer's."""
        usage = Usage(
            input=23_000, output=1000,
            iterations=(Iteration("compaction", None, 180_000, 3500), Iteration("message", None, 23_000, 1000)),
        )  # fmt: skip

        assert 203_000 * 5000 + 4500 * 25_000 == nano(usage, "claude-opus-5")

    @pytest.mark.parametrize(
        ("declined", "billed"),
        [(Iteration("message", "claude-fable-5", 500, 0), 0), (Iteration("message", "claude-fable-5", 500, 7), 1)],
        ids=["without output", "after some output"],
    )
    def test_fallback(self, declined: Iteration, billed: int) -> None:
        """An attempt that gave way is billed at its own model's price if it wrote something, else not at all."""
        served = Iteration("fallback_message", "claude-opus-4-8", 500, 90)
        usage = Usage(
            input=500, output=90, model="claude-opus-4-8", served_by="claude-opus-4-8", iterations=(declined, served)
        )
        expected = 500 * 5000 + 90 * 25_000 + billed * (500 * 10_000 + 7 * 50_000)
        found = explain(TABLE, usage, model="claude-fable-5", when=NOW)

        assert found is not None
        assert (expected, () if billed else (declined,)) == (found.cost.nano, found.unbilled)
        assert "claude-fable-5" == found.cost.model

    def test_fallback_without_iterations(self) -> None:
        """Then the top level is the serving model's."""
        usage = Usage(input=500, output=90, model="claude-fable-5", served_by="claude-opus-4-8")

        assert 500 * 5000 + 90 * 25_000 == nano(usage, "claude-fable-5")

    def test_refused_before_output(self) -> None:
        """A refusal before any output is reported with tokens and costs nothing."""
        found = cost(TABLE, Usage(input=106, output=1, refused_before_output=True), model="claude-opus-5", when=NOW)

        assert Cost(0, 0, "claude-opus-5", notes=("unbilled_run",)) == found

    def test_refused_after_output(self) -> None:
        """A refusal in mid-stream is billed."""
        usage = Usage(input=106, output=40, stop_reason="refusal")

        assert 106 * 5000 + 40 * 25_000 == nano(usage, "claude-opus-5")

    def test_the_last_of_a_chain_refuses_without_output(self) -> None:
        """The partial answer before it is billed, the refusal is not."""
        runs = (Iteration("message", "claude-fable-5", 500, 7), Iteration("message", "claude-opus-4-8", 500, 0))
        usage = Usage(input=500, stop_reason="refusal", iterations=runs)

        assert 500 * 10_000 + 7 * 50_000 == nano(usage, "claude-fable-5")

    def test_warming_the_cache(self) -> None:
        """No output is no reason not to bill: a request with `max_tokens: 0` pays for its cache writes."""
        usage = Usage(input=4, cache_write_5m=2000, stop_reason="max_tokens")

        assert 4 * 5000 + 2000 * 6250 == nano(usage, "claude-opus-5")

    def test_the_answer_names_a_dated_model(self) -> None:
        """A name in the answer that has a price is the one billed; one without a price changes nothing."""
        names = ("claude-haiku-4-5-20251001", "my-deployment", None)
        costs = [nano(Usage(input=1000, model=name), "claude-haiku-4-5") for name in names]

        assert [1_000_000] * 3 == costs

    def test_a_run_that_calls_the_model_otherwise(self) -> None:
        """A run named by a deployment is the asked model's, when no other served it."""
        usage = Usage(iterations=(Iteration("message", "my-deployment", 1000),))

        assert 1_000_000 == nano(usage, "claude-haiku-4-5")

    @pytest.mark.parametrize(("charge_as", "rate"), [(None, 10_000), ("claude-opus-5", 5000)])
    def test_an_adviser_without_a_price(self, charge_as: str | None, rate: int) -> None:
        """It is charged as the stand-in, else as the dearest model: never nothing."""
        usage = Usage(iterations=(Iteration("message", None, 0, 1), Iteration("advisor_message", "claude-x", 1000)))
        found = cost(TABLE, usage, model="claude-haiku-4-5", when=NOW, charge_as=charge_as)

        assert found is not None
        assert (5000 + 1000 * rate, ("unpriced_run",), None) == (found.nano, found.notes, found.charged_as)

    def test_no_price(self) -> None:
        """A model without a price has no cost; with a stand-in it is charged as that, and says so."""
        usage = Usage(input=1000)
        found = cost(TABLE, usage, model="claude-x", when=NOW, charge_as="claude-opus-5")

        assert cost(TABLE, usage, model="claude-x", when=NOW) is None
        assert Cost(5_000_000, 5_000_000 * PARTS, "claude-opus-5", charged_as="claude-opus-5") == found

    def test_no_stand_in_either(self) -> None:
        """A stand-in without a price is none."""
        assert cost(TABLE, Usage(input=1), model="claude-x", when=NOW, charge_as="claude-y") is None

    def test_savings(self) -> None:
        """Reads save what plain input would have cost, writes cost more; the difference is told with its sign."""
        read = cost(TABLE, Usage(cache_read=1000), model="claude-opus-5", when=NOW)
        write = cost(TABLE, Usage(cache_write_1h=1000), model="claude-opus-5", when=NOW)

        assert [4_500_000, -5_000_000] == [each.saved_nano for each in (read, write) if each is not None]


prices = st.builds(Rates, *[st.integers(1, 100_000)] * 5)
percents = st.integers(1, 300)
tables = st.builds(
    lambda rates, tier, batch, us, regional, extras: PriceTable(
        {"m": (Price("m", rates, (Tier(1000, tier),), None, batch, us, regional),)}, extras=extras
    ),
    prices, prices, percents, percents, percents,
    st.builds(Extras, st.integers(0, 10**8), st.integers(0, 10**9)),
)  # fmt: skip
tokens = st.integers(0, 10**7)
usages = st.builds(
    Usage, input=tokens, output=tokens, cache_read=tokens, cache_write_5m=tokens, cache_write_1h=tokens,
    web_searches=st.integers(0, 100), active_ms=st.integers(0, 10**9), geo=st.sampled_from([None, "us"]),
)  # fmt: skip


def by_fractions(table: PriceTable, usage: Usage, *, batch: bool, regional: bool) -> Fraction:
    """The cost in nano-dollars, worked out the slow way."""
    (price,) = table.rows["m"]
    prompt = usage.input + usage.cache_read + usage.cache_write_5m + usage.cache_write_1h
    rates = price.tiers[0].rates if prompt > 1000 else price.rates
    total = Fraction(usage.input * rates.input + usage.output * rates.output)
    total += usage.cache_read * rates.read + usage.cache_write_5m * rates.write_5m
    total += usage.cache_write_1h * rates.write_1h
    if batch:
        total *= Fraction(price.batch_percent, 100)
    if usage.geo == "us":
        total *= Fraction(price.us_percent, 100)
    if regional:
        total *= Fraction(price.regional_percent, 100)
    total += usage.web_searches * table.extras.web_search
    return total + Fraction(usage.active_ms, 3_600_000) * table.extras.session_hour


class TestExactness:
    """Not a fraction of a nano-dollar is lost."""

    @given(tables, usages, st.booleans(), st.booleans())
    def test_against_fractions(self, table: PriceTable, usage: Usage, batch: bool, regional: bool) -> None:
        """A cost is the exact sum, rounded once, half up."""
        exact = by_fractions(table, usage, batch=batch, regional=regional)
        found = cost(table, usage, model="m", when=0, batch=batch, regional=regional)

        assert found is not None
        assert (exact, floor(exact + Fraction(1, 2))) == (Fraction(found.parts, PARTS), found.nano)

    @given(tables, usages, st.booleans(), st.booleans())
    def test_steps_add_up(self, table: PriceTable, usage: Usage, batch: bool, regional: bool) -> None:
        """The explained steps are the cost."""
        explained = explain(table, usage, model="m", when=0, batch=batch, regional=regional)

        assert explained is not None
        assert explained.cost.parts == sum(line.parts for line in explained.lines)
        assert explained.cost == cost(table, usage, model="m", when=0, batch=batch, regional=regional)

    @given(tables, st.lists(usages, max_size=5))
    def test_many_as_one_row(self, table: PriceTable, several: list[Usage]) -> None:
        """The lines of a batch are added exactly and rounded once."""
        exact = sum((by_fractions(table, usage, batch=True, regional=False) for usage in several), Fraction(0))
        costs = [cost(table, usage, model="m", when=0, batch=True) for usage in several]
        row = combined([each for each in costs if each is not None], model="m")

        assert (exact, floor(exact + Fraction(1, 2))) == (Fraction(row.parts, PARTS), row.nano)

    @pytest.mark.parametrize(
        ("parts", "expected"),
        [(0, 0), (PARTS // 2 - 1, 0), (PARTS // 2, 1), (PARTS, 1), (PARTS * 3 // 2, 2), (-PARTS // 2, 0),
         (-PARTS // 2 - 1, -1), (-PARTS * 3 // 2, -1)],
    )  # fmt: skip
    def test_half_up(self, parts: int, expected: int) -> None:
        """A half is rounded up, also below zero."""
        assert expected == half_up(parts)

    @pytest.mark.parametrize("name", ["core/prices.py", "core/cost.py", "core/statement.py", "prices_file.py"])
    def test_no_float(self, name: str) -> None:
        """The modules of money hold no float: no literal, no division but the whole one, no rounding."""
        tree = ast.parse((Path(gateway.__file__).parent / name).read_text())
        found = [
            ast.unparse(node)
            for node in ast.walk(tree)
            if (isinstance(node, ast.Constant) and isinstance(node.value, float))
            or (isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div))
            or (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"float", "round"})
        ]

        # A path is joined with the same sign.
        assert [] == [code for code in found if "package" not in code]


class TestHeld:
    """What is held before the answer is known."""

    @pytest.mark.parametrize(
        ("ask", "expected"),
        [
            (Ask(("claude-opus-5",), 1000, 100), 1000 * 5000 + 100 * 25_000),
            (Ask(("claude-opus-5", "claude-fable-5"), 1000, 100), 1000 * 10_000 + 100 * 50_000),
            (Ask(("claude-opus-5",), 1000, 100, fast=True), 1000 * 10_000 + 100 * 50_000),
            (Ask(("claude-sonnet-5",), 1000, 100, fast=True), 1000 * 4000 + 100 * 20_000),
            (Ask(("claude-opus-5",), 1000, 100, us=True), 8_250_000),
            (Ask(("claude-opus-5",), 1000, 100, batch=True), 3_750_000),
            (Ask(("claude-opus-5",), 1000, 100, regional=True), 8_250_000),
            (Ask(("claude-opus-5",), 1000, 100, web_searches=5, batch=True), 53_750_000),
            (Ask(("claude-opus-5",), 1000, 100, cache_write="5m"), 1000 * 6250 + 100 * 25_000),
            (Ask(("claude-opus-5",), 1000, 100, cache_write="1h"), 1000 * 10_000 + 100 * 25_000),
            (Ask(("claude-haiku-5-5",), 83_333, 100), 83_333 * 100 + 100 * 500),
            (Ask(("claude-haiku-5-5",), 83_335, 100), 83_335 * 500 + 100 * 2500),
            (Ask(("claude-haiku-5-5",), 83_335, 100, input_error_percent=0), 83_335 * 100 + 100 * 500),
            (Ask(("claude-haiku-5-5",), 200_000, 100), 200_000 * 500 + 100 * 2500),
            (Ask(("claude-opus-5", "claude-x"), 1000, 100), None),
            (Ask((), 1000, 100, web_searches=1), 10_000_000),
        ],
    )
    def test_held(self, ask: Ask, expected: int | None) -> None:
        """The dearest model's estimate is held, on the dear side of a tier that is near; no price, no hold."""
        assert expected == held(TABLE, ask, when=NOW)

    def test_stand_in(self) -> None:
        """A model without a price is held as its stand-in."""
        assert 5_000_000 == held(TABLE, Ask(("claude-x",), 1000, 0), when=NOW, charge_as="claude-opus-5")

    @given(tables, tokens, tokens)
    def test_covers_the_estimate(self, table: PriceTable, input_: int, output: int) -> None:
        """A hold covers an answer of just the estimated tokens, whatever the tiers are."""
        (price,) = table.rows["m"]
        dear = replace(price, tiers=(Tier(1000, Rates(*(rate + 1 for rate in _columns(price.rates)))),))
        table = replace(table, rows={"m": (dear,)})
        amount = held(table, Ask(("m",), input_, output), when=0)
        booked = cost(table, Usage(input=input_, output=output), model="m", when=0)

        assert amount is not None
        assert booked is not None
        assert amount >= booked.nano


def _columns(rates: Rates) -> tuple[int, ...]:
    return (rates.input, rates.write_5m, rates.write_1h, rates.read, rates.output)


class TestStatement:
    """A cost in words."""

    @pytest.mark.parametrize(
        ("parts", "expected"),
        [
            (0, "$0.00"), (PARTS * 10**9, "$1.00"), (PARTS * 1234 * 10**9, "$1,234.00"), (PARTS, "$0.000000001"),
            (PARTS // 2, "$0.0000000005"), (PARTS * 1_500_000_000, "$1.50"), (-PARTS * 10**7, "-$0.01"),
            (PARTS // 9, "$0.000000000111111111…"),
        ],
    )  # fmt: skip
    def test_dollars(self, parts: int, expected: str) -> None:
        """An amount is printed exactly; only what never ends is cut, and shows it."""
        assert expected == dollars(parts)

    def test_steps(self) -> None:
        """Each step can be added up again by hand."""
        usage = Usage(
            input=2095, cache_read=18_000, output=1510, web_searches=2, geo="us", service_tier="batch", active_ms=1001
        )
        explained = explain(TABLE, usage, model="claude-opus-5", when=NOW)
        changed = "x 50% (batch) x 110% (us)"

        assert explained is not None
        assert (
            f"2,095 input tokens of claude-opus-5 at $5.00 per million {changed} = $0.00576125",
            f"18,000 tokens read from the cache of claude-opus-5 at $0.50 per million {changed} = $0.00495",
            f"1,510 output tokens of claude-opus-5 at $25.00 per million {changed} = $0.0207625",
            "2 web searches at $0.01 each = $0.02",
            "1,001 milliseconds of session time at $0.08 an hour = $0.000022244444444444…",
            "sum $0.051495994444444444…, booked as $0.051495994",
            "the prompt cache saved $0.04455 against plain input",
        ) == steps(explained)

    def test_what_is_not_billed(self) -> None:
        """A statement names what it leaves out, and why."""
        usage = Usage(input=412, stop_reason="refusal", refused_before_output=True, code_executions=1)
        explained = explain(TABLE, usage, model="claude-x", when=NOW, charge_as="claude-opus-5")

        assert explained is not None
        assert (
            "not billed: an attempt with 412 prompt tokens and 0 output tokens",
            "An attempt without output gave way or was refused: it is reported, not billed.",
            "Code was executed: its container time is left to the invoice.",
            "The model has no price: charged as claude-opus-5.",
            "sum $0.00, booked as $0.00",
        ) == steps(explained)

    def test_every_note_has_words(self) -> None:
        """No note of a cost is without its sentence."""
        usage = Usage(
            service_tier="x", geo="x", speed="x", code_executions=1, estimated="fallback_credit", stop_reason="refusal",
            iterations=(Iteration("message", None, 1), Iteration("advisor_message", "claude-x", 1)),
        )  # fmt: skip
        strange = explain(TABLE, usage, model="claude-opus-5", when=NOW)
        fast = explain(TABLE, Usage(input=1, speed="fast"), model="claude-sonnet-5", when=NOW)

        assert strange is not None
        assert fast is not None
        assert (7, 1) == (len(strange.cost.notes), len(fast.cost.notes))
        assert all(len(line) > 20 for found in (strange, fast) for line in steps(found))
