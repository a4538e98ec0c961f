"""The fields of a JSON object as raw slices of the body: found at C speed, never copied, each key there once.

Parsers disagree on which of two equal keys counts, and the bytes that are judged here are the bytes that Claude gets; so
an object with a key twice is refused instead of read (design rule 14). Messages name places and kinds, never content.
"""

import re
from codecs import getincrementaldecoder
from collections.abc import Generator, Iterator
from typing import TypeVar

import msgspec
from msgspec import Raw

Body = bytes | bytearray | memoryview | Raw
Fields = dict[str, Raw]
Places = dict[str, int]

T = TypeVar("T")
# Work on a large body, cut so that an event loop gets its turn: each step is a few milliseconds at most.
Steps = Generator[None, None, T]

# Non-ASCII text decodes at about 3 ns a byte, so one slice is under 2 ms.
UTF8_SLICE = 512 * 1024
# Items of a batch looked at, or bytes of them, before the next turn.
BATCH_ITEMS = 500
BATCH_BYTES = 4 * 1024 * 1024

_object = msgspec.json.Decoder(Fields)
_array = msgspec.json.Decoder(list[Raw])
_string = msgspec.json.Decoder(str)
_utf8 = getincrementaldecoder("utf-8")

# Possessive repeats: a key of any length is matched without a stack of positions to go back to.
_KEY = re.compile(rb'[ \t\n\r]*+[{,][ \t\n\r]*+"((?:[^"\\]++|\\.)*+)"[ \t\n\r]*+:[ \t\n\r]*+', re.DOTALL)
_END = re.compile(rb"[ \t\n\r]*+(?:\{[ \t\n\r]*+)?\}")
_ITEM = re.compile(rb"[ \t\n\r]*+[\[,][ \t\n\r]*+")
_NAMEABLE = re.compile(r"[a-z][a-z0-9_]{0,39}")


class Malformed(ValueError):
    """The text is not a JSON object that can be governed. The message is for the client: a place, a reason, a way out."""


def fields(body: Body, where: str = "The request body") -> Fields:
    """The values of an object by key, as slices of `body`.

    A `Raw` is taken from a body that was checked before, so its encoding is not checked again.
    """
    return finish(fields_in_steps(body, where))


def fields_in_steps(body: Body, where: str = "The request body") -> Steps[Fields]:
    """`fields`, giving way between the slices of a large body."""
    if isinstance(body, Raw):
        return _read(bytes(body), 0, body, where)[0]
    text = _text(body)
    yield from _check_utf8(text)
    return _read(text, 0, text, where)[0]


def batch_params(body: bytes | bytearray | memoryview) -> Iterator[list[Fields]]:
    """The fields of each `params` of a batch body, in order, in lists small enough for one turn of the loop.

    Duplicated keys are looked for in the body, in each item and in each `params`.
    """
    text = _text(body)
    for _ in _check_utf8(text):
        yield []
    top, places = _read(text, 0, text, "The request body")
    if "requests" not in top:
        raise Malformed("The request body has no 'requests'. Send a list of {custom_id, params}.")
    yield []
    items = _decoded(_array, top["requests"], "'requests'")
    yield []

    position = places["requests"]
    found: list[Fields] = []
    size = 0
    for index, item in enumerate(items):
        match = _ITEM.match(text, position)
        assert match is not None  # the array was parsed above
        start = match.end()
        position = start + len(memoryview(item))
        found.append(_params(text, start, item, f"requests[{index}]"))
        size += position - start
        if len(found) >= BATCH_ITEMS or size >= BATCH_BYTES:
            yield found
            found, size = [], 0
    yield found


def finish(steps: Steps[T]) -> T:
    """All steps at once, for a caller without a loop or with a small body."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            value: T = stop.value
            return value


def _text(body: bytes | bytearray | memoryview) -> bytes | bytearray:
    if not isinstance(body, memoryview):
        return body
    whole = body.obj
    if isinstance(whole, bytes | bytearray) and len(whole) == body.nbytes and body.c_contiguous:
        return whole
    return bytes(body)


def _check_utf8(text: bytes | bytearray) -> Steps[None]:
    # The JSON decoder checks the syntax of the strings it skips, but not their encoding.
    decoder = _utf8()
    with memoryview(text) as view:
        for start in range(0, len(text), UTF8_SLICE):
            last = start + UTF8_SLICE >= len(text)
            try:
                decoder.decode(view[start : start + UTF8_SLICE], final=last)
            except UnicodeDecodeError as error:
                held = len(error.object) - min(UTF8_SLICE, len(text) - start)  # bytes kept from the slice before
                message = f"The request body is not valid UTF-8 (at byte {start - held + error.start})."
                raise Malformed(message) from None
            if not last:
                yield


def _params(text: bytes | bytearray, start: int, item: Raw, where: str) -> Fields:
    values, places = _read(text, start, item, where)
    if "params" not in values:
        raise Malformed(f"{where} has no 'params'. Each item of a batch is {{custom_id, params}}.")
    return _read(text, places["params"], values["params"], f"{where}.params")[0]


def _read(text: bytes | bytearray, start: int, part: bytes | bytearray | Raw, where: str) -> tuple[Fields, Places]:
    """The values of the object `part`, which begins in `text` at `start`, and where in `text` each of them begins."""
    values = _decoded(_object, part, where)
    return values, _places(text, start, values, where)


def _decoded(decoder: msgspec.json.Decoder[T], part: bytes | bytearray | Raw, where: str) -> T:
    try:
        return decoder.decode(memoryview(part))
    except msgspec.ValidationError as error:
        # "Expected `object`, got `array`": kinds only, no key and no value.
        raise Malformed(f"{where} is not what it must be: {str(error).lower()}.") from None
    except msgspec.DecodeError as error:
        raise Malformed(f"{where} is not valid JSON: {error}.") from None
    except RecursionError:
        raise Malformed(f"{where} is nested too deeply.") from None


def _places(text: bytes | bytearray, position: int, values: Fields, where: str) -> Places:
    """Walk the object once, stepping over each value by the slice that was recorded for its key.

    The decoder keeps the last of equal keys. Strings and containers are prefix-free, so a recorded slice that stands
    at a key's value is that value. Three ways to see a second key: the slice does not stand there; it does, but a
    number goes on after it; or the key was passed before.
    """
    places: Places = {}
    key = ""
    while match := _KEY.match(text, position):
        escaped = match[1]
        key = _string.decode(b'"%b"' % escaped) if b"\\" in escaped else escaped.decode()
        value = memoryview(values[key])
        if key in places or not text.startswith(value, match.end()):
            raise _duplicate(key, where)
        places[key] = match.end()
        position = match.end() + len(value)
    if _END.match(text, position) is None:
        raise _duplicate(key, where)
    return places


def _duplicate(key: str, where: str) -> Malformed:
    name = f"the key '{key}'" if _NAMEABLE.fullmatch(key) else "a key"
    return Malformed(f"{where} has {name} more than once. Send each key once.")
