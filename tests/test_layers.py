"""The direction of imports, module sizes and names, held over the source as it is read, not as it happens to load."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent

# From the top: a module imports from its own row and from rows below it.
LAYERS = [
    {"__main__"},
    {"cli"},
    {"audit", "serve"},
    {"app"},
    {"ops"},
    {"admin", "admin_client", "admin_workspaces", "local", "policy", "price_list", "prices_file", "proxy", "rotate"}
    | {"settings", "tasks"},
    {"bodies", "budgets", "drains", "forecast", "learning", "logs", "observe", "platforms", "precount", "relay"}
    | {"settling", "store"}
    | {"upstream", "usage_report", "webhook"},
    {"wire"},
    {"quantities", "wording", "yaml_nodes"},
    {"core"},
    {""},  # the package itself: its version
]
RANK = {name: rank for rank, row in enumerate(reversed(LAYERS)) for name in row}
ISLAND = "simulator"  # stands apart, so that agreement with it proves something; only the command line starts it
# What others see of a seam is its Protocol; app alone names what stands behind it.
SEAMS = {"gateway.store": {"audit", "ledger", "directory", "waiting", "work"}, "gateway.platforms": {"platform"}}
AIOHTTP = ("gateway.wire", "gateway.ops", "gateway.simulator")
PURE = "gateway.core"
PURE_MAY = {*sys.stdlib_module_names, "msgspec"} - {"asyncio", "logging", "socket", "ssl", "subprocess", "threading"}
EMPTY_NAMES = re.compile(r"(^|_)(utils?|helpers?|commons?|managers?|bases?|misc)(_|$)")
LONGEST = 400


class Import(NamedTuple):
    """`name` is the module, or the object in it as far as the statement tells; `lazy` inside a function."""

    name: str
    lazy: bool


@dataclass
class Module:
    imports: set[Import]
    lines: int = 0


def imports_of(source: str, package: str) -> set[Import]:
    """All imports of a module in `package`; `from a import b` counts as a.b, because b may be a module."""
    found = set()
    tree = ast.parse(source)
    lazy = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {Import(alias.name, id(node) in lazy) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            found |= {Import(f"{origin}.{alias.name}", id(node) in lazy) for alias in node.names}
    return found


def read(root: Path) -> dict[str, Module]:
    modules = {}
    for path in sorted((root / "gateway").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        source = path.read_text()
        package = name if parts[-1] == "__init__" else name.rpartition(".")[0]
        modules[name] = Module(imports_of(source, package), source.count("\n"))
    return modules


def top(name: str) -> str:
    """`proxy` for gateway.proxy.relay, and nothing for the package itself."""
    return name.partition(".")[2].partition(".")[0]


def within(name: str, packages: str | tuple[str, ...]) -> bool:
    packages = (packages,) if isinstance(packages, str) else packages
    return any(name == package or name.startswith(package + ".") for package in packages)


def target(imported: str, modules: Mapping[str, Module]) -> str | None:
    """The module of ours that an import reaches, None for other people's."""
    while imported and imported not in modules:
        imported = imported.rpartition(".")[0]
    return imported or None


def edges(modules: Mapping[str, Module]) -> Iterator[tuple[str, str]]:
    for name, module in modules.items():
        for imported in module.imports:
            reached = target(imported.name, modules)
            if reached and reached != name:
                yield name, reached


def direction_faults(modules: Mapping[str, Module]) -> list[str]:
    faults = [
        f"{name} is in no layer: give {top(name)!r} a row in LAYERS, or a home in a module that has one"
        for name in modules
        if top(name) not in RANK and top(name) != ISLAND
    ]
    for name, reached in edges(modules):
        here, there = top(name), top(reached)
        if ISLAND in (here, there):
            if here != there and not (there == ISLAND and here == "cli"):
                faults.append(f"{name} imports {reached}: the simulator stands apart; only cli may import it")
        elif RANK.get(there, 0) > RANK.get(here, len(LAYERS)):
            faults.append(f"{name} imports {reached}, which stands above it")
    return sorted(faults)


