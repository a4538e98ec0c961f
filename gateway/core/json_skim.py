"""Finding where JSON values end without parsing them, in steps, and without memory that grows with the text.

For bodies that would stall a decoder or make it build millions of small objects. Nothing here decides that a text is
JSON: the cursor checks the punctuation that it passes, and a value that it skims has to go to the decoder as a slice.
"""

import re
from codecs import getincrementaldecoder
from collections.abc import Generator, Iterator
from typing import TypeVar

Text = bytes | bytearray
T = TypeVar("T")
# Work on a large body, cut so that an event loop gets its turn: each step is a few milliseconds at most.
Steps = Generator[None, None, T]

# Non-ASCII text decodes at about 3 ns a byte, so one slice is under 2 ms.
UTF8_SLICE = 512 * 1024
# The expression runs at about 3 ns a byte.
WINDOW = 1024 * 1024
BRACKETS_PER_STEP = 5000

# Possessive repeats: however long the text, no stack of positions to go back to is kept.
QUOTED = rb'"(?:[^"\\]++|\\.)*+"'
COLON = rb"[ \t\n\r]*+:[ \t\n\r]*+"
_BLANK = re.compile(rb"[ \t\n\r]*+")
_KEY = re.compile(rb"(" + QUOTED + rb")" + COLON, re.DOTALL)
_SCALAR = re.compile(rb"[^ \t\n\r,\]}]*+")
# Everything up to the next bracket: strings, numbers, commas. A string that the window cuts stops it at its quote.
_UP_TO_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|' + QUOTED + rb")*+", re.DOTALL)
_utf8 = getincrementaldecoder("utf-8")


class Malformed(ValueError):
    """The text is not JSON that can be governed. The message is for the client: a place, a reason, a way out."""


def finish(steps: Steps[T]) -> T:
    """All steps at once, for a caller without a loop or with a small body."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            value: T = stop.value
            return value


def check_utf8(text: Text) -> Steps[None]:
    """The JSON decoder checks the syntax of the strings that it skips, but not their encoding."""
    if len(text) <= UTF8_SLICE:
        try:
            text.decode()
        except UnicodeDecodeError as error:
            raise _not_utf8(error.start) from None
        return
    decoder = _utf8()
    with memoryview(text) as view:
        for start in range(0, len(text), UTF8_SLICE):
            last = start + UTF8_SLICE >= len(text)
            try:
                decoder.decode(view[start : start + UTF8_SLICE], final=last)
            except UnicodeDecodeError as error:
                held = len(error.object) - min(UTF8_SLICE, len(text) - start)  # bytes kept from the slice before
                raise _not_utf8(start - held + error.start) from None
            yield


def _not_utf8(place: int) -> Malformed:
    return Malformed(f"The request body is not valid UTF-8 (at byte {place}).")


class Cursor:
    """A place in the text. Whoever iterates over members or items moves it over each value by `value()` or deeper."""

    def __init__(self, text: Text, start: int, where: str) -> None:
        self.text = text
        self.start = start
        self.position = start
        self.where = where

    def members(self) -> Iterator[bytes]:
        """The keys of the object here, in their quotes."""
        self._expect(b"{")
        first = True
        while not self._at(b"}"):
            if not first:
                self._expect(b",")
                self._skip_blank()
            match = _KEY.match(self.text, self.position)
            if match is None:
                raise self.broken("a key is missing")
            self.position = match.end()
            first = False
            yield match[1]
        self.position += 1

    def items(self) -> Iterator[int]:
        """The indexes of the array here."""
        self._expect(b"[")
        index = 0
        while not self._at(b"]"):
            if index:
                self._expect(b",")
                self._skip_blank()
            yield index
            index += 1
        self.position += 1

    def value(self) -> Steps[tuple[int, int]]:
        """Step over the value here: where it begins and ends. It may be empty; the decoder will refuse that."""
        start = self.position
        first = self.text[start : start + 1]
        if first == b'"':
            self._step_over_string()
        elif first in (b"{", b"["):
            yield from self._step_over_container()
        else:
            match = _SCALAR.match(self.text, start)
            assert match is not None  # it matches the empty text
            self.position = match.end()
        return start, self.position

    def finish(self) -> None:
        """Nothing but white space may follow."""
        self._skip_blank()
        if self.position != len(self.text):
            raise self.broken("trailing characters")

    def broken(self, reason: str) -> Malformed:
        return Malformed(f"{self.where} is not valid JSON: {reason} (byte {self.position - self.start}).")

    def _step_over_container(self) -> Steps[None]:
        depth = 0
        brackets = 0
        while True:
            run = _UP_TO_BRACKET.match(self.text, self.position, self.position + WINDOW)
            assert run is not None  # it matches the empty text
            long = run.end() - self.position > WINDOW // 2
            self.position = run.end()
            # Five cases: in, out, out of the outermost, a string that is longer than the window, the window's end.
            match self.text[self.position : self.position + 1]:
                case b"[" | b"{":
                    depth += 1
                    self.position += 1
                case b"]" | b"}":
                    depth -= 1
                    self.position += 1
                    if depth == 0:
                        return
                case b'"':
                    self._step_over_string()
                    long = True
                case b"":
                    raise self.broken("data was truncated")
                case _:
                    pass
            brackets += 1
            if long or brackets % BRACKETS_PER_STEP == 0:
                yield

    def _step_over_string(self) -> None:
        """To behind the next quote that has an even number of backslashes before it."""
        quote = self.position
        while (quote := self.text.find(b'"', quote + 1)) >= 0:
            slash = quote
            while self.text[slash - 1] == 0x5C:
                slash -= 1
            if (quote - slash) % 2 == 0:
                self.position = quote + 1
                return
        raise self.broken("data was truncated")

    def _at(self, closing: bytes) -> bool:
        self._skip_blank()
        return self.text[self.position : self.position + 1] == closing

    def _expect(self, mark: bytes) -> None:
        self._skip_blank()
        if self.text[self.position : self.position + 1] != mark:
            raise self.broken(f"expected '{mark.decode()}'")
        self.position += 1

    def _skip_blank(self) -> None:
        match = _BLANK.match(self.text, self.position)
        assert match is not None  # it matches the empty text
        self.position = match.end()
