"""The shapes of messages and content blocks that hold input, read without judging any type but the outermost.

Every field is a raw slice: the API's types are not ours to check, and an absent field is NOTHING.
"""

import msgspec
from msgspec import Raw

NOTHING = Raw()
QUOTE, BRACE, BRACKET = b'"'[0], b"{"[0], b"["[0]
LONGEST_WORD = 300


class Message(msgspec.Struct, gc=False):
    role: Raw = NOTHING
    content: Raw = NOTHING
    tool_calls: Raw = NOTHING  # of the OpenAI shape


class Block(msgspec.Struct, gc=False):
    """Every field of a content block that can hold input."""

    type: Raw = NOTHING
    text: Raw = NOTHING
    thinking: Raw = NOTHING
    signature: Raw = NOTHING
    data: Raw = NOTHING
    source: Raw = NOTHING
    title: Raw = NOTHING
    context: Raw = NOTHING
    name: Raw = NOTHING
    input: Raw = NOTHING
    content: Raw = NOTHING
    encrypted_content: Raw = NOTHING
    tool: Raw = NOTHING
    tools: Raw = NOTHING
    file_id: Raw = NOTHING
    image_url: Raw = NOTHING
    cache_control: Raw = NOTHING


class Source(msgspec.Struct, gc=False):
    type: Raw = NOTHING
    data: Raw = NOTHING
    content: Raw = NOTHING
    file_id: Raw = NOTHING
    url: Raw = NOTHING


MESSAGES = msgspec.json.Decoder(list[Message])
BLOCKS = msgspec.json.Decoder(list[Block])
ITEMS = msgspec.json.Decoder(list[Raw])
BLOCK = msgspec.json.Decoder(Block)
UNREADABLE = (msgspec.DecodeError, RecursionError)

_source = msgspec.json.Decoder(Source)
_string = msgspec.json.Decoder(str)


def opens_with(raw: Raw | memoryview) -> int:
    """The first byte of a value: QUOTE, BRACE, BRACKET or another; 0 if it is absent."""
    view = memoryview(raw)
    return view[0] if view else 0


def given(raw: Raw) -> bool:
    """Present and not null."""
    return raw is not NOTHING and opens_with(raw) != b"n"[0]


def word(raw: Raw) -> str:
    """A short string such as a type or an id; "" for anything else."""
    if opens_with(raw) != QUOTE or len(memoryview(raw)) > LONGEST_WORD:
        return ""
    quoted = bytes(raw)
    return _string.decode(quoted) if b"\\" in quoted else quoted[1:-1].decode()


def inside(raw: Raw) -> memoryview:
    """The characters of a string between its quotes, escapes and all; empty for anything else."""
    return memoryview(raw)[1:-1] if opens_with(raw) == QUOTE else memoryview(b"")


def source_of(raw: Raw) -> Source:
    try:
        return _source.decode(raw)
    except UNREADABLE:
        return Source()
