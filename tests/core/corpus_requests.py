"""Requests made of the corpus, with their true input tokens.

The corpus is our own texts. counts.json has the tokens of each by vocabulary, from an offline reconstruction of
Claude's tokenizers that equals recorded count_tokens answers on its author's held-out sets. No text took part in the
fit of the weights; `learn` and `held_out` share no text, no kind of code and no script but the Latin one. A request's
truth is the sum of its texts and of the documented fixed parts (frame, hidden tool prompt, some tokens per message).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from gateway.core.token_weights import VOCABULARIES
from gateway.core.tokenizers import tokenizer_of

CORPUS = Path(__file__).parent / "corpus"
COUNTS: dict[str, dict[str, int]] = json.loads((CORPUS / "counts.json").read_text())
PER_MESSAGE = 4
PER_TOOL_BLOCK = 8

KINDS = {
    "english": ("english-",),
    "code": ("Booking", "backup", "cart", "pool", "report", "style", "worker"),
    "json": ("compact", "pretty"),
    "logs": ("access", "service", "journal"),
    "cjk": ("chinese", "japanese", "korean"),
    "cyrillic": ("russian", "ukrainian"),
    "other": ("hebrew", "thai", "georgian", "polish", "vietnamese", "emoji"),
}


@dataclass(frozen=True)
class Case:
    """A request, and the input tokens that Claude would count."""

    kind: str
    body: bytes
    tokens: int


def names(folder: str, *prefixes: str) -> list[str]:
    wanted = tuple(f"{folder}/{prefix}" for prefix in prefixes or ("",))
    return [name for name in COUNTS if name.startswith(wanted)]


def text(name: str) -> str:
    return (CORPUS / name).read_text(encoding="utf-8")


def conversation(kind: str, chosen: list[str], model: str, vocabulary: str, *, ascii_only: bool = False) -> Case:
    """One chosen text in each message; with three or more, the first is the system prompt."""
    spoken = chosen[1:] if len(chosen) > 2 else chosen
    messages = [
        {"role": ("user", "assistant")[place % 2], "content": [{"type": "text", "text": text(name)}]}
        for place, name in enumerate(spoken)
    ]
    body: dict[str, Any] = {"model": model, "max_tokens": 1000, "messages": messages}
    if spoken is not chosen:
        body["system"] = text(chosen[0])
    tokens = tokenizer_of(model).frame + PER_MESSAGE * (len(spoken) - 1)
    tokens += sum(COUNTS[name][vocabulary] for name in chosen)
    return Case(kind, json.dumps(body, ensure_ascii=ascii_only).encode(), tokens)


def tool_use(tools: str, rounds: list[tuple[str, str]], model: str, vocabulary: str) -> Case:
    """Rounds of (input, result): both are texts of the corpus, the input one of its compact JSON texts."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Please do it."}]
    tokens = tokenizer_of(model).frame + 4 + tokenizer_of(model).tools + COUNTS[tools][vocabulary]
    for place, (given, result) in enumerate(rounds):
        call = {"type": "tool_use", "id": f"toolu_{place}", "name": "run", "input": json.loads(text(given))}
        answer = {"type": "tool_result", "tool_use_id": f"toolu_{place}", "content": text(result)}
        messages += [{"role": "assistant", "content": [call]}, {"role": "user", "content": [answer]}]
        tokens += COUNTS[given][vocabulary] + COUNTS[result][vocabulary] + 2 * (PER_MESSAGE + PER_TOOL_BLOCK) + 1
    body = {"model": model, "max_tokens": 1000, "tools": json.loads(text(tools)), "messages": messages}
    return Case("tools", json.dumps(body, separators=(",", ":")).encode(), tokens)


def learning_cases(model: str, vocabulary: str, number: int, random: Random) -> list[Case]:
    """Requests of the `learn` texts, one in five with a tool."""
    plain = [name for name in names("learn") if "tools" not in name]
    cases = []
    for place in range(number):
        if place % 5 == 4:
            rounds = [("learn/tools-weather.json", random.choice(plain))]
            cases.append(tool_use("learn/tools-weather.json", rounds, model, vocabulary))
        else:
            chosen = random.sample(plain, random.randint(1, 4))
            cases.append(conversation("learn", chosen, model, vocabulary, ascii_only=place % 2 == 0))
    return cases


def held_out_cases(model: str, vocabulary: str, random: Random) -> list[Case]:
    """Every held-out text alone, mixtures of each kind, and tool use."""
    cases = []
    for kind, prefixes in KINDS.items():
        texts = names("held_out", *prefixes)
        cases += [conversation(kind, [name], model, vocabulary) for name in texts]
        cases += [
            conversation(kind, random.sample(texts, min(len(texts), random.randint(2, 4))), model, vocabulary)
            for _ in range(len(texts))
        ]
    results = names("held_out", *KINDS["code"], *KINDS["logs"], *KINDS["json"], *KINDS["english"])
    for tools in names("held_out", "tools-"):
        for number in (1, 2, 4, 6):
            rounds = [("held_out/compact.json", random.choice(results)) for _ in range(number)]
            cases.append(tool_use(tools, rounds, model, vocabulary))
    return cases


assert set(next(iter(COUNTS.values()))) == set(VOCABULARIES)