def seam_faults(modules: Mapping[str, Module]) -> list[str]:
    faults = []
    for name, reached in edges(modules):
        for seam, public in SEAMS.items():
            behind = within(reached, seam) and reached != seam and reached.split(".")[2] not in public
            if behind and not within(name, seam) and top(name) != "app":
                faults.append(f"{name} imports {reached}: only app names what stands behind a seam")
    return sorted(faults)


def foreign_faults(modules: Mapping[str, Module], required: set[str], extras: set[str]) -> list[str]:
    """What is imported from others: pure modules stay pure, aiohttp stays at the wire, nothing undeclared."""
    faults = []
    for name, module in modules.items():
        for imported in module.imports:
            package = imported.name.partition(".")[0]
            if package == "gateway":
                continue
            if within(name, PURE) and package not in PURE_MAY:
                faults.append(f"{name} imports {package}: core decides, it neither waits nor logs nor reaches out")
            if package == "aiohttp" and not within(name, AIOHTTP):
                faults.append(f"{name} imports aiohttp, which is known to {', '.join(AIOHTTP)} only")
            if package in sys.stdlib_module_names or package in required:
                continue
            if package not in extras:
                faults.append(f"{name} imports {package}, which pyproject.toml does not ask for")
            elif not imported.lazy:
                faults.append(f"{name} imports {package} at its top: an extra is imported where it is needed")
    return sorted(faults)


def cycle_faults(modules: Mapping[str, Module]) -> list[str]:
    graph: dict[str, set[str]] = {name: set() for name in modules}
    for name, reached in edges(modules):
        graph[name].add(reached)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" → ".join(reversed(error.args[1]))]
    return []


def shape_faults(modules: Mapping[str, Module]) -> list[str]:
    too_long = [
        f"{name} has {m.lines} lines, of {LONGEST}: split it" for name, m in modules.items() if m.lines > LONGEST
    ]
    empty = [f"{name}: a name that says nothing" for name in modules if any(map(EMPTY_NAMES.search, name.split(".")))]
    return sorted(too_long + empty)


