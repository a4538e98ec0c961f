"""The fields of a JSON object as raw slices of the body: found at C speed, never copied, each key there once.

Parsers disagree on which of two equal keys counts, and what is judged here are the very bytes that Claude gets; so
an object with a key twice is refused instead of read (design rule 14). Messages name places and kinds, never content.
"""

import re
from collections.abc import Iterator
from typing import TypeVar

import msgspec
from msgspec import Raw

from gateway.core.json_skim import (
    COLON,
    QUOTED,
    UTF8_SLICE,
    Cursor,
    Malformed,
    Steps,
    Text,
    check_utf8,
    finish,
)

__all__ = ["Body", "Fields", "Malformed", "Steps", "Text", "batch_params", "fields", "fields_in_steps", "finish"]

Body = Text | memoryview | Raw
Fields = dict[str, Raw]
T = TypeVar("T")

# The API knows about 30. Each costs 2 us and 250 bytes here.
MOST_KEYS = 1000
# A large object with more colons might have more keys than one turn of the loop and 75 MB can hold, so it is skimmed.
# Prompts that fit a context of a million tokens have fewer.
LARGE = 1024 * 1024
MOST_COLONS = 300_000
MOST_ITEMS = 100_000  # of a batch: the API's own limit
ITEMS_PER_STEP = 50  # each is weighed too, at 0.1 ms

_object = msgspec.json.Decoder(Fields)
_anything = msgspec.json.Decoder(Raw)
_string = msgspec.json.Decoder(str)

_MEMBER = re.compile(rb"[ \t\n\r]*+[{,][ \t\n\r]*+(" + QUOTED + rb")" + COLON, re.DOTALL)
_END = re.compile(rb"[ \t\n\r]*+(?:\{[ \t\n\r]*+)?\}")
_NAMEABLE = re.compile(r"[a-z][a-z0-9_]{0,39}")


def fields(body: Body, where: str = "The request body") -> Fields:
    """The values of an object by key, as slices of `body`.

    A `Raw` is taken from a body that was checked before, so its encoding is not checked again.
    """
    if isinstance(body, bytes) and len(body) <= UTF8_SLICE:  # the common case, without the machinery of steps
        finish(check_utf8(body))
        return _read_at_once(body, 0, body, where)
    return finish(fields_in_steps(body, where))


def fields_in_steps(body: Body, where: str = "The request body") -> Steps[Fields]:
    """`fields`, giving way between the slices of a large body."""
    text = _text(body)
    if not isinstance(body, Raw):
        yield from check_utf8(text)
    return (yield from _read(text, 0, len(text), where))


def batch_params(body: Text | memoryview) -> Iterator[Fields | None]:
    """The fields of each `params` of a batch body, in order; None where an event loop should get its turn.

    Duplicated keys are looked for in the body, in each item and in each `params`. The body is never decoded in one
    piece: 256 MB would stall the loop, and a list of all items could be many times their text.
    """
    text = _text(body)
    yield from check_utf8(text)
    cursor = Cursor(text, 0, "The request body")
    keys: set[str] = set()
    for quoted in cursor.members():
        key = _new_key(quoted, keys, cursor.where)
        if key != "requests":
            start, end = yield from cursor.value()
            _decoded(_anything, memoryview(text)[start:end], cursor.where)
            continue
        for index in cursor.items():
            if index >= MOST_ITEMS:
                raise Malformed(f"'requests' has more than {MOST_ITEMS:,} items. Send them in several batches.")
            start, end = yield from cursor.value()
            yield (yield from _params(text, start, end, f"requests[{index}]"))
            if index % ITEMS_PER_STEP == ITEMS_PER_STEP - 1:
                yield None
    cursor.finish()
    if "requests" not in keys:
        raise Malformed("The request body has no 'requests'. Send a list of {custom_id, params}.")


def _text(body: Body) -> Text:
    """`body` as a type that can be searched; copied only if it is a part of something larger."""
    if isinstance(body, bytes | bytearray):
        return body
    # msgspec's stubs call Raw a kind of bytes, which at run time it is not.
    whole = body.obj if isinstance(body, memoryview) else None  # type: ignore[redundant-expr]
    if isinstance(whole, bytes | bytearray) and len(whole) == len(memoryview(body)):
        return whole
    return bytes(body)


