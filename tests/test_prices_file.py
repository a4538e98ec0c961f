"""The price file: what a good one says, and one bad one per mistake, each told with its line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.prices import Extras, Price, PriceTable, Rates, Tier
from gateway.prices_file import PriceFileError, default_path, load_prices, read_prices

GOOD = """\
prices:
  - models: [m-1, m-2]
    until: 2026-10-07
    rates: {input: 2, write_5m: 2.50, write_1h: 4, read: 0.200, output: 10}
    fast: {input: 4, write_5m: 5, write_1h: 8, read: 0.4, output: 20}
    batch_percent: 40
    us_percent: 110
    regional_percent: 120
    retired: true
  - models: [m-1, m-2]
    since: 2026-10-07
    rates: {input: "1.234", write_5m: 2, write_1h: 3, read: 0.001, output: 5}
    tiers:
      - {above: 1000, input: 2, write_5m: 3, write_1h: 4, read: 0.002, output: 6}
      - {above: 2000, input: 3, write_5m: 4, write_1h: 5, read: 0.003, output: 7}
aliases:
  m-1-20260101: m-1
extras:
  web_search_per_1000: 10
  session_hour: 0.08
  code_execution: {hour: 0.05, minimum_seconds: 300, free_hours_per_month: 1550, charged: true}
