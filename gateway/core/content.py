"""What the input of a request consists of, before any model is known: texts as feature counts, images as sizes, pages.

The walk follows the order of the prompt (tools, system, messages) and never fails on a type that it does not expect:
what cannot be read as blocks is weighed as the JSON text that it is. Base64 is never text.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from msgspec import Raw

from gateway.core.blocks import (
    BLOCK,
    BLOCKS,
    BRACE,
    BRACKET,
    ITEMS,
    MESSAGES,
    NOTHING,
    QUOTE,
    UNREADABLE,
    Block,
    given,
    inside,
    opens_with,
    source_of,
    word,
)
from gateway.core.documents import pages_of_base64
from gateway.core.images import Size, size_of_base64
from gateway.core.json_fields import Fields, Steps
from gateway.core.text_counts import FEATURES, SAMPLE_BYTES, SLICE_BYTES, Counts, Pieces, sampled_counts

PARTS = ("system", "messages", "tools")
BLOCKS_PER_STEP = 500
BYTES_PER_STEP = 512 * 1024
# How much prompt an image or a page stands for when the cached share is told by bytes.
BYTES_OF_IMAGE = 4000
BYTES_OF_PAGE = 6000
# More braces cannot be a prompt that fits a context; building a block for each could take gigabytes.
MOST_BRACES = 300_000

DEEPEST = 5  # blocks within blocks: a result, its document, its content, its text
LEAST_SAMPLE = 512
PIECES_PER_STEP = 2000

_NO_COUNTS: Counts = [0.0] * len(FEATURES)


@dataclass(slots=True)
class Content:
    """The input, measured."""

    texts: dict[str, Counts] = field(default_factory=dict)  # by part
    images: list[Size | None] = field(default_factory=list)  # None: its size cannot be known here
    pages: int = 0
    messages: int = 0
    tool_blocks: int = 0
    opaque_bytes: int = 0  # encrypted thinking and search results: tokens that only Claude can read
    unknown_documents: int = 0  # named by file or URL
    guessed: bool = False  # an image, a document or a file could not be measured
    unreadable: bool = False  # something is not of the shape of blocks, and was weighed as JSON text
    cacheable: float = 0.0  # the share of the input before the last cache breakpoint
    files: list[str] = field(default_factory=list)  # file ids that the content names


def content_in_steps(fields: Fields, sample: int = SAMPLE_BYTES) -> Steps[Content]:
    """Measure a Messages, count_tokens, complete or chat/completions body, looking at `sample` bytes of its text."""
    walk = _Walk()
    for key in ("tools", "functions", "output_config", "response_format"):
        walk.value(fields.get(key, NOTHING), "tools")
    if b'"cache_control"' in bytes(fields.get("tools", NOTHING)):
        walk.mark()
    walk.part = "system"
    yield from walk.guarded(fields.get("system", NOTHING), walk.blocks)
    walk.part = "messages"
    walk.string(fields.get("prompt", NOTHING))
    yield from walk.guarded(fields.get("messages", NOTHING), walk.messages)
    if given(fields.get("cache_control", NOTHING)):
        walk.mark()
    return (yield from walk.measured(sample))


class _Walk:
    """Gathers slices of the body by part; nothing is copied until a sample is taken."""

    def __init__(self) -> None:
        self.content = Content()
        self.part = "tools"
        self.strings = {part: Pieces(strings=True) for part in PARTS}
        self.values = {part: Pieces(strings=False) for part in PARTS}
        self.thoughts: list[Block] = []  # of the turn under way
        self.depth = 0
        self.size = 0  # bytes of prompt so far
        self.marked = 0  # of them before the last breakpoint

    def guarded(self, raw: Raw, read: Callable[[Raw], Steps[None]]) -> Steps[None]:
        """Read a value, unless it has more braces than any prompt that fits a context: then it is weighed as text."""
        view = memoryview(raw)
        braces = 0
        if len(view) > BYTES_PER_STEP:
            for start in range(0, len(view), BYTES_PER_STEP):
                braces += bytes(view[start : start + BYTES_PER_STEP]).count(b"{")
                yield
        if braces > MOST_BRACES:
            self.unreadable(raw)
        else:
            yield from read(raw)

    def messages(self, raw: Raw) -> Steps[None]:
        try:
            messages = MESSAGES.decode(raw) if given(raw) else []
        except UNREADABLE:
            return self.unreadable(raw)
        if len(memoryview(raw)) > BYTES_PER_STEP:
            yield
        for message in messages:
            self.content.messages += 1
            if given(message.tool_calls):
                self.content.tool_blocks += 1
                self.value(message.tool_calls)
            yield from self.blocks(message.content, turn=word(message.role) == "user")
            if self.content.messages % BLOCKS_PER_STEP == 0:
                yield
        for thought in self.thoughts:
            self.string(thought.thinking)
            if len(memoryview(thought.thinking)) <= 2:  # hidden: only its encrypted form is here
                self.opaque(thought.signature if thought.data is NOTHING else thought.data)

    def blocks(self, raw: Raw, *, turn: bool = False) -> Steps[None]:
        """A string, a list of blocks or one block. `turn`: the thinking before it is of an earlier turn, so free."""
        first = opens_with(raw)
        if first not in (BRACKET, BRACE) or self.depth >= DEEPEST:
            if turn:
                self.thoughts.clear()
            return self.string(raw)
        # Each level of a large value costs a scan of it, so each is a step of its own, and its blocks are opened one
        # by one: 50,000 at once would take 30 ms.
        large = len(memoryview(raw)) > BYTES_PER_STEP
        several: Sequence[Block | Raw] = [raw]
        if first == BRACKET:
            try:
                several = ITEMS.decode(raw) if large else BLOCKS.decode(raw)
            except UNREADABLE:
                self.unreadable(raw)
                return
        if large:
            yield
        self.depth += 1
        for index, item in enumerate(several):
            block = item if isinstance(item, Block) else self.opened(item)
            kind = word(block.type)
            if turn and kind != "tool_result":
                self.thoughts.clear()
            steps = _HANDLERS.get(kind, _other)(self, block)
            if steps is not None:
                yield from steps
            if given(block.cache_control):
                self.mark()
            if index % BLOCKS_PER_STEP == BLOCKS_PER_STEP - 1 or (large and kind in _LARGE):
                yield
        self.depth -= 1

    def opened(self, raw: Raw) -> Block:
        """A block that is read by itself; of what is no block, an empty one."""
        try:
            return BLOCK.decode(raw)
        except UNREADABLE:
            self.unreadable(raw)
            return Block()

    def string(self, raw: Raw) -> None:
        if opens_with(raw) == QUOTE:
            self.strings[self.part].add(raw)
            self.size += len(memoryview(raw)) - 2
        else:
            self.value(raw)

    def value(self, raw: Raw, part: str = "") -> None:
        if given(raw):
            self.values[part or self.part].add(raw)
            self.size += len(memoryview(raw))

    def opaque(self, raw: Raw) -> None:
        self.content.opaque_bytes += len(memoryview(raw))
        self.size += len(memoryview(raw)) // 2

    def image(self, size: Size | None) -> None:
        self.content.images.append(size)
        self.content.guessed |= size is None
        self.size += BYTES_OF_IMAGE

    def unreadable(self, raw: Raw) -> None:
        self.content.unreadable = True
        self.value(raw)

    def file(self, raw: Raw) -> None:
        name = word(raw)
        if name:
            self.content.files.append(name)

    def mark(self) -> None:
        self.marked = self.size

    def measured(self, sample: int) -> Steps[Content]:
        """Count the texts of each part, each by its share of the sample."""
        gathered = [(part, pieces) for kind in (self.strings, self.values) for part, pieces in kind.items()]
        total = sum([pieces.total for _, pieces in gathered])
        for part, pieces in gathered:
            if not pieces.total:
                continue
            if len(pieces.raws) > PIECES_PER_STEP:
                yield
            share = sample * pieces.total // total // SLICE_BYTES * SLICE_BYTES
            counted = sampled_counts(pieces, sample if total <= sample else max(LEAST_SAMPLE, share))
            before = self.content.texts.get(part, _NO_COUNTS)
            self.content.texts[part] = [one + other for one, other in zip(before, counted, strict=True)]
        self.content.cacheable = self.marked / self.size if self.size else 0.0
        return self.content


def _text(walk: _Walk, block: Block) -> None:
    walk.string(block.text)


def _thinking(walk: _Walk, block: Block) -> None:
    walk.thoughts.append(block)


def _image(walk: _Walk, block: Block) -> None:
    source = source_of(block.source)
    walk.file(source.file_id)
    walk.image(size_of_base64(inside(source.data)))


def _image_url(walk: _Walk, block: Block) -> None:
    """The OpenAI shape: an address, or a data URL."""
    url = inside(block.image_url) or inside(source_of(block.image_url).url)
    start = bytes(url[:128]).find(b"base64,")
    walk.image(size_of_base64(url[start + 7 :]) if start >= 0 else None)


def _document(walk: _Walk, block: Block) -> Steps[None]:
    walk.string(block.title)
    walk.string(block.context)
    source = source_of(block.source)
    match word(source.type):
        case "text":
            walk.string(source.data)
        case "content":
            yield from walk.blocks(source.content)
        case "base64":
            pages, guessed = yield from pages_of_base64(inside(source.data))
            walk.content.pages += pages
            walk.content.guessed |= guessed
            walk.size += pages * BYTES_OF_PAGE
        case _:
            walk.file(source.file_id)
            walk.content.unknown_documents += 1
            walk.content.guessed = True
            walk.size += BYTES_OF_PAGE


def _call(walk: _Walk, block: Block) -> None:
    walk.content.tool_blocks += 1
    walk.string(block.name)
    walk.value(block.input)


def _result(walk: _Walk, block: Block) -> Steps[None]:
    walk.content.tool_blocks += 1
    return walk.blocks(block.content)


def _nested(walk: _Walk, block: Block) -> Steps[None]:
    walk.string(block.title)
    if block.source is not NOTHING:
        walk.string(block.source)
    walk.string(block.text)
    walk.opaque(block.encrypted_content)
    return walk.blocks(block.content)


def _upload(walk: _Walk, block: Block) -> None:
    walk.file(block.file_id)
    walk.content.guessed = True


def _free(walk: _Walk, block: Block) -> None:
    """Not rendered into the prompt."""


def _other(walk: _Walk, block: Block) -> None:
    """A type that is not known here: what it holds, as JSON."""
    for raw in (block.text, block.title, block.name, block.input, block.content, block.tool, block.tools):
        walk.value(raw)
    walk.opaque(block.data)
    walk.opaque(block.encrypted_content)


# Blocks whose source may be large.
_LARGE = frozenset(("image", "document", "image_url"))
_HANDLERS: dict[str, Callable[[_Walk, Block], Steps[None] | None]] = {
    "text": _text,
    "image": _image,
    "image_url": _image_url,
    "document": _document,
    "thinking": _thinking,
    "redacted_thinking": _thinking,
    "tool_use": _call,
    "server_tool_use": _call,
    "mcp_tool_use": _call,
    "tool_result": _result,
    "mcp_tool_result": _result,
    "search_result": _nested,
    "web_search_tool_result": _nested,
    "web_search_result": _nested,
    "web_fetch_tool_result": _nested,
    "web_fetch_result": _nested,
    "advisor_tool_result": _nested,
    "advisor_result": _nested,
    "advisor_redacted_result": _nested,
    "compaction": _nested,
    "container_upload": _upload,
    "fallback": _free,
}
