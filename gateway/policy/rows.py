"""Reading mappings by a table of keys: every fault is noted where it is, and reading goes on.

A `Key` is one row of the schema: its name, how its value is read, what stands in when it is absent, and a line for the
docs. A reader returns a value or raises `Bad`; the mapping around it adds file, line and path.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from gateway.policy.faults import Bad, Fault, Notice
from gateway.policy.nodes import Entries, Items, Node, Scalar
from gateway.policy.sources import UNREADABLE, read
from gateway.wording import hint, shown

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(slots=True)
class Reading:
    """One attempt to read one file: where secrets come from, and what was found on the way."""

    file: Path
    env: Mapping[str, str] = field(repr=False)
    need_secrets: bool = True  # False: a secret that can't be had is a notice (a check in CI, away from the secrets)
    faults: list[Fault] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    sources: dict[Path, bytes] = field(default_factory=dict)  # each file that was read, with its digest
    version: Any = field(default_factory=hashlib.sha256, repr=False)

    def read(self, file: Path) -> bytes:
        self.sources[file] = UNREADABLE
        content = read(file)
        self.sources[file] = hashlib.sha256(content).digest()
        return content

    def fault(self, line: int | None, path: str, message: str) -> None:
        self.faults.append(Fault(str(self.file), line or 0, path, message))

    def notice(self, line: int | None, path: str, message: str) -> None:
        self.notices.append(Notice(str(self.file), line or 0, path, message))


@dataclass(frozen=True, slots=True)
class At:
    """Where a reader is."""

    reading: Reading
    path: str
    line: int

    def below(self, name: str, line: int) -> "At":
        return At(self.reading, f"{self.path}.{name}" if self.path else name, line)

    def item(self, index: int, line: int) -> "At":
        return At(self.reading, f"{self.path}[{index}]", line)

    def fault(self, message: str) -> None:
        self.reading.fault(self.line, self.path, message)

    def notice(self, message: str) -> None:
        self.reading.notice(self.line, self.path, message)


Reader = Callable[[Node, At], T_co]


@dataclass(frozen=True, slots=True)
class Key(Generic[T_co]):
    """One key of the schema."""

    name: str
    read: Reader[T_co]
    default: T_co
    doc: str
    required: bool = False


Keys = Mapping[str, Key[Any]]


def table(record: type, *more: Key[Any]) -> Keys:
    """The keys that stand in the body of a class, in their order, and more."""
    keys = [key for key in vars(record).values() if isinstance(key, Key)]
    return {key.name: key for key in [*keys, *more]}


@dataclass(frozen=True, slots=True)
class Row:
    """A mapping that was read. A value that was faulty or absent answers with its key's default."""

    at: At
    values: dict[str, Any] = field(repr=False)
    lines: dict[str, int]

    def __getitem__(self, key: Key[T]) -> T:
        value: T = self.values.get(key.name, key.default)
        return value

    def has(self, key: Key[Any]) -> bool:
        """Written and sound."""
        return key.name in self.values

    def gave(self, key: Key[Any]) -> bool:
        """Written, sound or not."""
        return key.name in self.lines

    def gave_only(self, keys: Keys) -> bool:
        """No unknown key was written."""
        return self.lines.keys() <= keys.keys()

    def to(self, key: Key[Any]) -> At:
        """The place of a key, or of the mapping when the key is absent."""
        return self.at.below(key.name, self.lines.get(key.name, self.at.line))


def mapping(node: Node, keys: Keys, at: At) -> Row:
    """A mapping with these keys and no others."""
    if not isinstance(node, Entries):
        raise Bad(f"must be a mapping with keys such as {', '.join(list(keys)[:3])}, {wrong(node)}", node.line)
    values: dict[str, Any] = {}
    for name, entry in node.by_key.items():
        key = keys.get(name)
        if key is None:
            known = hint(name, keys) or f"; known here: {', '.join(keys)}"
            at.reading.fault(entry.line, at.path, f"unknown key {shown(name)}{known}")
            continue
        _read_into(values, name, key.read, entry.node, at.below(name, entry.line))
    for key in keys.values():
        if key.required and key.name not in node.by_key:
            at.fault(f"'{key.name}' is missing: {key.doc}")
    return Row(at, values, {name: entry.line for name, entry in node.by_key.items()})


def scalar(read: Callable[[str], T]) -> Reader[T]:
    """A single value that stands for itself."""

    def reader(node: Node, _at: At) -> T:
        written = text(node)
        if "${" in written:
            raise Bad("references are followed in 'secret', 'webhook' and 'base_url' only; write the value itself")
        return read(written)

    return reader


def text(node: Node) -> str:
    """What a single value has written."""
    if not isinstance(node, Scalar):
        raise Bad(f"must be a single value, {wrong(node)}")
    if not node.text.strip():
        raise Bad("must not be empty")
    return node.text


def named(read_name: Callable[[str], str], read: Reader[T]) -> Reader[dict[str, T]]:
    """A mapping whose keys are names of the operator's choice."""

    def reader(node: Node, at: At) -> dict[str, T]:
        if not isinstance(node, Entries):
            raise Bad(f"must be a mapping from names to their settings, {wrong(node)}")
        values: dict[str, T] = {}
        for name, entry in node.by_key.items():
            try:
                place = at.below(read_name(name), entry.line)
            except Bad as bad:
                at.reading.fault(entry.line, at.path, f"a name {bad.message}")
                continue
            _read_into(values, name, read, entry.node, place)
        return values

    return reader


def listed(read: Reader[T]) -> Reader[tuple[T, ...]]:
    """A list; an item that can't be read is left out."""

    def reader(node: Node, at: At) -> tuple[T, ...]:
        if not isinstance(node, Items):
            raise Bad(f"must be a list, {wrong(node)}")
        values: dict[int, T] = {}
        for index, item in enumerate(node.nodes):
            _read_into(values, index, read, item, at.item(index, item.line))
        return tuple(values.values())

    return reader


K = TypeVar("K")


def _read_into(values: dict[K, T], name: K, read: Reader[T], node: Node, at: At) -> None:
    try:
        values[name] = read(node, at)
    except Bad as bad:
        at.reading.fault(bad.line or at.line, at.path, bad.message)


def wrong(node: Node) -> str:
    """What stands there instead, without quoting it."""
    match node:
        case Entries():
            return "not a mapping"
        case Items():
            return "not a list"
        case Scalar(text=""):
            return "but nothing stands there"
        case Scalar():
            return "not a single value"
