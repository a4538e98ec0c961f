"""What is published and pinned: the wheel, the locks, the two commands of the README."""

import email
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import gateway
from scripts import lock

ROOT = lock.ROOT
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PIN = re.compile(r"^(?P<name>[a-z0-9-]+)==(?P<version>\S+)(?: ; (?P<marker>.+?))? \\$", re.MULTILINE)


def tracked() -> list[Path]:
    """Every file that a clone has or is about to have; in an unpacked archive, every file that is not hidden."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        names = listed.stdout.split("\0")
    else:
        names = [
            str(path) for path in ROOT.rglob("[!._]*") if not re.search(r"/[.]|__pycache__|node_modules", str(path))
        ]
    return [path for name in names if name and (path := ROOT / name).is_file()]


class TestLocks:
    @pytest.mark.parametrize("file", [lock.RUNTIME, lock.DEV], ids=lambda file: file.name)
    def test_answers_to_pyproject(self, file: Path):
        """A change of what pyproject.toml asks for without `make lock` is noticed."""
        assert file.read_text().startswith(lock.header(file))

    @pytest.mark.parametrize("file", [lock.RUNTIME, lock.DEV], ids=lambda file: file.name)
    def test_pins_what_pyproject_asks_for(self, file: Path):
        """Every requirement has a pin that satisfies it."""
        pins = {pin["name"]: pin["version"] for pin in PIN.finditer(file.read_text())}
        asked = list(PROJECT["project"]["dependencies"])
        if file == lock.DEV:
            groups = [*PROJECT["project"]["optional-dependencies"].values(), *PROJECT["dependency-groups"].values()]
            asked += [line for group in groups for line in group if isinstance(line, str)]
        wrong = [
            line
            for line in asked
            if not (need := Requirement(line)).specifier.contains(pins.get(canonicalize_name(need.name), "0"))
        ]

        assert [] == wrong

    def test_tests_run_on_what_the_gateway_runs_on(self):
        """Each pin of the runtime lock stands, version and hashes, in the development lock."""
        assert set(entries(lock.RUNTIME).items()) <= set(entries(lock.DEV).items())

    @pytest.mark.parametrize("file", [lock.RUNTIME, lock.DEV], ids=lambda file: file.name)
    def test_every_pin_has_hashes(self, file: Path):
        """Nothing is installed on its name alone."""
        assert [] == [pin for pin, hashes in entries(file).items() if not hashes]

    def test_no_file_names_an_index_or_a_machine(self):
        """What is committed is the same wherever it was made: no package host, no path of somebody's disk."""
        index = rb"pythonhosted\.org|pypi\.org/simple|npmjs\.org|(?:index-url|find-links)[ =]\S*/|\"resolved\": \"http"
        disks = [rb"/(?:home|Users)/\w+/"] + [re.escape(os.fsencode(path)) + rb"[/\"']" for path in (ROOT, Path.home())]
        either = re.compile(b"|".join([index, *disks]))
        found = [
            f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]!r}"
            for path in tracked()
            for number, line in enumerate(path.read_bytes().splitlines(), start=1)
            if either.search(line)
        ]

        assert [] == found


