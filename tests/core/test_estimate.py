"""The input estimate: near the truth on texts it never saw, and right about what is not text."""

import base64
import json
import struct
from itertools import pairwise
from random import Random
from statistics import median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from gateway.core.estimate import PER_MESSAGE, PER_TOOL_BLOCK, UNKNOWN_DOCUMENT_PAGES, Estimate, text_tokens
from gateway.core.json_fields import fields
from gateway.core.learn import Learning
from gateway.core.text_counts import FEATURES, SAMPLE_BYTES, Pieces, counts, sampled_counts
from gateway.core.token_weights import VOCABULARIES, WEIGHTS
from gateway.core.tokenizers import tokenizer_of
from gateway.core.weigh import weigh
from tests.core.corpus_requests import COUNTS, held_out_cases, learning_cases, names, text

MODEL = "claude-opus-5"
WORDS = "What the corpus calls prose, in a length that is usual. "


def estimate(*blocks: Any, model: str = MODEL, **more: Any) -> Estimate:
    """Of one user message with these blocks (or of `messages`)."""
    body = {"model": model, "max_tokens": 10, "messages": [{"role": "user", "content": list(blocks)}]} | more
    return weigh(fields(json.dumps(body).encode())).input()


def say(words: str, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": words}


def png(width: int, height: int, size: int = 1000) -> dict[str, Any]:
    header = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height)
    data = base64.b64encode(header + Random(width).randbytes(size)).decode()
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}


def pieces_of(*insides: bytes) -> Pieces:
    """JSON strings with these insides."""
    pieces = Pieces(strings=True)
    for inside in insides:
        pieces.add(Raw(b'"%b"' % inside))
    return pieces


EMPTY = estimate().tokens


# The table knows the tokenizer (three), or is wrong about it, as it would be of a new one (two).
@pytest.mark.parametrize(
    ("model", "vocabulary", "shipped", "learned"),
    [
        ("claude-opus-4-5", "v3", 0.06, 0.08),
        ("claude-opus-4-7", "v4.7", 0.06, 0.08),
        ("claude-opus-5", "v4.7", 0.06, 0.08),
        ("claude-opus-4-5", "v4.7", 0.25, 0.08),
        ("claude-opus-5", "v3", 0.30, 0.08),
    ],
)
def test_the_error_on_unseen_texts(model: str, vocabulary: str, shipped: float, learned: float) -> None:
    """After 50 learned requests the median error is under 8 % on kinds of text that neither fit nor learning saw."""
    random = Random(11)
    cases = held_out_cases(model, vocabulary, random)
    learning = Learning()

    def errors() -> list[float]:
        found = []
        for case in cases:
            tokens = learning.input_tokens("team", model, weigh(fields(case.body)).input(), now=0.0)
            found.append(abs(tokens / case.tokens - 1))
        return found

    assert median(errors()) < shipped
    for case in learning_cases(model, vocabulary, 50, random):
        given = weigh(fields(case.body)).input()
        learning.observe_input("team", model, given, case.tokens, cacheable=0.0, cached=0, now=0.0)
    assert median(errors()) < learned


def test_the_lower_bound_holds_on_the_corpus() -> None:
    """The truth is above the lower bound in every request of the corpus but one in fifty."""
    cases = [case for vocabulary in VOCABULARIES for case in held_out_cases(_model(vocabulary), vocabulary, Random(3))]
    below = [case for case in cases if weigh(fields(case.body)).input().sure > case.tokens]

    assert len(below) <= len(cases) // 50


def _model(vocabulary: str) -> str:
    return {"v3": "claude-opus-4-5", "v4.7": "claude-opus-5"}[vocabulary]


def test_base64_is_never_text() -> None:
    """An image costs its patches, however many bytes it has, and a document its pages."""
    page = b"<< /Type /Page >>" + b"\xff" * 30_000
    pdf = {"type": "document", "source": {"type": "base64", "data": base64.b64encode(page * 3).decode()}}

    assert [1369, 1369] == [estimate(png(1024, 1024, size)).parts["images"] for size in (10, 300_000)]
    assert 3 * tokenizer_of(MODEL).page == estimate(pdf).parts["documents"]
    assert EMPTY == pytest.approx(estimate(pdf).tokens - estimate(pdf).parts["documents"])


def test_images_in_the_openai_shape() -> None:
    """A data URL has a size; an address counts as the largest image and is weak."""
    url = "data:image/png;base64," + png(280, 56)["source"]["data"]
    inline = estimate({"type": "image_url", "image_url": {"url": url}})
    remote = estimate({"type": "image_url", "image_url": "https://example.net/x.png"})

    assert (20, False) == (inline.parts["images"], inline.weak)
    assert (4784, True) == (remote.parts["images"], remote.weak)


