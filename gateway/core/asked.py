"""Readers of single governed fields: each gives a value, or refuses it with the field's name and the type it found."""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
from msgspec import Raw

from gateway.core.blocks import BRACE, BRACKET, NOTHING, QUOTE, UNREADABLE, given, opens_with, word
from gateway.core.json_fields import Fields, Malformed, fields
from gateway.core.limits import Ref

# Nothing is this large; a larger number would leave the ledger's integers.
LARGEST = 10**9

_KINDS = {QUOTE: "a string", BRACE: "an object", BRACKET: "a list", b"t"[0]: "a boolean", b"f"[0]: "a boolean"}
_string = msgspec.json.Decoder(str)
_number = msgspec.json.Decoder(int | float)
_list = msgspec.json.Decoder(list[Raw])
# A tool that names no model and no uses cannot hide them behind a second key.
_PRICED_KEYS = (b'"model"', b'"max_uses"', b"\\u")

# Tools that run on the client's side. A typed tool that is not one of them runs at Claude and may cost.
_CLIENT_TOOLS = ("custom", "function", "bash_", "text_editor_", "computer_", "browser_toolset_", "memory_")


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that Claude runs or that another model serves."""

    type: str
    max_uses: int | None = None
    model: str | None = None  # an advisor's
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Fallback:
    """A model that may answer when the first declines, with its own bounds where it has them."""

    model: str
    max_tokens: int | None = None
    speed: str | None = None


class _Tool(msgspec.Struct, gc=False):
    type: Raw = NOTHING
    max_uses: Raw = NOTHING
    model: Raw = NOTHING
    max_tokens: Raw = NOTHING


class _Skill(msgspec.Struct, gc=False):
    skill_id: Raw = NOTHING
    type: Raw = NOTHING


_tools = msgspec.json.Decoder(list[_Tool])
_skills = msgspec.json.Decoder(list[_Skill])


def text(raw: Raw, name: str) -> str | None:
    """A string, or None where it is absent or null."""
    if not given(raw):
        return None
    if opens_with(raw) != QUOTE:
        raise _wrong(raw, name, "a string")
    return _string.decode(raw)


def number(raw: Raw, name: str) -> int | None:
    """A whole number, also as 10.0 or "10"; None where it is absent or null."""
    if not given(raw):
        return None
    try:
        value = _number.decode(_string.decode(raw) if opens_with(raw) == QUOTE else raw)
    except msgspec.DecodeError:
        raise _wrong(raw, name, "a whole number") from None
    if not abs(value) < float("inf") or value != int(value):
        raise _wrong(raw, name, "a whole number")
    return max(0, min(int(value), LARGEST))


def flag(raw: Raw, name: str) -> bool:
    """A boolean; False where it is absent or null."""
    if not given(raw):
        return False
    if _KINDS.get(opens_with(raw)) != "a boolean":
        raise _wrong(raw, name, "true or false")
    return opens_with(raw) == b"t"[0]


def items(raw: Raw, name: str) -> list[Raw]:
    """The items of a list; none where it is absent or null."""
    if not given(raw):
        return []
    if opens_with(raw) != BRACKET:
        raise _wrong(raw, name, "a list")
    return _list.decode(raw)


def tools_of(raw: Raw) -> tuple[tuple[Tool, ...], tuple[str, ...]]:
    """The tools that can cost, and the types of all tools ("" for a plain one)."""
    if not given(raw):
        return (), ()
    whole = bytes(raw)
    if any(key in whole for key in _PRICED_KEYS):
        for index, item in enumerate(items(raw, "tools")):
            fields(item, f"tools[{index}]")
    try:
        tools = _tools.decode(raw)
    except UNREADABLE:
        raise Malformed("'tools' must be a list of objects.") from None
    found = []
    for index, tool in enumerate(tools):
        where = f"tools[{index}]"
        kind = word(tool.type)
        model = text(tool.model, f"{where}.model")
        if model is not None or (kind and not kind.startswith(_CLIENT_TOOLS)):
            uses = number(tool.max_uses, f"{where}.max_uses")
            found.append(Tool(kind, uses, model, number(tool.max_tokens, f"{where}.max_tokens")))
        if kind.startswith("advisor_") and model is None:
            raise Malformed(f"'{where}' is an advisor without a 'model'. Name the model that advises.")
    return tuple(found), tuple([word(tool.type) for tool in tools])


def fallbacks_of(raw: Raw) -> tuple[tuple[Fallback, ...], bool]:
    """The models named as fallbacks, and whether the server's own choice ("default") is asked for."""
    if opens_with(raw) == QUOTE:
        if word(raw) != "default":
            raise Malformed("'fallbacks' must be a list or \"default\".")
        return (), True
    found = []
    for index, item in enumerate(items(raw, "fallbacks")):
        where = f"fallbacks[{index}]"
        if opens_with(item) == QUOTE:
            found.append(Fallback(_string.decode(item)))
            continue
        if opens_with(item) != BRACE:
            raise _wrong(item, where, "an object")
        entry = fields(item, where)
        model = text(entry.get("model", NOTHING), f"{where}.model")
        if model is None:
            raise Malformed(f"'{where}' has no 'model'. Name the model to fall back to.")
        most = number(entry.get("max_tokens", NOTHING), f"{where}.max_tokens")
        found.append(Fallback(model, most, text(entry.get("speed", NOTHING), f"{where}.speed")))
    return tuple(found), False


def member(raw: Raw, name: str, key: str) -> Raw:
    """One field of an object that may be absent, null or of another type; the object itself has each key once."""
    return fields(raw, f"'{name}'").get(key, NOTHING) if opens_with(raw) == BRACE else NOTHING


def workspace_objects(asked: Fields, files: Iterable[str]) -> tuple[Ref, ...]:
    """The workspace objects that a body names: they must be the team's own."""
    refs = [Ref("file", name) for name in files]
    container = asked.get("container", NOTHING)
    name = text(container, "container") if opens_with(container) == QUOTE else None
    if opens_with(container) == BRACE:
        inner = fields(container, "'container'")
        name = text(inner.get("id", NOTHING), "container.id")
        refs += [Ref("skill", skill) for skill in _custom_skills(inner.get("skills", NOTHING))]
    if name:
        refs.append(Ref("container", name))
    for field in ("thread", "diagnostics"):
        message = text(member(asked.get(field, NOTHING), field, "previous_message_id"), f"{field}.previous_message_id")
        if message:
            refs.append(Ref("message", message))
    return tuple(dict.fromkeys(refs))


def _custom_skills(raw: Raw) -> list[str]:
    if not given(raw):
        return []
    try:
        skills = _skills.decode(raw)
    except UNREADABLE:
        raise Malformed("'container.skills' must be a list of objects.") from None
    return [word(skill.skill_id) for skill in skills if word(skill.type) != "anthropic" and word(skill.skill_id)]


def _wrong(raw: Raw, name: str, wanted: str) -> Malformed:
    kind = _KINDS.get(opens_with(raw), "a number")
    return Malformed(f"'{name}' must be {wanted}, not {kind}.")
