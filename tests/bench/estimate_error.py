"""How far off the input estimate is, before and after 50 learned requests, on texts that neither fit nor learning saw.

Run: python tests/bench/estimate_error.py
"""

import sys
from pathlib import Path
from random import Random
from statistics import median, quantiles

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gateway.core.json_fields import fields
from gateway.core.learn import Learning
from gateway.core.weigh import weigh
from tests.core.corpus_requests import Case, held_out_cases, learning_cases

CALLS = 50
# Model, the vocabulary that Claude counts with, and what the row shows. In the last two the table has the wrong
# vocabulary for the model, as it would for a model with a new tokenizer.
SITUATIONS = (
    ("claude-opus-4-5", "v3", "Claude 3 to Opus 4.6, Haiku 4.5"),
    ("claude-opus-4-7", "v4.7", "Opus 4.7"),
    ("claude-opus-5", "v4.7", "Opus 4.8 and later"),
    ("claude-opus-4-5", "v4.7", "a denser tokenizer than the table says"),
    ("claude-opus-5", "v3", "a sparser tokenizer than the table says"),
)


def errors(cases: list[Case], model: str, learning: Learning) -> dict[str, list[float]]:
    """Relative errors by kind; teaches nothing."""
    found: dict[str, list[float]] = {}
    for case in cases:
        tokens = learning.input_tokens("team", model, weigh(fields(case.body)).input(), now=0.0)
        found.setdefault(case.kind, []).append(abs(tokens / case.tokens - 1))
    return found


def taught(model: str, vocabulary: str, random: Random) -> Learning:
    learning = Learning()
    for case in learning_cases(model, vocabulary, CALLS, random):
        estimate = weigh(fields(case.body)).input()
        learning.observe_input("team", model, estimate, case.tokens, cacheable=0.0, cached=0, now=0.0)
    return learning


def line(found: dict[str, list[float]]) -> str:
    everything = [error for several in found.values() for error in several]
    kinds = "  ".join(f"{kind} {median(several):5.1%}" for kind, several in found.items())
    return f"median {median(everything):5.1%}  p95 {quantiles(everything, n=20)[-1]:5.1%}   {kinds}"


def main() -> None:
    for model, vocabulary, title in SITUATIONS:
        random = Random(7)
        cases = held_out_cases(model, vocabulary, random)
        print(f"{title} ({model} counted as {vocabulary}), {len(cases)} requests")
        print(f"  as shipped      {line(errors(cases, model, Learning()))}")
        print(f"  after {CALLS} calls  {line(errors(cases, model, taught(model, vocabulary, random)))}")


if __name__ == "__main__":
    main()