@pytest.mark.parametrize(
    ("block", "part", "tokens"),
    [
        ({"type": "image", "source": {"type": "url", "url": "https://example.net/x"}}, "images", 4784),
        ({"type": "image", "source": {"type": "file", "file_id": "file_1"}}, "images", 4784),
        ({"type": "image"}, "images", 4784),
        ({"type": "document", "source": {"type": "url"}}, "documents", UNKNOWN_DOCUMENT_PAGES * 2350),
        (
            {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
            "documents",
            UNKNOWN_DOCUMENT_PAGES * 2350,
        ),
    ],
)
def test_what_lies_elsewhere_is_a_weak_guess(block: dict[str, Any], part: str, tokens: int) -> None:
    """What cannot be measured counts as large, is no part of the lower bound, and says that it is weak."""
    found = estimate(block)

    assert (tokens, True) == (found.parts[part], found.weak)
    assert found.sure <= EMPTY


def test_thinking_counts_in_its_own_turn_only() -> None:
    """Thinking before the last real user message is free; after it, while tools are used, it counts."""
    thought = {"type": "thinking", "thinking": WORDS * 20, "signature": "c2ln" * 200}
    hidden = {"type": "redacted_thinking", "data": "c2ln" * 200}
    call = {"type": "tool_use", "id": "t", "name": "x", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": "ok"}

    def tokens(*thoughts: dict[str, Any], after: Any) -> float:
        turn = [{"role": "assistant", "content": [*thoughts, call]}, {"role": "user", "content": after}]
        return estimate(messages=[say("hello"), *turn]).tokens

    assert tokens(thought, hidden, after=[result, {"type": "text", "text": "go on"}]) == tokens(
        after=[result, {"type": "text", "text": "go on"}]
    )
    assert tokens(thought, hidden, after="go on") == tokens(after="go on")
    plain = estimate({"type": "text", "text": WORDS * 20}).tokens - EMPTY
    assert tokens(thought, after=[result]) - tokens(after=[result]) == pytest.approx(plain, rel=0.05)
    assert tokens(hidden, after=[result]) - tokens(after=[result]) == pytest.approx(160, rel=0.05)


def test_text_is_found_wherever_it_stands() -> None:
    """The same words cost about the same in every field that reaches the prompt, and nothing where it does not."""
    words = WORDS * 30
    plain = estimate({"type": "text", "text": words}).tokens - EMPTY
    source = {"type": "text", "data": words}
    page = {"type": "web_fetch_result", "content": {"type": "document", "source": source}}
    blocks: list[dict[str, Any]] = [
        {"type": "tool_result", "tool_use_id": "t", "content": words},
        {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": words}]},
        {"type": "tool_use", "id": "t", "name": "x", "input": {"text": words}},
        {"type": "document", "source": source},
        {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": words}]}},
        {"type": "document", "title": words, "context": "", "source": {"type": "text", "data": ""}},
        {"type": "search_result", "source": "", "title": "", "content": [{"type": "text", "text": words}]},
        {"type": "web_fetch_tool_result", "content": page},
        {"type": "code_execution_tool_result", "content": {"type": "code_execution_result", "stdout": words}},
        {"type": "something_new", "content": words},
        {"type": "compaction", "content": words},
    ]
    for block in blocks:
        assert estimate(block).tokens - EMPTY == pytest.approx(plain, rel=0.1, abs=30), block["type"]
    function = {"name": "x", "arguments": words}
    chat = [
        {"role": "assistant", "content": None, "tool_calls": [{"id": "t", "type": "function", "function": function}]}
    ]
    assert estimate(messages=chat).tokens == pytest.approx(plain, rel=0.1, abs=70)
    assert estimate(system=words).parts["system"] == pytest.approx(plain, rel=0.02)
    assert estimate(tools=[{"name": "x", "description": words}]).parts["tools"] == pytest.approx(
        plain + tokenizer_of(MODEL).tools, rel=0.1
    )
    for block in ({"type": "fallback", "to": {"model": words}}, {"type": "text", "citations": [words]}):
        assert estimate(block).tokens == EMPTY
    assert estimate(metadata={"user_id": words}).tokens == EMPTY


def test_fixed_parts() -> None:
    """Frames, further messages, tool blocks, hidden prompts, and what the server remembers."""
    tool = {"name": "x", "input_schema": {}}
    nothing = estimate(messages=[say("")])
    call = estimate({"type": "tool_use"}, {"type": "tool_result"})
    auto = estimate(tools=[tool], messages=[say("")])
    forced = estimate(tools=[tool], messages=[say("")], tool_choice={"type": "any"})
    bash = estimate(tools=[tool, {"type": "bash_20250124", "name": "bash"}], messages=[say("")])
    threaded = weigh(fields(b'{"model":"claude-opus-5"}')).input(remembered=50_000)

    assert [6, 12, 7] == [
        estimate(messages=[say("")], model=one).tokens
        for one in (MODEL, "claude-opus-4-7-20260101", "claude-haiku-4-5")
    ]
    assert 2 * PER_MESSAGE == estimate(messages=[say("")] * 3).tokens - nothing.tokens
    assert 2 * PER_TOOL_BLOCK == call.tokens - EMPTY
    assert 474 - 354 == forced.tokens - auto.tokens
    assert 245 <= bash.tokens - auto.tokens <= 280
    assert (50_006, 50_003) == (threaded.tokens, threaded.sure)


def test_escapes_do_not_change_what_a_text_costs() -> None:
    """A client that escapes all but ASCII pays the same as one that does not."""
    for name in names("held_out"):
        body = {"model": MODEL, "messages": [say(text(name))]}
        escaped, plain = (json.dumps(body, ensure_ascii=one).encode() for one in (True, False))
        assert weigh(fields(escaped)).input().tokens == pytest.approx(weigh(fields(plain)).input().tokens), name


@given(st.text(st.characters(codec="utf-8", exclude_characters="\b\f"), max_size=60))
def test_strings_are_counted_as_they_read(words: str) -> None:
    """Raw JSON strings, escaped or not, have the features of the text that they stand for."""
    expected = counts(words.encode())
    for escaped in (True, False):
        raw = json.dumps(words, ensure_ascii=escaped)[1:-1]
        if "\\u00" in raw:  # control characters have no short escape, and cost what they cost
            continue
        assert expected == sampled_counts(pieces_of(raw.encode()))


def test_layout_between_values_is_free() -> None:
    """Indented JSON in a tool definition costs what compact JSON costs, give or take the blanks after colons."""
    tools = json.loads(text("held_out/tools-files.json"))
    sizes = [
        weigh(fields(json.dumps({"model": MODEL, "tools": tools, "messages": []}, indent=indent).encode()))
        .input()
        .tokens
        for indent in (None, 1, 8)
    ]

    assert sizes == pytest.approx([sizes[0]] * 3, rel=0.05)


@pytest.mark.parametrize("parts", [1, 7, 5000])
def test_large_texts_are_sampled(parts: int) -> None:
    """The sample of a text of mixed kinds costs within ten percent of the text, however that is cut into parts."""
    random = Random(parts)
    whole = "\n".join(random.choice([text(name) for name in names("held_out")]) for _ in range(200))
    raw = json.dumps(whole, ensure_ascii=False)[1:-1].encode()
    cuts = [0, *sorted(random.sample(range(len(raw)), parts - 1)), len(raw)]
    pieces = pieces_of(*[raw[start:end] for start, end in pairwise(cuts)])
    exact, sampled = (
        sum(text_tokens(found, tokenizer_of(MODEL)))
        for found in ([float(count) for count in counts(whole.encode())], sampled_counts(pieces))
    )

    assert len(raw) > 20 * SAMPLE_BYTES
    assert sampled == pytest.approx(exact, rel=0.1)


def test_every_feature_has_weights() -> None:
    """The table of weights and the list of features name the same things."""
    assert list(FEATURES) == list(WEIGHTS)
    assert {len(VOCABULARIES)} == {len(weights) for weights in WEIGHTS.values()}
    assert all(set(VOCABULARIES) == set(tokens) for tokens in COUNTS.values())


@pytest.mark.parametrize(
    ("model", "like"),
    [
        ("claude-haiku-4-5-20251001", "claude-opus-4-5"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-opus-4-5"),
        ("arn:aws:bedrock:eu-west-1:1:inference-profile/eu.anthropic.claude-opus-4-6-v1", "claude-sonnet-4-6"),
        ("claude-opus-4-5@20251101", "claude-opus-4-5"),
        ("claude-sonnet-5[1m]", "claude-fable-5-2"),
        ("claude-3-opus-20240229", "claude-opus-4-1"),
        ("claude-something-9", "claude-sonnet-5"),
        ("our-deployment", "claude-sonnet-5"),
    ],
)
def test_models_are_known_in_every_spelling(model: str, like: str) -> None:
    """A model counts like its family on every platform, and an unknown one like the newest."""
    assert tokenizer_of(like) == tokenizer_of(model)
