"""How the clients get onto a machine: pinned and hashed, from whatever registry it is set to, once."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.runtime import CLIENTS

HERE = Path(__file__).parent
# Stand-ins that note each call and make what the real ones would make.
PIP = """#!/bin/sh
case "$*" in *sys.implementation*) echo '# for test'; exit ;; esac
echo "pip" >> "$CALLS"
exit "${PIP_FAILS:-0}"
"""
NPM = """#!/bin/sh
echo "npm $*" >> "$CALLS"
exit "${NPM_FAILS:-0}"
"""


class Machine:
    """A folder with a copy of what installs, and a PATH with only what the script may use."""

    def __init__(self, root: Path, *, npm: bool) -> None:
        self.root = root
        self.calls = root / "calls"
        self.calls.touch()
        self.locks = shutil.copytree(HERE, root / "conformance", ignore=shutil.ignore_patterns("__pycache__"))
        self.bin = root / "bin"
        self.bin.mkdir()
        for tool in ("sh", "cat", "cmp", "cp", "dirname", "mkdir", "rm"):
            (self.bin / tool).symlink_to(shutil.which(tool) or tool)
        self.put("python", PIP)
        if npm:
            self.put("npm", NPM)

    def put(self, name: str, script: str) -> None:
        (self.bin / name).write_text(script)
        (self.bin / name).chmod(0o755)

    def install(self, **more: str) -> tuple[int, list[str], str]:
        """The exit code, what was called since the last time, and what a person read."""
        before = self.calls.read_text().splitlines()
        done = subprocess.run(
            ["sh", str(self.locks / "install.sh"), "python", str(self.root / "clients")],
            env={"PATH": str(self.bin), "CALLS": str(self.calls), **more},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, sorted(self.calls.read_text().splitlines()[len(before) :]), done.stderr


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path, npm=True)


CI = "npm ci --ignore-scripts --no-audit --no-fund --loglevel=error"


def test_once(machine: Machine) -> None:
    """Each half is installed once, and again only when its own lock has changed."""
    assert (0, [CI, "pip"]) == machine.install()[:2]
    assert (0, [], "") == machine.install()

    with (machine.locks / "package-lock.json").open("a") as lock:
        lock.write("\n")

    assert (0, [CI]) == machine.install()[:2]

    with (machine.locks / "requirements-anthropic-0x.lock").open("a") as lock:
        lock.write("# changed\n")

    assert (0, ["pip"]) == machine.install()[:2]
    assert (0, [], "") == machine.install()


@pytest.mark.parametrize(("half", "call"), [("PIP_FAILS", "pip"), ("NPM_FAILS", CI)])
def test_half_made(machine: Machine, half: str, call: str) -> None:
    """What failed is said, and tried again the next time; what went well is not."""
    code, _, said = machine.install(**{half: "1"})

    assert 0 != code
    assert "failed (see above)" in said
    assert (0, [call]) == machine.install()[:2]


def test_without_node(tmp_path: Path) -> None:
    """Without Node.js the rest is installed, and the tests that need it will skip and say so."""
    code, called, said = Machine(tmp_path, npm=False).install()

    assert (0, ["pip"]) == (code, called)
    assert "Node.js is not installed" in said


def test_npm_lock_names_no_registry() -> None:
    """Every package is pinned by its hash and none by an address: `npm ci` finds it at the registry it is set to."""
    packages = json.loads((HERE / "package-lock.json").read_text())["packages"]
    named = {path: package for path, package in packages.items() if path}

    assert [] == [path for path, package in named.items() if "resolved" in package]
    assert [] == [path for path, package in named.items() if not package["integrity"].startswith("sha512-")]


def test_npm_lock_is_what_package_json_asks() -> None:
    """One exact version of each client, the same in both files."""
    asked = json.loads((HERE / "package.json").read_text())
    packages = json.loads((HERE / "package-lock.json").read_text())["packages"]
    clients = asked["dependencies"] | asked["optionalDependencies"]

    assert clients == {name: packages[f"node_modules/{name}"]["version"] for name in clients}
    assert 1 == len({version for name, version in clients.items() if "claude-code" in name})


def test_python_lock() -> None:
    """The last 0.x release, every package with hashes, and no address of an index."""
    lock = (HERE / "requirements-anthropic-0x.lock").read_text()
    pins = re.findall(r"^([a-z0-9-]+)==(\S+)(.*)$", lock, re.MULTILINE)

    assert ["0"] == [version.split(".")[0] for name, version, _ in pins if name == "anthropic"]
    assert [] == [name for name, _, rest in pins if not rest.endswith("\\")]
    assert "://" not in lock


def test_clients_are_apart() -> None:
    """The old SDK runs without the environment's packages, or it would borrow newer ones than it came with."""
    code = "import anthropic, sys; print(anthropic.__version__, anthropic.__file__)"
    said = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": str(CLIENTS / "anthropic-0x")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert said.startswith("0.")
    assert str(CLIENTS) in said
