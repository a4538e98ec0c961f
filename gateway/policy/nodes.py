"""YAML as nodes that know their line: texts, lists and mappings, nothing resolved yet.

The rule: no value gets a type here. YAML 1.1 reads `off` as false, `1:30` as ninety and a digest of many digits with
one `e` as infinity; here each key's own reader decides what its text means. No tag makes an object of anything.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import yaml

from gateway.policy.faults import Bad
from gateway.wording import scrubbed, shown

# A policy is written by its operator: the bound guards against the accident of aliases within aliases.
MOST_NODES = 500_000

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml when PyYAML was built with it: ten times as fast
_KNOWN_TAGS = {"null", "bool", "int", "float", "str", "timestamp", "value", "merge", "seq", "map"}
_TAG = "tag:yaml.org,2002:"


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
        loader = _LOADER(text)
        try:
            root = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        raise Bad(_syntax(error), line=_line(error)) from None
    except yaml.YAMLError as error:
        raise Bad(f"is not YAML: {scrubbed(str(error).splitlines()[0])}") from None
    except RecursionError:
        raise Bad("is nested too deeply") from None
    return None if root is None else _Tree(report).node(root)


def _syntax(error: yaml.MarkedYAMLError) -> str:
    if "expected a single document" in str(error.context):
        return "holds more than one YAML document; keep the first and remove the line '---'"
    said = [part for part in (error.context, error.problem) if part]
    return f"is not YAML: {scrubbed(', '.join(said))}"


def _line(error: yaml.MarkedYAMLError) -> int | None:
    mark = error.problem_mark or error.context_mark
    return None if mark is None else mark.line + 1


class _Tree:
    """Turns PyYAML's graph into our tree, with aliases copied and `<<` merged."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._left = MOST_NODES
        self._open: set[int] = set()  # nodes above the present one: an alias to one of them would never end

    def node(self, found: yaml.Node) -> Node:
        line = found.start_mark.line + 1
        self._left -= 1
        if self._left < 0:
            raise Bad(f"has more than {MOST_NODES} nodes once its aliases are copied", line)
        tag = found.tag.removeprefix(_TAG)
        if tag not in _KNOWN_TAGS:
            self._report(line, f"the tag {shown(found.tag)} has no meaning here; write the plain value")
        if isinstance(found, yaml.ScalarNode):
            return Scalar(found.value, line)
        if id(found) in self._open:
            raise Bad("an alias refers to the very mapping or list that it stands in", line)
        self._open.add(id(found))
        try:
            if isinstance(found, yaml.SequenceNode):
                return Items(tuple(self.node(item) for item in found.value), line)
            assert isinstance(found, yaml.MappingNode)
            return self._mapping(found, line)
        except RecursionError:
            raise Bad("is nested too deeply", line) from None
        finally:
            self._open.discard(id(found))

    def _mapping(self, found: yaml.MappingNode, line: int) -> Entries:
        own: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        for key, value in found.value:
            at = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self._report(at, "a key must be a plain word, not a list or a mapping")
            elif key.tag == _TAG + "merge":
                for name, entry in self._merge(value, at):
                    merged.setdefault(name, entry)  # of several merged mappings the first one counts, as YAML has it
            elif key.value in own:
                self._report(at, f"the key {shown(key.value)} stands here twice, first on line {own[key.value].line}")
            else:
                own[key.value] = Entry(self.node(value), at)
        return Entries(own | {name: entry for name, entry in merged.items() if name not in own}, line)

    def _merge(self, value: yaml.Node, line: int) -> list[tuple[str, Entry]]:
        sources = value.value if isinstance(value, yaml.SequenceNode) else [value]
        pairs: list[tuple[str, Entry]] = []
        for source in sources:
            tree = self.node(source)
            if isinstance(tree, Entries):
                pairs.extend(tree.by_key.items())
            else:
                self._report(line, "'<<' takes a mapping or a list of mappings")
        return pairs
