"""What settled usage teaches: how far estimates are off, how much input comes from caches, how long answers are.

Two corrections of the input estimate, chosen by measurement (tests/bench/estimate_error.py). Per model, one factor for
each cause of tokens, by least squares with a prior of 1: it finds a new tokenizer or a new hidden prompt without
spoiling the causes that it has not seen. Then per team, one ratio for whatever its texts have in common.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import exp2, log2
from typing import Generic, TypeVar

from gateway.core.day_sums import SECONDS_PER_DAY, DaySums, Vector
from gateway.core.estimate import NAMES, Estimate

T = TypeVar("T")

# The prior weighs as much as this many requests made of one cause alone. Tried from 1 to 30: up to 3 a wrong tokenizer
# is learned in 50 requests (median error 17-21 % to 3-8 %) and a right one is not spoiled (3.0 % to 3.4-4.1 %).
PRIOR = 2.0
FACTORS = (0.2, 5.0)
RATIOS = (0.25, 4.0)  # of one request: beyond, something else was billed than what was weighed
SMALL_REQUEST = 200.0  # tokens at which a request counts half: below, the frame around it is all that it shows
TEAM_SAMPLES = 50
TEAM_FACTORS = (0.5, 2.0)

OUTPUT_SAMPLES = 20
FIRST_OUTPUT = 4096
QUANTILE = 0.9
STEPS_PER_DOUBLING = 4
BUCKETS = 19 * STEPS_PER_DOUBLING  # to 2 ** 19, above every model's largest answer

# What was derived from sums is kept until they have grown by this share.
STALE = 0.02

_CAUSES = len(NAMES)
_PAIRS = tuple((row, column) for row in range(_CAUSES) for column in range(row + 1))
# A model's vector: the number of samples, shares times ratio, shares times shares (their lower triangle).
_MODEL_SIZE = 1 + _CAUSES + len(_PAIRS)
# A team's vector: these four, then the estimates by cause, so that its ratio is to the model's factors of today.
_SAMPLES, _ACTUAL, _CACHEABLE, _CACHED = range(4)
_TEAM_SIZE = 4 + _CAUSES
# An output's vector: the number of samples, then a histogram.
_OUTPUT_SIZE = 1 + BUCKETS


@dataclass(frozen=True, slots=True)
class _Team:
    """What is known of a team's use of a model."""

    actual: float | None  # None: too few samples for a factor of its own
    causes: Vector
    hits: float  # the share of what could be cached that was

    def factor(self, factors: Vector) -> float:
        if self.actual is None:
            return 1.0
        return min(max(self.actual / max(_dot(self.causes, factors), 1.0), TEAM_FACTORS[0]), TEAM_FACTORS[1])


@dataclass(slots=True)
class _Derived(Generic[T]):
    value: T
    samples: float  # behind it
    added: int  # since
    stamp: tuple[int, int]  # others' sums and the day