def _params(text: Text, start: int, end: int, where: str) -> Steps[Fields]:
    item = yield from _read(text, start, end, where)
    if "params" not in item:
        raise Malformed(f"{where} has no 'params'. Each item of a batch is {{custom_id, params}}.")
    # Found in the item's own bytes, which are copied for it: each copy lives for one item only.
    params = bytes(item["params"])
    return (yield from _read(params, 0, len(params), f"{where}.params"))


def _read(text: Text, start: int, end: int, where: str) -> Steps[Fields]:
    """The values of the object in `text[start:end]` by key."""
    if end - start > LARGE:
        colons = 0
        for place in range(start, end, LARGE):
            colons += text.count(b":", place, min(place + LARGE, end))
            if colons > MOST_COLONS:
                return (yield from _skimmed(text, start, where))
            yield
    return _read_at_once(text, start, memoryview(text)[start:end], where)


def _read_at_once(text: Text, start: int, part: Text | memoryview, where: str) -> Fields:
    values = _decoded(_object, part, where)
    if len(values) > MOST_KEYS:
        raise _too_many(where)
    # A second key needs at least four bytes: text that is exactly as long as its values in compact form has none. This
    # halves the cost of the bodies that SDKs send.
    room = len(part) - 1
    for key, raw in values.items():
        room -= len(key) + len(memoryview(raw)) + 4
    if room:
        _refuse_duplicates(text, start, values, where)
    return values


def _refuse_duplicates(text: Text, position: int, values: Fields, where: str) -> None:
    """Walk the object once, stepping over each value by the slice that was recorded for its key.

    The decoder keeps the last of equal keys. Strings and containers are prefix-free, so a recorded slice that stands
    at a key's value is that value. Three ways to see a second key: the slice does not stand there; it does, but a
    number goes on after it; or the key was passed before.
    """
    passed: set[str] = set()
    key = ""
    while match := _MEMBER.match(text, position):
        quoted = match[1]
        key = _string.decode(quoted) if b"\\" in quoted else quoted[1:-1].decode()
        value = memoryview(values[key])
        if key in passed or not text.startswith(value, match.end()):
            raise _twice(key, where)
        passed.add(key)
        position = match.end() + len(value)
    if _END.match(text, position) is None:
        raise _twice(key, where)


def _skimmed(text: Text, start: int, where: str) -> Steps[Fields]:
    """The same, one value at a time: slower on many small values, but with a bound on each step and on memory."""
    values: Fields = {}
    keys: set[str] = set()
    cursor = Cursor(text, start, where)
    for quoted in cursor.members():
        key = _new_key(quoted, keys, where)
        begin, end = yield from cursor.value()
        values[key] = _decoded(_anything, memoryview(text)[begin:end], where)
        yield
    if start == 0:
        cursor.finish()
    return values


def _new_key(quoted: bytes, keys: set[str], where: str) -> str:
    key = _decoded(_string, quoted, where)
    if key in keys:
        raise _twice(key, where)
    if len(keys) >= MOST_KEYS:
        raise _too_many(where)
    keys.add(key)
    return key


def _decoded(decoder: msgspec.json.Decoder[T], part: Text | memoryview, where: str) -> T:
    try:
        return decoder.decode(part)
    except msgspec.ValidationError as error:
        # "Expected `object`, got `array`": kinds only, no key and no value.
        raise Malformed(f"{where} is not what it must be: {str(error).lower()}.") from None
    except UnicodeDecodeError:
        raise Malformed(f"{where} is not valid UTF-8.") from None
    except msgspec.DecodeError as error:
        raise Malformed(f"{where} is not valid JSON: {error}.") from None
    except RecursionError:
        raise Malformed(f"{where} is nested too deeply.") from None


def _twice(key: str, where: str) -> Malformed:
    name = f"the key '{key}'" if _NAMEABLE.fullmatch(key) else "a key"
    return Malformed(f"{where} has {name} more than once. Send each key once.")


def _too_many(where: str) -> Malformed:
    return Malformed(f"{where} has more than {MOST_KEYS:,} keys.")
