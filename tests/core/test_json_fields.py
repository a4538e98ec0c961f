"""The fields of a body: what the decoder says, minus every object that has a key twice."""

import json
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from gateway.core.json_fields import (
    LARGE,
    MOST_COLONS,
    MOST_ITEMS,
    MOST_KEYS,
    Malformed,
    batch_params,
    fields,
    fields_in_steps,
)
from gateway.core.json_skim import UTF8_SLICE, WINDOW, Cursor, finish

SPACES = st.text(" \t\n\r", max_size=3)
NUMBERS = st.sampled_from(["0", "-0", "1", "12", "1.5", "1e5", "1E+5", "-12.25e-3", "9" * 40])
# Few keys, so that duplicates are common; some of them need escapes.
KEYS = st.sampled_from(["a", "b", "model", "", "é", "漢", "😀", 'quo"te', "back\\slash", "\n", "a,b", "}"])
TEXTS = st.one_of(KEYS, st.text(st.characters(codec="utf-8"), max_size=8))


@st.composite
def json_string(draw: st.DrawFn, value: str) -> str:
    """One of the ways to write a string: each character plain where it may be, or escaped."""
    out = []
    for character in value:
        units = character.encode("utf-16-be")
        escaped = "".join(f"\\u{units[i]:02x}{units[i + 1]:02X}" for i in range(0, len(units), 2))
        short = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "/": "\\/"}.get(character)
        plain = character if character >= " " and character not in '"\\' else None
        out.append(draw(st.sampled_from([form for form in (plain, short, escaped) if form is not None])))
    return '"' + "".join(out) + '"'


