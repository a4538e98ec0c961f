"""Fit the token weights anew: `python tests/bench/fit_weights.py SAMPLES.jsonl`, and paste what it prints.

Each line of the file is {"text": …, "weight": 1.0, "tokens": {"v3": …, "v4.7": …}}: texts of 1-4 kB of all kinds that
clients send, with their true counts (from count_tokens, or an offline reconstruction of the tokenizer), `weight` being
how much the text matters. Only the counts of a text without its message frame fit here. The texts of tests/core/corpus
must not be among them.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gateway.core.learn import solved
from gateway.core.text_counts import FEATURES, SCRIPTS, counts
from gateway.core.token_weights import VOCABULARIES

ROUNDS = 8
RIDGE = 1e-3
CLOSE = 0.03  # errors below this weigh alike: the fit aims at the median, not at the mean square
DEFAULT = 1.2  # of a script that no sample has
HIGHEST = {"other": 2.0}  # too few samples of too different scripts
LOWEST = dict.fromkeys(SCRIPTS, 0.3) | dict.fromkeys(("small", "capitals", "digits", "signs"), 0.0)

Matrix = list[list[float]]


def fit(rows: Matrix, tokens: list[float], weights: list[float]) -> list[float]:
    """Weights that make the relative error small: least squares, reweighted towards least absolute error."""
    size = len(FEATURES)
    shares = [[value / true for value in row] for row, true in zip(rows, tokens, strict=True)]
    total = sum(weights)
    scale = [
        max(1e-4, (sum(w * row[place] ** 2 for row, w in zip(shares, weights, strict=True)) / total) ** 0.5)
        for place in range(size)
    ]
    sparse = [{p: value / scale[p] for p, value in enumerate(row) if value} for row in shares]
    prior = [DEFAULT * scale[p] if name in SCRIPTS else 0.0 for p, name in enumerate(FEATURES)]
    lowest = [LOWEST.get(name, -4.0) * scale[p] for p, name in enumerate(FEATURES)]
    highest = [HIGHEST.get(name, 4.0) * scale[p] for p, name in enumerate(FEATURES)]
    solution: list[float] = []
    trust = [1.0] * len(rows)
    for _ in range(ROUNDS):
        matrix, right = _normal_equations(sparse, [w * t for w, t in zip(weights, trust, strict=True)], size)
        for place in range(size):
            matrix[place][place] += RIDGE * total
            right[place] += RIDGE * total * prior[place]
        solution = _bounded(matrix, right, lowest, highest)
        errors = [abs(sum(value * solution[p] for p, value in row.items()) - 1) for row in sparse]
        trust = [1 / max(error, CLOSE) for error in errors]
        mean = sum(trust) / len(trust)
        trust = [one / mean for one in trust]
    return [value / one for value, one in zip(solution, scale, strict=True)]


def _normal_equations(rows: list[dict[int, float]], weights: list[float], size: int) -> tuple[Matrix, list[float]]:
    matrix = [[0.0] * size for _ in range(size)]
    right = [0.0] * size
    for row, weight in zip(rows, weights, strict=True):
        for place, value in row.items():
            right[place] += weight * value
            line = matrix[place]
            for other, second in row.items():
                line[other] += weight * value * second
    return matrix, right


def _bounded(matrix: Matrix, right: list[float], lowest: list[float], highest: list[float]) -> list[float]:
    """The solution, with what leaves its bounds held there and the rest solved again."""
    held: dict[int, float] = {}
    while True:
        free = [place for place in range(len(right)) if place not in held]
        known = [right[p] - sum(matrix[p][q] * value for q, value in held.items()) for p in free]
        found = dict(zip(free, solved([[matrix[p][q] for q in free] for p in free], known), strict=True))
        outside = {p: min(max(value, lowest[p]), highest[p]) for p, value in found.items()}
        outside = {p: value for p, value in outside.items() if value != found[p]}
        if not outside:
            return [held.get(place, found.get(place, 0.0)) for place in range(len(right))]
        held |= outside


def main(path: str) -> None:
    samples = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    rows = [[float(count) for count in counts(sample["text"].encode())] for sample in samples]
    weights = [sample.get("weight", 1.0) for sample in samples]
    fits = [fit(rows, [sample["tokens"][name] for sample in samples], weights) for name in VOCABULARIES]
    for place, name in enumerate(FEATURES):
        print(f'    "{name}": ({", ".join(f"{one[place]:.3f}" for one in fits)}),')


if __name__ == "__main__":
    main(sys.argv[1])
