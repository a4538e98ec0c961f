"""YAML as nodes that know their line: texts, lists and mappings, nothing resolved yet.

The rule: no value gets a type here. YAML 1.1 reads `off` as false, `1:30` as ninety and a digest of many digits with
one `e` as infinity; here each key's own reader decides what its text means. The tree is made from the parser's events:
PyYAML's own tree builder recurses in C without a bound, and a file of 200,000 brackets ends the process.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from gateway.policy.faults import Bad
from gateway.wording import scrubbed, shown

# A policy is written by its operator: the bounds guard against accidents such as aliases within aliases.
MOST_NODES = 500_000
MOST_LEVELS = 50

_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml when PyYAML has it: ten times as fast
_PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map")}


@dataclass(frozen=True, slots=True)
class Scalar:
    """A text as it stands in the file. Its repr hides it: it may be a secret."""

    text: str = field(repr=False)
    line: int


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    nodes: tuple["Node", ...]
    line: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a mapping, with the line of the key."""

    node: "Node"
    line: int


@dataclass(frozen=True, slots=True)
class Entries:
    """A mapping in the order of the file."""

    by_key: dict[str, Entry]
    line: int


Node = Scalar | Items | Entries
Report = Callable[[int, str], None]  # of a fault that need not stop the reading


def parse(source: bytes, report: Report) -> Node | None:
    """The document's root, None for an empty file; raises `Bad` where no tree can be had."""
    try:
        text = source.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Bad("is not UTF-8 text", line=source.count(b"\n", 0, error.start) + 1) from None
    try:
        parser = _PARSER(text)
        try:
            return _Tree(parser, report).document()
        finally:
            parser.dispose()
    except yaml.MarkedYAMLError as error:
        said = ", ".join(part for part in (error.context, error.problem) if part)
        mark = error.problem_mark or error.context_mark
        raise Bad(f"is not YAML: {scrubbed(said)}", line=mark.line + 1 if mark else None) from None
    except yaml.YAMLError as error:
        raise Bad(f"is not YAML: {scrubbed(str(error).splitlines()[0])}") from None


@dataclass(frozen=True, slots=True)
class _Anchor:
    """What an alias stands for. The tree is immutable, so aliases share it; `size` is what each of them will cost."""

    node: Node | None  # None: still being read, so an alias to it would never end
    size: int


class _Tree:
    """Builds our tree from PyYAML's events, with aliases shared and `<<` merged."""

    def __init__(self, parser: Any, report: Report) -> None:
        self._parser = parser
        self._report = report
        self._nodes = 0
        self._anchors: dict[str, _Anchor] = {}

    def document(self) -> Node | None:
        self._parser.get_event()  # the stream's start
        if self._parser.check_event(yaml.StreamEndEvent):
            return None
        self._parser.get_event()  # the document's start
        root = self._node(0)
        self._parser.get_event()  # and its end
        if not self._parser.check_event(yaml.StreamEndEvent):
            line = _line(self._parser.get_event())
            raise Bad("holds more than one YAML document; keep the first and remove the line '---'", line)
        return None if isinstance(root, Scalar) and not root.text else root

    def _node(self, level: int) -> Node:
        event: Any = self._parser.get_event()
        line = _line(event)
        if level > MOST_LEVELS:
            raise Bad(f"is nested more than {MOST_LEVELS} levels deep", line)
        if isinstance(event, yaml.AliasEvent):
            return self._aliased(str(event.anchor), line)
        before = self._nodes
        self._count(1, line)
        if event.tag not in _PLAIN_TAGS and event.tag is not None:
            self._report(line, f"the tag {shown(event.tag)} has no meaning here; write the plain value")
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchor(None, 0)
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = Scalar(event.value, line)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._items(line, level)
        else:
            node = self._entries(line, level)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchor(node, self._nodes - before)
        return node

    def _aliased(self, name: str, line: int) -> Node:
        anchor = self._anchors.get(name)
        if anchor is None:
            raise Bad(f"the alias {shown(name)} refers to an anchor that does not stand before it", line)
        if anchor.node is None:
            raise Bad("an alias refers to the very mapping or list that it stands in", line)
        self._count(anchor.size, line)
        return anchor.node

    def _count(self, nodes: int, line: int) -> None:
        self._nodes += nodes
        if self._nodes > MOST_NODES:
            raise Bad(f"has more than {MOST_NODES:,} nodes once its aliases are copied", line)

    def _items(self, line: int, level: int) -> Items:
        nodes = []
        while not self._parser.check_event(yaml.SequenceEndEvent):
            nodes.append(self._node(level + 1))
        self._parser.get_event()
        return Items(tuple(nodes), line)

    def _entries(self, line: int, level: int) -> Entries:
        own: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        while not self._parser.check_event(yaml.MappingEndEvent):
            event = self._parser.peek_event()
            at = _line(event)
            key = self._node(level + 1)
            value = self._node(level + 1)
            if not isinstance(event, yaml.ScalarEvent) or not isinstance(key, Scalar):
                self._report(at, "a key must be a plain word, not a list, a mapping or an alias")
            elif key.text == "<<" and event.implicit[0]:
                for name, entry in self._merge(value, at):
                    merged.setdefault(name, entry)  # of several merged mappings the first one counts, as YAML has it
            elif key.text in own:
                self._report(at, f"the key {shown(key.text)} stands here twice, first on line {own[key.text].line}")
            else:
                own[key.text] = Entry(value, at)
        self._parser.get_event()
        return Entries(own | {name: entry for name, entry in merged.items() if name not in own}, line)

    def _merge(self, value: Node, line: int) -> list[tuple[str, Entry]]:
        pairs: list[tuple[str, Entry]] = []
        for source in value.nodes if isinstance(value, Items) else (value,):
            if isinstance(source, Entries):
                pairs.extend(source.by_key.items())
            else:
                self._report(line, "'<<' takes a mapping or a list of mappings")
        return pairs


def _line(event: Any) -> int:
    line: int = event.start_mark.line
    return line + 1
