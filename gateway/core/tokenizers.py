"""What differs between models when input is counted: one table by model id.

Sources: the platform's vision, tool-use and PDF pages as of autumn 2026, and recorded count_tokens answers. A model
that is not listed counts like the newest, which makes more tokens than older ones: a guess errs on the safe side.
"""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """How one generation of models counts."""

    vocabulary: int  # index into token_weights.VOCABULARIES
    frame: int  # tokens around a request with a single user message
    image_edge: int  # longest side in pixels before an image is scaled down
    image_tokens: int  # the most tokens of one image
    tools: int  # hidden system prompt when a tool is given
    forced_tools: int  # the same when tool_choice forces one
    page: int  # one page of a PDF, its text and its picture


V3 = 0
V47 = 1

_TABLE = (
    # model             vocabulary frame   edge  image  tools forced   page
    ("claude-opus-4-8*",   Tokenizer(V47,  6, 2576, 4784, 290, 410, 2350)),
    ("claude-opus-4-7*",   Tokenizer(V47, 12, 2576, 4784, 675, 804, 2350)),
    ("claude-opus-4-6*",   Tokenizer(V3,   7, 1568, 1568, 497, 589, 2100)),
    ("claude-sonnet-4-6*", Tokenizer(V3,   7, 1568, 1568, 497, 589, 2100)),
    ("claude-opus-4-5*",   Tokenizer(V3,   7, 1568, 1568, 496, 588, 2100)),
    ("claude-sonnet-4-5*", Tokenizer(V3,   7, 1568, 1568, 496, 588, 2100)),
    ("claude-haiku-4-5*",  Tokenizer(V3,   7, 1568, 1568, 496, 588, 2100)),
    ("claude-*3-5*haiku*", Tokenizer(V3,   7, 1568, 1568, 264, 355, 2100)),
    ("claude-haiku-3-5*",  Tokenizer(V3,   7, 1568, 1568, 264, 355, 2100)),
    ("claude-opus-4*",     Tokenizer(V3,   7, 1568, 1568, 313, 315, 2100)),
    ("claude-sonnet-4*",   Tokenizer(V3,   7, 1568, 1568, 313, 315, 2100)),
    ("claude-3*",          Tokenizer(V3,   7, 1568, 1568, 313, 315, 2100)),
    ("claude-2*",          Tokenizer(V3,   7, 1568, 1568, 313, 315, 2100)),
    ("claude-instant*",    Tokenizer(V3,   7, 1568, 1568, 313, 315, 2100)),
    ("*",                  Tokenizer(V47,  6, 2576, 4784, 354, 474, 2350)),
)  # fmt: skip

# Tools that Claude defines bring a description of their own. The first three are documented; the others are not, so
# they are guesses of the same size that learning corrects.
KNOWN_TOOLS = (
    ("bash_", 245),
    ("text_editor_", 700),
    ("computer_toolset_", 3000),
    ("browser_toolset_", 3000),
    ("computer_", 1200),
    ("web_search_", 500),
    ("web_fetch_", 500),
    ("code_execution_", 700),
    ("memory_", 500),
    ("tool_search_", 300),
    ("advisor_", 300),
    ("mcp_toolset", 1000),
)


@lru_cache(maxsize=512)
def tokenizer_of(model: str) -> Tokenizer:
    """The row of a model id in any of the platforms' spellings."""
    name = re.sub(r"^.*?(?=claude-)", "", model.lower())  # "us.anthropic.claude-…", ARNs
    return next(row for pattern, row in _TABLE if fnmatchcase(name, pattern))


def known_tool_tokens(kind: str) -> int:
    """What a tool of this `type` adds beyond its own JSON; 0 for a tool that the client defines."""
    return next((tokens for prefix, tokens in KNOWN_TOOLS if kind.startswith(prefix)), 0)
