"""Reads a strict YAML file node by node, so that every fault is told at once, with its file and line.

Rule: a scalar is read from its text, never as the type YAML guesses (`1.10` would be a float, `no` a boolean). A part
that is wrong leaves a fault and a harmless value, and reading goes on.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from difflib import get_close_matches
from typing import Final, TypeVar

import yaml

EPOCH: Final = date(1970, 1, 1)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SHAPES: Final = {yaml.MappingNode: "a mapping", yaml.SequenceNode: "a list", yaml.ScalarNode: "a single value"}
_WHOLE: Final = re.compile(r"[0-9]{1,9}")
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

_N = TypeVar("_N", bound=yaml.Node)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with the file, and where."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


@dataclass
class NodeReader:
    """The faults of one file, and how its nodes are read. A node may be None: then it was not given."""

    file: str
    faults: list[Fault] = field(default_factory=list)

    def root(self, text: bytes | str) -> yaml.Node | None:
        line, problem = 1, "the file is empty"
        root: yaml.Node | None = None
        try:
            root = yaml.compose(text, Loader=_LOADER)
        except yaml.MarkedYAMLError as error:
            problem = f"not YAML: {error.problem}"
            line = error.problem_mark.line + 1 if error.problem_mark else 1
        except (yaml.YAMLError, RecursionError) as error:
            problem = f"not YAML: {str(error).splitlines()[0]}"
        if root is None:
            self.faults.append(Fault(self.file, line, problem))
        return root

    def fault(self, node: yaml.Node, message: str) -> None:
        self.faults.append(Fault(self.file, node.start_mark.line + 1, message))

    def shaped(self, node: yaml.Node | None, shape: type[_N], what: str) -> _N | None:
        """The node when it has the shape. One that is not there has none, which whoever required it has said."""
        if isinstance(node, shape):
            return node
        if node is not None:
            self.fault(node, f"{what} must be {_SHAPES[shape]}, not {_SHAPES[type(node)]}")
        return None

    def items(self, node: yaml.Node | None, what: str) -> list[yaml.Node]:
        found = self.shaped(node, yaml.SequenceNode, what)
        if found is not None and not found.value:
            self.fault(found, f"{what} is an empty list")
        return list(found.value) if found is not None else []

    def pairs(self, node: yaml.Node | None, what: str) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """The keys and values of a mapping, by key."""
        found = self.shaped(node, yaml.MappingNode, what)
        pairs: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in found.value if found is not None else ():
            if not isinstance(key, yaml.ScalarNode):
                self.fault(key, f"a key of {what} must be a name")
            elif key.value in pairs:
                self.fault(key, f"{key.value!r} stands twice in {what}")
            else:
                pairs[key.value] = (key, value)
        return pairs

    def mapping(
        self, node: yaml.Node | None, what: str, *, required: tuple[str, ...], optional: tuple[str, ...] = ()
    ) -> dict[str, yaml.Node]:
        """The values of a mapping that may have these keys and no others."""
        pairs = self.pairs(node, what)
        known = (*required, *optional)
        for name, (key, _) in pairs.items():
            if name not in known:
                self.fault(key, f"{what} has no {name!r}{hint(name, known)}")
        missing = [name for name in required if name not in pairs]
        if missing and isinstance(node, yaml.MappingNode):
            self.fault(node, f"{what} lacks {', '.join(map(repr, missing))}")
        return {name: value for name, (_, value) in pairs.items() if name in known}

    def text(self, node: yaml.Node | None, what: str) -> str | None:
        found = self.shaped(node, yaml.ScalarNode, what)
        return str(found.value) if found is not None else None

    def whole(self, node: yaml.Node | None, what: str, *, least: int = 0, most: int, default: int = 0) -> int:
        text = self.text(node, what)
        if node is None or text is None:
            return default
        if _WHOLE.fullmatch(text) and least <= int(text) <= most:
            return int(text)
        self.fault(node, f"{what} must be a whole number from {least} to {most}, not {text[:60]!r}")
        return default

    def flag(self, node: yaml.Node | None, what: str) -> bool:
        text = self.text(node, what)
        if node is not None and text not in (None, "true", "false"):
            self.fault(node, f"{what} must be true or false, not {str(text)[:60]!r}")
        return text == "true"

    def day(self, node: yaml.Node | None, what: str) -> int | None:
        """A day's first moment in UTC, as unix seconds."""
        text = self.text(node, what)
        if node is None or text is None:
            return None
        try:
            return (date.fromisoformat(text if _DAY.fullmatch(text) else "") - EPOCH).days * 86_400
        except ValueError:
            self.fault(node, f"{what} must be a day like 2026-10-07, not {text[:60]!r}")
            return None


def hint(name: str, known: Iterable[str]) -> str:
    """What a misspelt name was perhaps meant to be, to append to a fault."""
    near = get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
