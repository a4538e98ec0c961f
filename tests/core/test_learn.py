"""Learning: factors, team ratios, cached shares and output quantiles from settled usage."""

from random import Random
from statistics import quantiles

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.day_sums import SECONDS_PER_DAY
from gateway.core.estimate import NAMES, Estimate
from gateway.core.learn import FIRST_OUTPUT, OUTPUT_SAMPLES, TEAM_SAMPLES, Learning, solved

NOW = 20_000 * SECONDS_PER_DAY + 100.0
MODEL = "claude-opus-5"


def estimate(*, remembered: int = 0, weak: bool = False, **causes: float) -> Estimate:
    return Estimate({}, tuple(causes.get(name, 0.0) for name in NAMES), remembered, 0.0, weak)


def observe(learning: Learning, team: str, given: Estimate, actual: float, *, cached: int = 0) -> None:
    learning.observe_input(team, MODEL, given, round(actual), cacheable=0.5, cached=cached, now=NOW)


def test_nothing_learned_is_the_estimate_itself() -> None:
    """Before the first sample the estimate stands, nothing is expected from caches, and outputs are 4,096."""
    learning = Learning()

    assert 1234.0 == learning.input_tokens("team", MODEL, estimate(letters=1000.0, frame=4.0, remembered=230), now=NOW)
    assert 0.0 == learning.cached_share("team", MODEL, 0.9, now=NOW)
    assert 4096 == learning.output_tokens("team", MODEL, None, now=NOW)
    assert 100 == learning.output_tokens("team", MODEL, 100, now=NOW)


def test_causes_are_told_apart() -> None:
    """From mixtures alone it is learned which cause is dearer than the table says; unseen causes stay as they are."""
    learning = Learning()
    random = Random(1)
    for _ in range(400):
        letters, digits = random.uniform(500, 4000), random.uniform(500, 4000)
        observe(
            learning, f"team {random.random()}", estimate(letters=letters, digits=digits), 1.4 * letters + 0.8 * digits
        )

    def tokens(*, letters: float = 0.0, digits: float = 0.0, three_bytes: float = 0.0) -> float:
        given = estimate(letters=letters, digits=digits, three_bytes=three_bytes)
        return learning.input_tokens("another team", MODEL, given, now=NOW)

    assert tokens(letters=1000.0) == pytest.approx(1400, rel=0.03)
    assert tokens(digits=1000.0) == pytest.approx(800, rel=0.05)
    assert tokens(three_bytes=1000.0) == 1000.0
    assert learning.input_tokens("team", "another model", estimate(letters=1000.0), now=NOW) == 1000.0


def test_a_team_has_its_own_factor_after_fifty_samples() -> None:
    """What is left between a team's truth and the model's factors is its own, from the fiftieth sample on."""
    learning = Learning()
    given = estimate(letters=2000.0)
    for _ in range(600):
        observe(learning, "others", given, 2000)
    for _ in range(TEAM_SAMPLES - 1):
        observe(learning, "team", given, 2600)
    before = learning.input_tokens("team", MODEL, given, now=NOW)
    observe(learning, "team", given, 2600)

    assert before < 2150
    assert learning.input_tokens("team", MODEL, given, now=NOW) == pytest.approx(2600, rel=0.01)
    assert learning.input_tokens("others", MODEL, given, now=NOW) == pytest.approx(2000, rel=0.05)


@given(st.lists(st.tuples(st.floats(1.0, 1e6), st.floats(0.0, 1e7), st.booleans()), min_size=1, max_size=120))
def test_no_history_leads_out_of_bounds(history: list[tuple[float, float, bool]]) -> None:
    """Whatever was billed, an estimate is scaled by 0.2 to 5 for its causes and by 0.5 to 2 for its team."""
    learning = Learning()
    for tokens, actual, weak in history:
        observe(learning, "team", estimate(letters=tokens, signs=tokens / 3, weak=weak), actual)

    assert 100 <= learning.input_tokens("team", MODEL, estimate(letters=1000.0), now=NOW) <= 10_000


def test_weak_estimates_teach_only_about_caches() -> None:
    """An image of unknown size says nothing about letters, but a cache read is a cache read."""
    learning = Learning()
    for _ in range(100):
        observe(learning, "team", estimate(letters=1000.0, images=4784.0, weak=True), 2000, cached=800)

    assert 1000.0 == learning.input_tokens("team", MODEL, estimate(letters=1000.0), now=NOW)
    assert 0.8 * 0.5 == pytest.approx(learning.cached_share("team", MODEL, 0.5, now=NOW))