def entries(file: Path) -> dict[str, tuple[str, ...]]:
    """Pin with marker → hashes."""
    found: dict[str, list[str]] = {}
    pin = ""
    for line in file.read_text().splitlines():
        if match := re.match(r"[a-z0-9-]+==[^\\]+", line):
            pin = match[0].strip()
            found[pin] = []
        elif line.startswith("    --hash="):
            found[pin].append(line.strip(" \\"))
    return {pin: tuple(hashes) for pin, hashes in found.items()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as a release is, except that the backend is the one pinned here: no network."""
    out = tmp_path_factory.mktemp("wheel")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "PYTEST"))}
    built = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == built.returncode, built.stdout + built.stderr
    (file,) = out.iterdir()
    return file


class TestWheel:
    def test_carries_the_package_and_its_data(self, wheel: Path):
        """Every tracked file of the package is in it: Lua, YAML, templates, py.typed; and the two files of config/."""
        expected = {str(path.relative_to(ROOT)) for path in tracked() if path.is_relative_to(ROOT / "gateway")}
        shipped = ["config/gateway.yaml", "config/prices.yaml"]
        expected |= {f"gateway/data/{Path(name).name}" for name in shipped if (ROOT / name).exists()}
        with zipfile.ZipFile(wheel) as archive:
            contents = {name for name in archive.namelist() if ".dist-info/" not in name}

        assert "gateway/py.typed" in contents
        assert expected == contents

    def test_says_what_it_is(self, wheel: Path):
        """Version, licence and requirements in the metadata are those of the tree; `gateway` is a command."""
        with zipfile.ZipFile(wheel) as archive:
            info = f"claude_gateway-{gateway.__version__}.dist-info"
            metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
            commands = archive.read(f"{info}/entry_points.txt").decode()
            names = archive.namelist()
        required = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]

        assert ("claude-gateway", gateway.__version__) == (metadata["Name"], metadata["Version"])
        assert ("Apache-2.0", ">=3.11") == (metadata["License-Expression"], metadata["Requires-Python"])
        assert set(PROJECT["project"]["optional-dependencies"]) == set(metadata.get_all("Provides-Extra", []))
        assert {*map(parsed, PROJECT["project"]["dependencies"])} == {*map(parsed, required)}
        assert "gateway = gateway.cli:main" in commands
        assert f"{info}/licenses/LICENSE" in names

    def test_installs_without_an_index(self, wheel: Path, tmp_path: Path):
        """Code and price table are found where they were put, not in the tree, and the command answers."""
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-" + "index", "--target"]
        subprocess.run([*pip, str(tmp_path), str(wheel)], check=True, capture_output=True, timeout=50)
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        look = "import gateway, gateway.prices_file as prices; print(gateway.__file__, prices.default_path())"
        origin = [sys.executable, "-c", look]
        command = [sys.executable, "-m", "gateway", "--version"]
        said = [
            subprocess.run(
                line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
            ).stdout.strip()
            for line in (origin, command)
        ]

        places = f"{tmp_path}/gateway/__init__.py {tmp_path}/gateway/data/prices.yaml"
        assert [places, f"gateway, version {gateway.__version__}"] == said


def parsed(line: str) -> tuple[str, frozenset[str], str, str]:
    """A requirement without the accidents of its spelling."""
    need = Requirement(line)
    return canonicalize_name(need.name), frozenset(need.extras), str(need.specifier), str(need.marker or "")


class TestCommands:
    def test_the_readme_names_two_commands(self):
        """What a newcomer is told to type is what the Makefile has, and nothing else comes first."""
        typed = re.findall(r"^\$ (.+)$", (ROOT / "README.md").read_text(), re.MULTILINE)

        assert ["make run", "make test"] == typed[:2]

    def test_ci_calls_the_readme_test_command(self):
        """CI proves the sentence in the README, not a relative of it."""
        assert re.search(r"exec make test </dev/null$", (ROOT / ".ci/run").read_text().strip())

    def test_every_skip_that_ci_allows_has_a_reason(self):
        """A line of `.ci/skips` without a # explains nothing."""
        lines = (ROOT / ".ci/skips").read_text().splitlines()

        assert [] == [line for line in lines if line.strip() and not line.partition("#")[2].strip()]

    def test_make_alone_lists_its_targets(self):
        """Somebody who types `make` sees what there is."""
        said = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert phony is not None
        public = [name for name in phony[1].split() if not name.endswith("-environment")]

        assert sorted(public) == sorted(re.findall(r"^  make ([a-z]+) ", said, re.MULTILINE))


class TestRun:
    def test_make_run_starts_the_gateway_without_a_key(self, tmp_path: Path):
        """In a clean tree, its environment in place, `make run` serves: a team key on paper, the simulator behind."""
        for path in tracked():
            copy = tmp_path / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
        (tmp_path / ".venv/bin").mkdir(parents=True)
        program(tmp_path / ".venv/bin/python", f'exec {sys.executable} "$@"')
        shutil.copy(lock.RUNTIME, tmp_path / ".venv/made-from.lock")
        ours = {"GATEWAY_PORT": "0", "GATEWAY_OPS_PORT": "0", "GATEWAY_DRAIN_DELAY_SECONDS": "0"}
        strange = ("GATEWAY_", "ANTHROPIC_", "PYTHON", "MAKE", "MFLAGS")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(strange)} | ours
        with subprocess.Popen(
            ["make", "run"],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as run:
            assert run.stdout is not None
            said = []
            try:
                for line in run.stdout:
                    said.append(line)
                    if '"event":"started"' in line:
                        break
                key = (tmp_path / ".state/team-key").read_text().strip()
                ops = http.client.HTTPConnection("127.0.0.1", json.loads(said[-1])["ops_port"], timeout=10)
                ops.request("GET", "/readyz", headers={"connection": "close"})
                assert 200 == ops.getresponse().status
                ops.close()
            finally:
                os.killpg(run.pid, signal.SIGTERM)  # as Ctrl-C does: to make and to what it runs
            said += run.stdout.readlines()
        text = "".join(said)

        assert ("SIMULATOR" in text, f"x-api-key: {key}" in text, '"event":"stopped"' in text) == (True, True, True)


class TestEnvironment:
    """scripts/venv.sh, as the Makefile calls it."""

    @staticmethod
    def venv(directory: Path, lock_file: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", ROOT / "scripts/venv.sh", directory, lock_file],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=50,
        )

    def test_is_made_whole_once(self, tmp_path: Path):
        """A set-up that failed is begun anew by the next call; one that is whole is left alone."""
        made, pins = tmp_path / "venv", tmp_path / "pins.lock"
        pins.write_text(f"no-such-package-of-ours==1 --hash=sha256:{'0' * 64}\n")
        failed = self.venv(made, pins, PIP_NO_INDEX="1")
        assert 1 == failed.returncode
        assert "run the same command again once it is mended" in failed.stderr

        (made / "left-over").touch()
        pins.write_text("# nothing\n")
        mended = self.venv(made, pins)
        assert (0, False) == (mended.returncode, (made / "left-over").exists())

        (made / "left-alone").touch()
        again = self.venv(made, pins)
        assert (0, "", "", True) == (again.returncode, again.stdout, again.stderr, (made / "left-alone").exists())

    def test_an_old_python_is_refused_with_advice(self, tmp_path: Path):
        """Somebody on Python 3.10 learns what to install."""
        old = program(tmp_path / "python", "exit 1")
        said = self.venv(tmp_path / "venv", lock.RUNTIME, PYTHON=str(old))

        assert 1 == said.returncode
        assert "needs Python 3.11 or newer" in said.stderr
        assert "apt install python3 python3-venv" in said.stderr
        assert not (tmp_path / "venv").exists()

    def test_a_python_without_ensurepip_is_refused_with_advice(self, tmp_path: Path):
        """Debian without python3-venv: the package is named and nothing half-made is left."""
        split = program(tmp_path / "python", f'case "$*" in *ensurepip*) exit 1;; esac; exec {sys.executable} "$@"')
        said = self.venv(tmp_path / "venv", lock.RUNTIME, PYTHON=str(split))

        assert 1 == said.returncode
        assert "apt install python3-venv" in said.stderr
        assert not (tmp_path / "venv").exists()


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path