"""


def faults(text: str) -> list[str]:
    with pytest.raises(PriceFileError) as caught:
        read_prices(text, "p.yaml")
    return [str(fault) for fault in caught.value.faults]


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new, 1)


def test_good() -> None:
    """Each row becomes a price of each of its models, exactly in nano-dollars."""
    october = 1_791_331_200
    early = Price(
        "m-1", Rates(2000, 2500, 4000, 200, 10_000), (), Rates(4000, 5000, 8000, 400, 20_000), 40, 110, 120,
        until=october, retired=True,
    )  # fmt: skip
    tiers = (Tier(1000, Rates(2000, 3000, 4000, 2, 6000)), Tier(2000, Rates(3000, 4000, 5000, 3, 7000)))
    late = Price("m-1", Rates(1234, 2000, 3000, 1, 5000), tiers, since=october)
    table = read_prices(GOOD)

    assert (early, late) == table.rows["m-1"]
    assert ["m-1", "m-2"] == list(table.rows)
    assert {"m-1-20260101": "m-1"} == table.aliases
    assert Extras(10**7, 8 * 10**7, 5 * 10**7, 300_000, code_execution_charged=True) == table.extras


def test_rows_in_any_order() -> None:
    """The periods of a model may be written in any order."""
    head, first, second = GOOD.split("  - models")
    rows, rest = second.split("aliases")
    swapped = f"{head}  - models{rows}  - models{first}aliases{rest}"

    assert read_prices(GOOD) == read_prices(swapped)


ROW_2 = "{input: 2, write_5m: 2.50, write_1h: 4, read: 0.200, output: 10}"
MISTAKES = {
    "empty": ("", ["p.yaml:1: the file is empty"]),
    "comments only": ("# nothing\n", ["p.yaml:1: the file is empty"]),
    "no mapping": ("- prices\n", ["p.yaml:1: the file must be a mapping, not a list"]),
    "no prices": (
        GOOD[GOOD.index("extras") :], ["p.yaml:1: the file lacks 'prices'"],
    ),
    "no extras": (GOOD[: GOOD.index("extras")], ["p.yaml:1: the file lacks 'extras'"]),
    "a section misspelt": (
        changed("aliases:", "alias:"), ["p.yaml:16: the file has no 'alias'; did you mean 'aliases'?"],
    ),
    "prices that are no list": ("prices: {}\n" + GOOD[GOOD.index("extras") :],
                                ["p.yaml:1: prices must be a list, not a mapping"]),
    "no price at all": ("prices: []\n" + GOOD[GOOD.index("extras") :], ["p.yaml:1: prices is an empty list"]),
    "a row that is a word": (
        changed("  - models: [m-1, m-2]\n    since", "  - m-3\n  - models: [m-1, m-2]\n    since"),
        ["p.yaml:10: a price must be a mapping, not a single value"],
    ),
    "a key misspelt": (
        changed("    us_percent", "    us_percents"),
        ["p.yaml:7: a price has no 'us_percents'; did you mean 'us_percent'?"],
    ),
    "a key twice": (
        changed("    us_percent: 110", "    us_percent: 110\n    us_percent: 111"),
        ["p.yaml:8: 'us_percent' stands twice in a price"],
    ),
    "a key that is a list": (
        changed("    us_percent: 110", "    [a]: 110"), ["p.yaml:7: a key of a price must be a name"],
    ),
    "a merge key": (
        changed("    us_percent: 110", "    <<: {us_percent: 110}"), ["p.yaml:7: a price has no '<<'"],
    ),
    "no rates": (
        changed(f"    rates: {ROW_2}\n", ""), ["p.yaml:2: a price lacks 'rates'"],
    ),
    "no models": (
        changed("  - models: [m-1, m-2]\n    until", "  - until"),
        ["p.yaml:2: a price lacks 'models'"],
    ),
    "models that are a word": (
        changed("models: [m-1, m-2]", "models: m-1"), ["p.yaml:2: models must be a list, not a single value"],
    ),
    "a model twice in a row": (
        changed("models: [m-1, m-2]", "models: [m-1, m-2, m-1]"), ["p.yaml:2: m-1 stands twice in 'models'"],
    ),
    "a model that is a pattern": (
        changed("models: [m-1, m-2]", 'models: [m-1, m-2, "m-*"]'), ["p.yaml:2: 'm-*' is no model id"],
    ),
    "a model without a name": (
        changed("models: [m-1, m-2]", "models: [m-1, m-2, ]\n    # \n").replace("m-2, ]", 'm-2, ""]', 1),
        ["p.yaml:2: '' is no model id"],
    ),
    "a column missing": (
        changed("{input: 2, write_5m: 2.50, write_1h: 4, ", "{input: 2, write_1h: 4, "),
        ["p.yaml:4: rates lacks 'write_5m'"],
    ),
    "a column misspelt": (
        changed("read: 0.200, output: 10", "reed: 0.200, output: 10"),
        ["p.yaml:4: rates has no 'reed'; did you mean 'read'?", "p.yaml:4: rates lacks 'read'"],
    ),
    "negative": (
        changed("output: 10", "output: -10"), ["p.yaml:4: output must be dollars like 12.50, not '-10'"],
    ),
    "nothing": (
        changed("output: 10", "output: 0.000"),
        ["p.yaml:4: output must be above 0; a model that costs nothing would pass every budget"],
    ),
    "a comma": (changed("read: 0.200", 'read: "0,200"'), ["p.yaml:4: read must be dollars like 12.50, not '0,200'"]),
    "an exponent": (changed("read: 0.200", "read: 2e-1"), ["p.yaml:4: read must be dollars like 12.50, not '2e-1'"]),
    "a dollar sign": (
        changed("read: 0.200", "read: $0.20"), ["p.yaml:4: read must be dollars like 12.50, not '$0.20'"],
    ),
    "not a number": (changed("read: 0.200", "read: .nan"), ["p.yaml:4: read must be dollars like 12.50, not '.nan'"]),
    "no value": (changed("read: 0.200", "read: "), ["p.yaml:4: read must be dollars like 12.50, not ''"]),
    "foreign digits": (changed("read: 0.200", "read: ٢"), ["p.yaml:4: read must be dollars like 12.50, not '٢'"]),
    "a list as a price": (
        changed("read: 0.200", "read: [1]"), ["p.yaml:4: read must be a single value, not a list"],
    ),
    "finer than a nano-dollar": (
        changed("read: 0.200", "read: 0.0001"), ["p.yaml:4: read is finer than a nano-dollar: 0.0001"],
    ),
    "rates that are a list": (
        changed(f"rates: {ROW_2}", "rates: [1, 2]"), ["p.yaml:4: rates must be a mapping, not a list"],
    ),
    "tiers that do not rise": (
        changed("above: 2000", "above: 1000"),
        ["p.yaml:15: 'above' must rise from tier to tier; 1000 does not exceed 1000"],
    ),
    "a tier without a border": (
        changed("{above: 1000, ", "{"), ["p.yaml:14: a tier lacks 'above'"],
    ),
    "a border that is no whole number": (
        changed("above: 1000", "above: 1_000"),
        ["p.yaml:14: above must be a whole number from 1 to 1000000000, not '1_000'"],
    ),
    "tiers and fast": (
        changed("    tiers:", "    fast: {input: 1, write_5m: 1, write_1h: 1, read: 1, output: 1}\n    tiers:"),
        ["p.yaml:10: a row has 'tiers' or 'fast', not both: which one would a long fast prompt pay?"],
    ),
    "a percent of nothing": (
        changed("batch_percent: 40", "batch_percent: 0"),
        ["p.yaml:6: batch_percent must be a whole number from 1 to 1000, not '0'"],
    ),
    "a percent that is a factor": (
        changed("us_percent: 110", "us_percent: 1.1"),
        ["p.yaml:7: us_percent must be a whole number from 1 to 1000, not '1.1'"],
    ),
    "a flag that is a word": (
        changed("retired: true", "retired: yes"), ["p.yaml:9: retired must be true or false, not 'yes'"],
    ),
    "a day that is none": (
        changed("since: 2026-10-07", "since: 2026-10-37"),
        ["p.yaml:11: since must be a day like 2026-10-07, not '2026-10-37'"],
    ),
    "a day with a time": (
        changed("until: 2026-10-07", "until: 2026-10-07T00:00:00"),
        ["p.yaml:3: until must be a day like 2026-10-07, not '2026-10-07T00:00:00'"],
    ),
    "a day of a week": (
        changed("since: 2026-10-07", "since: 2026-W41-3"),
        ["p.yaml:11: since must be a day like 2026-10-07, not '2026-W41-3'"],
    ),
    "an end before the beginning": (
        changed("    since: 2026-10-07\n", "    since: 2026-10-07\n    until: 2026-10-07\n"),
        ["p.yaml:10: 'until' is not after 'since'"],
    ),
    "two prices at one time": (
        changed("since: 2026-10-07", "since: 2026-10-06"),
        ["p.yaml:10: m-1 has two prices at one time; give the rows 'since' and 'until'",
         "p.yaml:10: m-2 has two prices at one time; give the rows 'since' and 'until'"],
    ),
    "two prices for ever": (
        changed("    since: 2026-10-07\n", "").replace("    until: 2026-10-07\n", ""),
        ["p.yaml:9: m-1 has two prices at one time; give the rows 'since' and 'until'",
         "p.yaml:9: m-2 has two prices at one time; give the rows 'since' and 'until'"],
    ),
    "a time without a price": (
        changed("since: 2026-10-07", "since: 2026-10-09"),
        ["p.yaml:10: m-1 has no price from 2026-10-07 to 2026-10-09",
         "p.yaml:10: m-2 has no price from 2026-10-07 to 2026-10-09"],
    ),
    "an alias of nothing": (
        changed("m-1-20260101: m-1", "m-1-20260101: m-11"), ["p.yaml:17: m-11 has no price; did you mean 'm-1'?"],
    ),
    "an alias that has prices": (
        changed("m-1-20260101: m-1", "m-2: m-1"), ["p.yaml:17: m-2 has prices of its own, so it cannot be an alias"],
    ),
    "an alias twice": (
        changed("m-1-20260101: m-1", "m-3: m-1\n  m-3: m-2"), ["p.yaml:18: 'm-3' stands twice in aliases"],
    ),
    "an alias that is no id": (changed("m-1-20260101: m-1", '"m 3": m-1'), ["p.yaml:17: 'm 3' is no model id"]),
    "an alias to no id": (changed("m-1-20260101: m-1", "m-3: m*"), ["p.yaml:17: 'm*' is no model id"]),
    "an extra missing": (changed("  session_hour: 0.08\n", ""), ["p.yaml:19: extras lacks 'session_hour'"]),
    "an extra misspelt": (
        changed("session_hour", "session_hours"),
        ["p.yaml:20: extras has no 'session_hours'; did you mean 'session_hour'?",
         "p.yaml:19: extras lacks 'session_hour'"],
    ),
    "searches too fine": (
        changed("web_search_per_1000: 10", "web_search_per_1000: 0.0000001"),
        ["p.yaml:19: web_search_per_1000 is finer than a nano-dollar: 0.0000001"],
    ),
    "seconds beyond a day": (
        changed("minimum_seconds: 300", "minimum_seconds: 86401"),
        ["p.yaml:21: minimum_seconds must be a whole number from 0 to 86400, not '86401'"],
    ),
    "a flag without a value": (
        changed("charged: true", "charged: "), ["p.yaml:21: charged must be true or false, not ''"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistake(text: str, expected: list[str]) -> None:
    """Each mistake is told with its file, its line and what would be right."""
    assert sorted(expected) == sorted(faults(text))


@pytest.mark.parametrize("text", ["prices: [", GOOD + "---\n" + GOOD, "\tprices: 1"])
def test_no_yaml(text: str) -> None:
    """A text that is no YAML, or more than one, is one fault with the line where it stops being it."""
    (fault,) = faults(text)

    assert ["p.yaml", "not YAML"] == [fault.split(":")[0], fault.split(":")[2].strip()]


def test_all_at_once() -> None:
    """All faults of a file are told together, in the order of its lines."""
    text = changed("output: 10", "output: ten").replace("us_percent", "us_percents").replace("hour: 0.05", "hour: x")

    assert [4, 7, 21] == [int(fault.split(":")[1]) for fault in faults(text)]


@given(st.integers(0, 999_999), st.integers(1, 999), st.integers(0, 6))
def test_amounts_are_exact(whole: int, thousandths: int, zeros: int) -> None:
    """An amount is what its digits say, whatever a float would make of them."""
    text = changed("read: 0.200", f"read: {whole}.{thousandths:03}{'0' * zeros}")

    assert whole * 1000 + thousandths == read_prices(text).rows["m-1"][0].rates.read


@given(st.text(alphabet=st.sampled_from("aA0 :-[]{}\n\t#&*!|>'\"%@`,?\x00\u20ac"), max_size=60))
def test_any_text(text: str) -> None:
    """Whatever stands in a file, it is a table or a list of faults."""
    with pytest.raises(PriceFileError):
        read_prices(text)


@pytest.mark.parametrize("text", [b"\xff\xfe\x00", b"prices: \xff", b"[" * 3000], ids=["utf-16", "latin", "deep"])
def test_any_bytes(text: bytes) -> None:
    """Bytes that are no text, or no text a person wrote, are a fault too."""
    with pytest.raises(PriceFileError):
        read_prices(text)


def test_file(tmp_path: Path) -> None:
    """A file's faults carry its path; a file that is not there is the system's error."""
    path = tmp_path / "prices.yaml"
    path.write_text(changed("output: 10", "output: -1"))
    with pytest.raises(PriceFileError) as caught:
        load_prices(path)
    with pytest.raises(FileNotFoundError):
        load_prices(tmp_path / "none.yaml")

    assert f"{path}:4: output must be dollars like 12.50, not '-1'" == str(caught.value)


def test_packaged_table() -> None:
    """The file that comes with the gateway has no fault."""
    table = load_prices(default_path())

    assert isinstance(table, PriceTable)
    assert "claude-opus-5" in table.rows
