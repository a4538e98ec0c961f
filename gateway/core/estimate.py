"""Measured content and a model in, input tokens out: the local estimate, without network and without learning.

The estimate keeps its tokens by cause (letters, digits, signs, …, images), because that is the grain at which learning
scales it (learn.py); their sum is the estimate before learning.
"""

from dataclasses import dataclass

from gateway.core.content import Content
from gateway.core.images import tokens_of
from gateway.core.text_counts import FEATURES, PLAIN, SCRIPTS, Counts
from gateway.core.token_weights import WEIGHTS
from gateway.core.tokenizers import Tokenizer, tokenizer_of

_LATIN = ("latin1_signs", "latin1", "latin_extended", "phonetic_and_marks", "vietnamese")
_TWO_BYTES = ("greek", "cyrillic", "cyrillic_extended", "armenian", "hebrew", "arabic", "arabic_extended")
# What tokens come from. Learning has one factor for each.
CAUSES: dict[str, tuple[str, ...]] = {
    "letters": ("small", "small_eights", "words", "function_words", "tion", "signs_before_words"),
    "capitals": ("capitals",),
    "digits": ("digits", "digit_triples"),
    "signs": ("signs", "sign_fours", "backslashes"),
    "blanks": ("line_ends", "tabs", "blanks", "indents"),
    "latin": _LATIN,
    "two_bytes": _TWO_BYTES,
    "three_bytes": tuple(name for name in SCRIPTS if name not in (*_LATIN, *_TWO_BYTES, "emoji")),
    "emoji": ("emoji",),
    "frame": (),  # of messages and blocks
    "tools": (),  # hidden prompts
    "images": (),
    "documents": (),
}
NAMES = tuple(CAUSES)
TEXT_CAUSES = NAMES[:9]

PER_MESSAGE = 4  # beyond the first, which the tokenizer's frame includes
PER_TOOL_BLOCK = 8
OPAQUE_BYTES_PER_TOKEN = 5.0  # base64 of ciphertext of text
UNKNOWN_DOCUMENT_PAGES = 5
# The share of a part that is surely there. Five texts in a hundred cost under 0.85 of their estimate.
SURE_OF_TEXT = 0.8
SURE_OF_FRAME = 0.5
SURE_OF_PAGES = 0.6
SURE_OF_UNREADABLE = 0.05


@dataclass(frozen=True, slots=True)
class Estimate:
    """Input tokens of one request for one model."""

    parts: dict[str, float]  # system, messages, tools, images, documents: for people
    causes: tuple[float, ...]  # by NAMES: for learning
    remembered: int  # held by the server, known exactly
    sure: float  # a lower bound
    weak: bool  # a part could not be measured: not to be learned from

    @property
    def tokens(self) -> float:
        return sum(self.causes) + self.remembered


@dataclass(frozen=True, slots=True)
class Hidden:
    """What the tools of a request add that is not in its body."""

    any: bool = False
    forced: bool = False
    known: int = 0  # tokens of the tools that Claude defines


NO_TOOLS = Hidden()
_COLUMN = {name: place for place, name in enumerate(FEATURES)}
_COLUMNS = tuple(
    tuple(tuple((_COLUMN[name], WEIGHTS[name][vocabulary]) for name in CAUSES[cause]) for cause in TEXT_CAUSES)
    for vocabulary in range(2)
)
_WORDS = _COLUMN["words"]
# ASCII needs only the first few columns.
_PLAIN = len(PLAIN)
_PLAIN_CAUSES = 5
_PLAIN_COLUMNS = tuple(table[:_PLAIN_CAUSES] for table in _COLUMNS)
_NO_SCRIPTS = [0.0] * (len(TEXT_CAUSES) - _PLAIN_CAUSES)


def estimated(content: Content, model: str, hidden: Hidden = NO_TOOLS, *, remembered: int = 0) -> Estimate:
    """What `content` costs as input of `model`; `remembered` is what a message thread holds on the server."""
    tokenizer = tokenizer_of(model)
    by_part = {part: text_tokens(counts, tokenizer) for part, counts in content.texts.items()}
    texts = [sum(tokens) for tokens in zip(*by_part.values(), strict=True)] or [0.0] * len(TEXT_CAUSES)
    extra_messages = max(0, content.messages - 1)
    frame = tokenizer.frame + PER_MESSAGE * extra_messages + PER_TOOL_BLOCK * content.tool_blocks
    opaque = content.opaque_bytes / OPAQUE_BYTES_PER_TOKEN
    tools = hidden.known + (tokenizer.forced_tools if hidden.forced else tokenizer.tools if hidden.any else 0)
    images = [tokens_of(size, tokenizer) for size in content.images]
    pages = content.pages * tokenizer.page
    unknown_pages = content.unknown_documents * UNKNOWN_DOCUMENT_PAGES * tokenizer.page

    sure = (
        sum(texts) * (SURE_OF_UNREADABLE if content.unreadable else SURE_OF_TEXT)
        + frame * SURE_OF_FRAME
        + remembered
        + sum([tokens for tokens, size in zip(images, content.images, strict=True) if size is not None])
        + pages * SURE_OF_PAGES
    )
    parts = {part: sum(tokens) for part, tokens in by_part.items()}
    parts["messages"] = parts.get("messages", 0.0) + frame + opaque + remembered
    parts["tools"] = parts.get("tools", 0.0) + tools
    parts["images"] = sum(images)
    parts["documents"] = pages + unknown_pages
    return Estimate(
        parts=parts,
        causes=(*texts, frame, tools, sum(images), pages + unknown_pages + opaque),
        remembered=remembered,
        sure=sure,
        weak=content.guessed or content.unreadable,
    )


def text_tokens(counts: Counts, tokenizer: Tokenizer) -> list[float]:
    """Tokens of a text by TEXT_CAUSES."""
    found = [sum([counts[column] * weight for column, weight in columns]) for columns in _COLUMNS[tokenizer.vocabulary]]
    # Function words are worth less than nothing, since they tell English; a text of nothing else must not be.
    found[0] += max(0.0, counts[_WORDS] - sum(found))
    return found