@st.composite
def json_object(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    members = []
    for key in draw(st.lists(KEYS, max_size=5)):
        parts = [draw(SPACES), draw(json_string(key)), draw(SPACES), ":", draw(SPACES), draw(values), draw(SPACES)]
        members.append("".join(parts))
    return "{" + (",".join(members) or draw(SPACES)) + "}"


def json_array(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(st.tuples(SPACES, values, SPACES).map("".join), max_size=3).map(lambda v: "[" + ",".join(v) + "]")


SCALARS = st.one_of(NUMBERS, st.sampled_from(["true", "false", "null"]), TEXTS.flatmap(json_string))
VALUES = st.recursive(SCALARS, lambda inner: st.one_of(json_array(inner), json_object(inner)), max_leaves=6)
BODIES = st.tuples(SPACES, json_object(VALUES), SPACES).map("".join)


def top_pairs(text: str) -> list[tuple[str, Any]]:
    """The members of the outermost object in order, by the standard library: the hook sees it last."""
    seen: list[list[tuple[str, Any]]] = []

    def remember(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen.append(pairs)
        return dict(pairs)

    json.loads(text, object_pairs_hook=remember)
    return seen[-1]


@given(BODIES)
@example('{"a":1,"mod\\u0065l":2,"model":2}')
@example('{"a":12,"b":0,"a":1}')
@example('{"a":1,"a":12}')
@example('{"a":1.5,"a":1}')
@example('{"a":1,"a":1}')
@example('{"a":{},"a":{}}')
@example('{"a":"","a":"x"}')
@example('{"a":null,"a":[null]}')
@example('{"a":1e5,"a":1}')
@example(" { } ")
@settings(max_examples=200)
def test_fields_agree_with_the_standard_library(text: str) -> None:
    """An object is read as the standard library reads it, unless one of its keys stands there twice."""
    pairs = top_pairs(text)
    body = text.encode()

    if len({key for key, _ in pairs}) == len(pairs):
        for form in (body, bytearray(body), memoryview(body), memoryview(b"xx" + body)[2:], Raw(body)):
            found = fields(form)
            assert dict(pairs) == {key: json.loads(bytes(raw)) for key, raw in found.items()}
            assert [key for key, _ in pairs] == list(found)
    else:
        with pytest.raises(Malformed, match="more than once"):
            fields(body)


# So many colons that the object is skimmed instead of decoded; one of them behind an escaped quote.
PADDING = '{"padding":"' + '\\\\\\"' + ":" * (LARGE + MOST_COLONS) + '\\\\"'


@given(BODIES)
@example('{"a":1,"mod\\u0065l":2,"model":2}')
@example("{}")
@settings(max_examples=40, deadline=None)
def test_skimmed_fields_agree_with_the_standard_library(text: str) -> None:
    """A large object with too many colons to be decoded in one turn gives the same fields, or the same refusal."""
    pairs = top_pairs(text)
    padded = PADDING + ("," if pairs else "") + text.strip()[1:]

    if len({key for key, _ in pairs}) == len(pairs):
        found = fields(padded.encode())
        assert [key for key, _ in pairs] == list(found)[1:]
        assert dict(pairs) == {key: json.loads(bytes(raw)) for key, raw in found.items() if key != "padding"}
    else:
        with pytest.raises(Malformed, match="more than once"):
            fields(padded.encode())


@given(BODIES, st.integers(0, 200), st.binary(min_size=1, max_size=3))
@settings(max_examples=40, deadline=None)
def test_skimmed_damage_is_malformed_or_read_alike(text: str, place: int, damage: bytes) -> None:
    """What the skimming accepts, the standard library reads alike."""
    tail = text.strip()[1:].encode()
    body = PADDING.encode() + (b"" if tail.strip() == b"}" else b",") + tail[:place] + damage + tail[place:]
    try:
        found = fields(body)
    except Malformed:
        return

    assert dict(top_pairs(body.decode())) == {key: json.loads(bytes(raw)) for key, raw in found.items()}


@given(VALUES, SPACES, st.sampled_from(["", ",1", "]", "}"]))
def test_a_cursor_steps_over_exactly_one_value(value: str, before: str, after: str) -> None:
    """The end of a value is found whatever stands in it and behind it."""
    text = (before + value + after).encode()

    assert (len(before), len(before) + len(value.encode())) == finish(Cursor(text, len(before), "x").value())


@pytest.mark.parametrize("text", ['["a', '[["a"]', '{"a":[1,2', '"abc\\\\\\"', "[" + "1," * WINDOW])
def test_a_cursor_says_that_a_value_is_cut(text: str) -> None:
    """A value without an end is refused, wherever it was cut."""
    with pytest.raises(Malformed, match="x is not valid JSON: data was truncated"):
        finish(Cursor(text.encode(), 0, "x").value())


@pytest.mark.parametrize("length", [WINDOW - 2, WINDOW, 3 * WINDOW])
def test_a_cursor_steps_over_strings_longer_than_its_window(length: int) -> None:
    """A string that the window cuts is stepped over whole, brackets and escaped quotes in it too."""
    text = b'[["' + b'}]\\\\\\"' * (length // 6) + b'"],"' + b"[" * length + b'",1]'

    assert (0, len(text)) == finish(Cursor(text + b"]", 0, "x").value())


@given(BODIES, st.integers(0, 200), st.binary(min_size=1, max_size=3))
@settings(max_examples=120)
def test_any_damage_is_malformed_or_read_alike(text: str, place: int, damage: bytes) -> None:
    """Whatever bytes come, the answer is fields that the standard library sees too, or Malformed; nothing else."""
    body = text.encode()
    body = body[:place] + damage + body[place:]
    try:
        found = fields(body)
    except Malformed:
        return

    assert dict(top_pairs(body.decode())) == {key: json.loads(bytes(raw)) for key, raw in found.items()}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(b"", "The request body is not valid JSON: Input data was truncated.", id="empty"),
        pytest.param(b"[1]", "The request body is not what it must be: expected `object`, got `array`.", id="array"),
        pytest.param(b'{"a":1} x', "The request body is not valid JSON: JSON is malformed: trailing", id="trailing"),
        pytest.param(b'{"a":NaN}', "The request body is not valid JSON", id="nan"),
        pytest.param(b'{"a":01}', "The request body is not valid JSON", id="leading zero"),
        pytest.param(b'{"a":[1,]}', "The request body is not valid JSON", id="trailing comma"),
        pytest.param(b'\xef\xbb\xbf{"a":1}', "The request body is not valid JSON", id="byte order mark"),
        pytest.param('{"a":1}'.encode("utf-16"), "The request body is not valid UTF-8 (at byte 0).", id="utf-16"),
        pytest.param(b'{"a":"\\ud800"}', "The request body is not valid JSON", id="lone surrogate"),
        pytest.param(b'{"a":"\xed\xa0\x80"}', "The request body is not valid UTF-8 (at byte 6).", id="raw surrogate"),
        pytest.param(b'{"a":"\xff"}', "The request body is not valid UTF-8 (at byte 6).", id="bad byte"),
        pytest.param(b'{"\xff":1}', "The request body is not valid UTF-8 (at byte 2).", id="bad byte in a key"),
        pytest.param(b'{"a":"\xe6\xbc', "The request body is not valid UTF-8 (at byte 6).", id="cut character"),
        pytest.param(b'{"a":' + b"[" * 9000 + b"]" * 9000 + b"}", "is nested too deeply.", id="deep arrays"),
        pytest.param(b'{"a":' * 9000 + b"1" + b"}" * 9000, "is nested too deeply.", id="deep objects"),
        pytest.param(b'{"model":1,"model":2}', "has the key 'model' more than once. Send each key once.", id="named"),
        pytest.param(b'{"My secret":1,"My secret":2}', "has a key more than once. Send each key once.", id="unnamed"),
    ],
)
def test_malformed_says_what_and_where(body: bytes, message: str) -> None:
    """A body that cannot be governed is refused with its place and reason."""
    with pytest.raises(Malformed) as refusal:
        fields(body)

    assert message in str(refusal.value)


@pytest.mark.parametrize("shift", range(5))
def test_characters_across_slices(shift: int) -> None:
    """A character cut by the border of two slices is whole; a bad byte there is named at its true place."""
    start = UTF8_SLICE - shift
    good = b'{"a":"' + b"x" * (start - 6) + "😀".encode() + b'yy"}'

    assert [good[5:-1]] == [bytes(raw) for raw in fields(good).values()]

    for bad, place in (
        (good[:-2] + b'\xff"}', len(good) - 2),
        (good[: start + 2] + b"z" + good[start + 3 :], start),
        (good[: start + 4] + b"\xff" + good[start + 5 :], start + 4),
    ):
        with pytest.raises(Malformed, match=re.escape(f"(at byte {place})")):
            fields(bad)


def test_large_bodies_give_way() -> None:
    """A body of ten slices lets the loop turn at least nine times, also if it has to be skimmed."""
    for text in (b"x", b":"):
        body = b'{"a":"' + text * (10 * UTF8_SLICE) + b'"}'
        assert len(list(fields_in_steps(body))) >= 9


def test_too_many_items_are_refused() -> None:
    """A batch of more items than the API takes is refused before all of them are read."""
    item = b'{"params":{}}'
    body = b'{"requests":[' + (item + b",") * MOST_ITEMS + item + b"]}"
    with pytest.raises(Malformed, match="'requests' has more than 100,000 items"):
        list(batch_params(body))


def test_too_many_keys_are_refused() -> None:
    """An object with more keys than any request has is refused, decoded or skimmed."""
    for count in (MOST_KEYS + 1, MOST_COLONS + 1):
        body = json.dumps({f"{index:06}": 0 for index in range(count)}).encode()
        with pytest.raises(Malformed, match="The request body has more than 1,000 keys"):
            fields(body)


@given(st.lists(st.tuples(SPACES, json_object(SCALARS), SPACES), max_size=4))
def test_batches_are_read_item_by_item(items: list[tuple[str, str, str]]) -> None:
    """Each params of a batch is read like a body of its own, duplicates included."""
    body = (
        '{ "x":{"requests":[1]}, "requests" :['
        + ",".join(f'{before}{{"custom_id":"n" , "params": {params}{after}}}' for before, params, after in items)
        + "]}"
    ).encode()
    expected = []
    bad = None
    for index, (_, params, _) in enumerate(items):
        pairs = top_pairs(params)
        if len(dict(pairs)) < len(pairs):
            bad = index
            break
        expected.append(dict(pairs))

    if bad is None:
        found = [params for params in batch_params(body) if params is not None]
        assert expected == [{key: json.loads(bytes(raw)) for key, raw in params.items()} for params in found]
    else:
        with pytest.raises(Malformed, match=re.escape(f"requests[{bad}].params has ")):
            list(batch_params(body))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(b"{}", "The request body has no 'requests'. Send a list of {custom_id, params}.", id="none"),
        pytest.param(b'{"requests":{}}', "The request body is not valid JSON: expected '[' (byte 12).", id="object"),
        pytest.param(b'{"requests":[1]}', "requests[0] is not what it must be: expected `object`, got `int`", id="int"),
        pytest.param(b'{"requests":[{}]}', "requests[0] has no 'params'.", id="no params"),
        pytest.param(b'{"requests":[{"params":{},"params":{}}]}', "requests[0] has the key 'params' more", id="twice"),
        pytest.param(b'{"requests":[{"params":null}]}', "requests[0].params is not what it must be", id="null"),
        pytest.param(b'{"requests":[],"requests":[]}', "body has the key 'requests' more than once", id="two lists"),
        pytest.param(b'{"requests":[{"params":{}},]}', "requests[1] is not valid JSON", id="comma"),
        pytest.param(b'{"requests":[{"params":{}}', "The request body is not valid JSON: expected ','", id="cut"),
        pytest.param(b'{"requests":[{"params":{}}]', "The request body is not valid JSON: expected ','", id="open"),
        pytest.param(b'{"requests":[]}]', "The request body is not valid JSON: trailing characters", id="trailing"),
        pytest.param(b'{"requests":[],}', "The request body is not valid JSON: a key is missing", id="no key"),
        pytest.param(b'{"requests":[],"a":01}', "The request body is not valid JSON", id="bad value"),
        pytest.param(b'{"requests":[],"a\n":1}', "The request body is not valid JSON", id="bad key"),
        pytest.param(b'{"requests":["\xff"]}', "not valid UTF-8 (at byte 14)", id="utf-8"),
    ],
)
def test_malformed_batches(body: bytes, message: str) -> None:
    """A batch that cannot be governed is refused with the item's place."""
    with pytest.raises(Malformed) as refusal:
        list(batch_params(body))

    assert message in str(refusal.value)