class Learning:
    """The learned corrections of one installation. `sums` is what replicas share."""

    def __init__(self) -> None:
        self.sums = DaySums()
        self._factors: dict[str, _Derived[Vector]] = {}
        self._teams: dict[str, _Derived[_Team]] = {}
        self._outputs: dict[str, _Derived[float | None]] = {}

    def input_tokens(self, team: str, model: str, estimate: Estimate, *, now: float) -> float:
        """The input of a request as far as is known before Claude has counted it."""
        factors = self._value(self._factors, f"model|{model}", _MODEL_SIZE, _factors, now)
        factor = self._team(team, model, now).factor(factors)
        return _dot(estimate.causes, factors) * factor + estimate.remembered

    def cached_share(self, team: str, model: str, cacheable: float, *, now: float) -> float:
        """The share of the input that will be read from a cache: what does not count against input limits."""
        return cacheable * self._team(team, model, now).hits

    def output_tokens(self, team: str, model: str, max_tokens: int | None, *, now: float) -> int:
        """What an answer will have, nine times in ten; never more than was asked for."""
        usual = self._value(self._outputs, f"output|{team}|{model}", _OUTPUT_SIZE, _quantile, now)
        expected = FIRST_OUTPUT if usual is None else int(usual)
        return expected if max_tokens is None else min(expected, max_tokens)

    def observe_input(
        self, team: str, model: str, estimate: Estimate, actual: int, *, cacheable: float, cached: int, now: float
    ) -> None:
        """A request's true input, cache reads and writes included, beside its estimate.

        Weak estimates teach only about caches. A request whose input grows while it runs (server tools) must not come.
        """
        row = {_CACHEABLE: cacheable * actual, _CACHED: float(cached)}
        weighed = sum(estimate.causes)
        true = actual - estimate.remembered
        if not estimate.weak and weighed > 0 and true > 0:
            row |= {_SAMPLES: 1.0, _ACTUAL: float(true)}
            row |= {4 + place: tokens for place, tokens in enumerate(estimate.causes)}
            sample = _model_sample(estimate.causes, weighed, true)
            self._add(self._factors, f"model|{model}", sample, _MODEL_SIZE, now)
        self._add(self._teams, f"team|{team}|{model}", row, _TEAM_SIZE, now)

    def observe_output(self, team: str, model: str, tokens: int, *, now: float) -> None:
        """The true output of a finished answer."""
        place = 1 + min(BUCKETS - 1, int(log2(max(1, tokens)) * STEPS_PER_DOUBLING))
        self._add(self._outputs, f"output|{team}|{model}", {0: 1.0, place: 1.0}, _OUTPUT_SIZE, now)

    def _team(self, team: str, model: str, now: float) -> _Team:
        return self._value(self._teams, f"team|{team}|{model}", _TEAM_SIZE, _team, now)

    def _add(
        self, known: Mapping[str, _Derived[T]], key: str, values: Mapping[int, float], size: int, now: float
    ) -> None:
        self.sums.add(key, values, size, now)
        if key in known:
            known[key].added += 1

    def _value(
        self, known: dict[str, _Derived[T]], key: str, size: int, derive: Callable[[Vector, Vector], T], now: float
    ) -> T:
        stamp = (self.sums.version, int(now // SECONDS_PER_DAY))
        entry = known.get(key)
        if entry is None or entry.stamp != stamp or entry.added > entry.samples * STALE:
            plain, faded = self.sums.total(key, size, now)
            entry = known[key] = _Derived(derive(plain, faded), plain[0], 0, stamp)
        return entry.value


def _model_sample(causes: Sequence[float], weighed: float, true: float) -> dict[int, float]:
    """One request as an addition to its model's vector: shares of the estimate that add up to 1, and the true ratio."""
    ratio = min(max(true / weighed, RATIOS[0]), RATIOS[1])
    weight = weighed / (weighed + SMALL_REQUEST)
    shares = {place: tokens / weighed for place, tokens in enumerate(causes) if tokens}
    sample = {0: 1.0}
    for place, share in shares.items():
        sample[1 + place] = share * ratio * weight
    for index, (row, column) in enumerate(_PAIRS):
        if row in shares and column in shares:
            sample[1 + _CAUSES + index] = shares[row] * shares[column] * weight
    return sample


def _factors(plain: Vector, faded: Vector) -> Vector:
    """One factor for each cause: least squares over all samples, with the prior that each is 1."""
    if not plain[0]:
        return [1.0] * _CAUSES
    right = [value + PRIOR for value in faded[1 : 1 + _CAUSES]]
    matrix = [[0.0] * _CAUSES for _ in range(_CAUSES)]
    for (row, column), value in zip(_PAIRS, faded[1 + _CAUSES :], strict=True):
        matrix[row][column] = matrix[column][row] = value
    for place in range(_CAUSES):
        matrix[place][place] += PRIOR
    return [min(max(factor, FACTORS[0]), FACTORS[1]) for factor in solved(matrix, right)]


def solved(matrix: list[Vector], right: Vector) -> Vector:
    """Gaussian elimination, in place; a prior keeps the matrix positive definite, so no pivoting is needed."""
    size = len(right)
    for pivot in range(size):
        for row in range(pivot + 1, size):
            share = matrix[row][pivot] / matrix[pivot][pivot]
            if share:
                matrix[row] = [one - share * other for one, other in zip(matrix[row], matrix[pivot], strict=True)]
                right[row] -= share * right[pivot]
    for row in range(size - 1, -1, -1):
        known = sum([matrix[row][column] * right[column] for column in range(row + 1, size)])
        right[row] = (right[row] - known) / matrix[row][row]
    return right


def _team(plain: Vector, faded: Vector) -> _Team:
    hits = faded[_CACHED] / faded[_CACHEABLE] if faded[_CACHEABLE] > 0 else 0.0
    enough = plain[_SAMPLES] >= TEAM_SAMPLES
    return _Team(faded[_ACTUAL] if enough else None, faded[4:], min(max(hits, 0.0), 1.0))


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return sum([left * right for left, right in zip(one, other, strict=True)])


def _quantile(plain: Vector, faded: Vector) -> float | None:
    """The 90th percentile of a histogram in steps of a quarter doubling, by straight line within a step."""
    if plain[0] < OUTPUT_SAMPLES:
        return None
    wanted = QUANTILE * sum(faded[1:])
    place = 0
    while faded[1 + place] < wanted and place < BUCKETS - 1:
        wanted -= faded[1 + place]
        place += 1
    into = min(1.0, wanted / faded[1 + place])
    return exp2(place / STEPS_PER_DOUBLING) * (1 + (exp2(1 / STEPS_PER_DOUBLING) - 1) * into)
