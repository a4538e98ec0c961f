"""The clients, the simulator and the gateway, each started when the first test asks for it, once per test process."""

import contextlib
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conformance import processes, table
from tests.conformance.runtime import CLIENTS, ROOT, Runtime, bare_environment

PROBES = "tests.conformance.clients"


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("conformance")


class Place(NamedTuple):
    """A simulator and the gateway in front of it."""

    simulator: str
    gateway: str


@contextlib.contextmanager
def place_for(cases: Iterable[table.Case], scratch: Path) -> Iterator[Place]:
    with (
        processes.simulator(scratch) as simulator,
        processes.gateway_of_workspaces(scratch, simulator, [case.workspace("through") for case in cases]) as gateway,
    ):
        yield Place(simulator, gateway)


@pytest.fixture(scope="session")
def shared_place(scratch: Path) -> Iterator[Place]:
    with place_for(table.CASES, scratch) as place:
        yield place


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Where the test's case is at home."""
    case: table.Case = request.getfixturevalue("case")
    if case.fault in table.ALONE:
        with place_for([case], tmp_path) as place:
            yield place
    else:
        yield request.getfixturevalue("shared_place")


def installed(*parts: str) -> Path:
    path = CLIENTS.joinpath(*parts)
    if not path.exists():
        pytest.fail(f"{path} is missing. Run: sh tests/conformance/install.sh {sys.executable} {CLIENTS}")
    return path


def needs(program: str, name: str) -> str:
    """The program's path; where it is not installed, the test skips and says so."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def claude_code() -> Path:
    """The native binary that npm chose for this machine."""
    needs("npm", "Node.js")
    found = list(installed("node_modules", "@anthropic-ai").glob("claude-code-*/claude"))
    if not found:
        pytest.skip("Claude Code has no binary for this machine")
    return found[0]


@pytest.fixture(scope="session")
def runtimes(scratch: Path) -> Iterator[dict[str, Runtime]]:
    """The clients started so far, by name."""
    started: dict[str, Runtime] = {}
    yield started
    for runtime in started.values():
        runtime.stop()


@pytest.fixture
def client(name: str, scratch: Path, runtimes: dict[str, Runtime]) -> Runtime:
    """The client that the test's parameter names."""
    if name not in runtimes:
        runtimes[name] = start(name, scratch)
    return runtimes[name]


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """The client's name, where the test's parameter is a whole case."""
    case: table.Case = request.getfixturevalue("case")
    return case.client


def start(name: str, scratch: Path) -> Runtime:
    home = scratch / name
    home.mkdir(exist_ok=True)
    environment = bare_environment(home)
    match name:
        case "python":
            command = [sys.executable, "-m", f"{PROBES}.python_sdk"]
        case "python-0x":
            # Without the environment's own packages (-S), so that nothing newer shadows what this release came with.
            command = [sys.executable, "-S", "-m", f"{PROBES}.python_sdk"]
            environment["PYTHONPATH"] = str(installed("anthropic-0x"))
        case "typescript":
            sdk = installed("node_modules", "@anthropic-ai", "sdk") if needs("npm", "Node.js") else None
            command = [needs("node", "Node.js"), str(ROOT / "tests/conformance/js/probes.mjs"), str(sdk)]
        case "openai":
            command = [sys.executable, "-m", f"{PROBES}.openai_sdk"]
        case "curl":
            needs("curl", "curl")
            command = [sys.executable, "-S", "-m", f"{PROBES}.curl", str(home)]
        case "claude-code":
            command = [sys.executable, "-S", "-m", f"{PROBES}.claude_code", str(claude_code()), str(home)]
        case _:
            raise ValueError(f"{name!r} is no client; they are {', '.join(table.CLIENTS)}")
    return Runtime(command, environment, complaints=scratch / f"{name}.log")