def declared() -> tuple[set[str], set[str]]:
    """The import names of what pyproject.toml requires always, and of its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    modules_of: dict[str, set[str]] = {}
    for module, distributions in packages_distributions().items():
        for distribution in distributions:
            modules_of.setdefault(distribution.lower().replace("_", "-"), set()).add(module)

    def names(requirements: list[str]) -> set[str]:
        asked = {Requirement(line).name.lower() for line in requirements}
        return set().union(*(modules_of.get(name, set()) for name in asked))

    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    return names(project["dependencies"]), names(extras)


OURS = read(ROOT)


def test_imports_go_down():
    """Every module stands in a row of LAYERS and imports from its own row or below; the simulator stands apart."""
    assert [] == direction_faults(OURS)


def test_seams_are_kept():
    """Ledger and Platform are Protocols to everybody but the composition root."""
    assert [] == seam_faults(OURS)


def test_others_are_imported_where_they_belong():
    """Core is pure, aiohttp stays at the wire, extras are lazy, and everything imported is declared."""
    assert [] == foreign_faults(OURS, *declared())


def test_no_module_waits_for_itself():
    """Imports form no cycle, lazy ones included."""
    assert [] == cycle_faults(OURS)


def test_modules_are_small_and_named_by_the_thing():
    """No module over 400 lines; no utils, helpers, common, manager, base."""
    assert [] == shape_faults(OURS)


def made(**modules: str) -> dict[str, Module]:
    """A tree in which `gateway.a.b` is written a__b; each value is its source."""
    tree = {"gateway": "", **{f"gateway.{name.replace('__', '.')}": source for name, source in modules.items()}}
    packages = {name.rpartition(".")[0] for name in tree} - {""}
    full = dict.fromkeys(packages, "") | tree
    return {
        name: Module(imports_of(source, name if name in packages else name.rpartition(".")[0]), source.count("\n"))
        for name, source in full.items()
    }


@pytest.mark.parametrize(
    ("tree", "fault"),
    [
        ({"wire": "from gateway import proxy", "proxy": ""}, "gateway.wire imports gateway.proxy, which"),
        (
            {"wire": "from .. import gateway\nfrom . import proxy", "proxy": ""},
            "gateway.wire imports gateway.proxy, wh",
        ),
        (
            {"core__a": "def f():\n    import gateway.wire.b", "wire__b": ""},
            "gateway.core.a imports gateway.wire.b, wh",
        ),
        ({"simulator__a": "from gateway.core import b", "core__b": ""}, "gateway.simulator.a imports gateway.core.b:"),
        ({"app": "import gateway.simulator", "simulator": ""}, "gateway.app imports gateway.simulator:"),
        ({"cash": ""}, "gateway.cash is in no layer"),
    ],
)
def test_a_wrong_direction_is_found(tree: dict[str, str], fault: str):
    """However an import is written, it counts."""
    (found,) = direction_faults(made(**tree))

    assert found.startswith(fault)


def test_a_right_direction_is_left_alone():
    """Down, beside, and from the command line to the simulator."""
    tree = made(
        cli="from gateway import app, simulator, __version__",
        app="import gateway.proxy\nfrom gateway.store.redis import Ledger",
        proxy="from gateway.settings import Settings",
        settings="",
        store__redis="from gateway.core import limits",
        core__limits="from .teams import Team",
        core__teams="",
        simulator__world="from gateway.simulator import prices",
        simulator__prices="",
    )

    assert ([], []) == (direction_faults(tree), cycle_faults(tree))


@pytest.mark.parametrize(
    ("tree", "fault"),
    [
        ({"core__a": "import redis"}, "gateway.core.a imports redis: core decides"),
        ({"core__a": "from asyncio import sleep"}, "gateway.core.a imports asyncio: core decides"),
        ({"proxy": "from aiohttp import web"}, "gateway.proxy imports aiohttp, which is known to"),
        ({"platforms__aws": "import botocore"}, "gateway.platforms.aws imports botocore at its top"),
        ({"app": "import flask"}, "gateway.app imports flask, which pyproject.toml does not ask for"),
    ],
)
def test_a_wrong_import_is_found(tree: dict[str, str], fault: str):
    """Each rule about other people's packages is broken once."""
    (found,) = foreign_faults(made(**tree), {"aiohttp", "msgspec", "redis"}, {"botocore"})

    assert found.startswith(fault)


def test_a_cycle_is_found():
    """Even one that closes inside a function."""
    tree = made(proxy="import gateway.tasks", tasks="def f():\n    from gateway.proxy import handle")

    (found,) = cycle_faults(tree)

    assert {"gateway.proxy", "gateway.tasks"} == set(found.split(" → "))


def test_a_look_behind_a_seam_is_found():
    """The proxy may know the Protocol and not the store; app and the store itself may."""
    tree = made(
        app="from gateway.store import redis",
        proxy="from gateway.store.ledger import Ledger\nfrom gateway.store.redis import RedisLedger",
        store__redis="from gateway.store import scripts",
        store__ledger="",
        store__scripts="",
    )

    assert ["gateway.proxy imports gateway.store.redis: only app names what stands behind a seam"] == seam_faults(tree)


@pytest.mark.parametrize("name", ["utils", "core__helpers", "store__redis_utils", "wire__base", "manager"])
def test_an_empty_name_is_found(name: str):
    """A module is named by the thing it owns."""
    assert [f"gateway.{name.replace('__', '.')}: a name that says nothing"] == shape_faults(made(**{name: ""}))


def test_a_long_module_is_found():
    """401 lines are too many, 400 are not."""
    assert ["gateway.proxy has 401 lines, of 400: split it"] == shape_faults(
        made(proxy="\n" * 401, observe="\n" * 400, core__database="")
    )


def test_what_importing_costs(measured):
    """Everything that serves is imported well within the start-up time promised, a second from start to ready."""
    served = [name for name in OURS if top(name) not in (ISLAND, "__main__")]
    program = (
        f"import time; began = time.perf_counter(); import {', '.join(served)}; print(time.perf_counter() - began)"
    )
    said = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert 0 == said.returncode, said.stderr
    seconds = float(said.stdout)

    measured(f"importing {len(served)} modules: {seconds * 1000:.0f} ms, of a budget of 500")
    assert seconds < 5