def test_the_remembered_part_is_neither_scaled_nor_learned_from() -> None:
    """What a thread holds is known exactly; only what was estimated is corrected."""
    learning = Learning()
    for _ in range(200):
        observe(learning, "team", estimate(letters=1000.0, remembered=50_000), 51_500)

    expected = 50_000 + 1500
    given = estimate(letters=1000.0, remembered=50_000)
    assert expected == pytest.approx(learning.input_tokens("team", MODEL, given, now=NOW), rel=0.002)


@given(st.lists(st.integers(1, 128_000), min_size=OUTPUT_SAMPLES, max_size=300))
def test_outputs_are_expected_at_their_ninetieth_percentile(outputs: list[int]) -> None:
    """Nine outputs in ten are at most what is expected, and the expectation is within a step of the true quantile."""
    learning = Learning()
    for tokens in outputs:
        learning.observe_output("team", MODEL, tokens, now=NOW)
    expected = learning.output_tokens("team", MODEL, None, now=NOW)

    assert sum(tokens <= expected * 2**0.25 + 1 for tokens in outputs) >= 0.9 * len(outputs) - 1
    assert sum(tokens >= expected / 2**0.25 - 1 for tokens in outputs) >= 0.1 * len(outputs) - 1
    assert 7 >= learning.output_tokens("team", MODEL, 7, now=NOW)
    assert FIRST_OUTPUT == learning.output_tokens("another team", MODEL, None, now=NOW)


def test_an_even_spread_has_its_quantile() -> None:
    """Outputs spread over 1 to 1,000 are expected at about 900."""
    learning = Learning()
    outputs = [1 + place for place in range(1000)]
    for tokens in outputs:
        learning.observe_output("team", MODEL, tokens, now=NOW)

    assert quantiles(outputs, n=10)[-1] == pytest.approx(learning.output_tokens("team", MODEL, None, now=NOW), rel=0.03)


def test_recent_days_count_more() -> None:
    """Answers that became short are expected to be short before the long ones are forgotten."""
    learning = Learning()
    for _ in range(100):
        learning.observe_output("team", MODEL, 8000, now=NOW)
    for _ in range(100):
        learning.observe_output("team", MODEL, 100, now=NOW + 7 * SECONDS_PER_DAY)

    assert learning.output_tokens("team", MODEL, None, now=NOW + 7 * SECONDS_PER_DAY) < 130
    assert learning.output_tokens("team", MODEL, None, now=NOW + 30 * SECONDS_PER_DAY) == FIRST_OUTPUT


def test_what_others_learned_is_known_after_a_refresh() -> None:
    """A replica that reads the store's sums estimates like the one that observed."""
    teacher, pupil = Learning(), Learning()
    given = estimate(letters=1000.0)
    before = pupil.input_tokens("team", MODEL, given, now=NOW)
    for _ in range(80):
        observe(teacher, "team", given, 1500, cached=300)
        teacher.observe_output("team", MODEL, 77, now=NOW)
    for day, fields in teacher.sums.take().items():
        pupil.sums.refresh(day, fields)

    def known(learning: Learning) -> tuple[float, float, int]:
        return (
            learning.input_tokens("team", MODEL, given, now=NOW),
            learning.cached_share("team", MODEL, 1.0, now=NOW),
            learning.output_tokens("team", MODEL, None, now=NOW),
        )

    assert before == 1000.0
    assert known(teacher) == pytest.approx(known(pupil))


@given(st.integers(1, 6), st.randoms(use_true_random=False))
def test_linear_equations_are_solved(size: int, random: Random) -> None:
    """The solver inverts what a symmetric positive definite matrix does."""
    rows = [[random.uniform(-1, 1) for _ in range(size)] for _ in range(size + 2)]
    matrix = [[sum(r[i] * r[j] for r in rows) + (i == j) for j in range(size)] for i in range(size)]
    wanted = [random.uniform(-5, 5) for _ in range(size)]
    right = [sum(a * b for a, b in zip(row, wanted, strict=True)) for row in matrix]

    assert wanted == pytest.approx(solved(matrix, right))
