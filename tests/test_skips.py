"""A skip is allowed on a laptop and refused in CI."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SUITE = """
import pytest

def test_passes():
    pass

def test_needs_a_tool():
    pytest.skip("promtool is not installed")

@pytest.mark.skipif(True, reason="Chromium is not installed")
def test_needs_another():
    pass

@pytest.mark.xfail(reason="known")
def test_is_expected_to_fail():
    assert False
"""


def outcomes(directory: Path, allowed: str | None, *, suite: str = SUITE) -> str:
    """pytest's closing line over the suite, in which only what `allowed` lists may skip; None is a laptop."""
    (directory / "test_it.py").write_text(suite)
    environment = {name: value for name, value in os.environ.items() if name != "MAY_SKIP"}
    if allowed is not None:
        (directory / "allowed").write_text(allowed)
        environment["MAY_SKIP"] = str(directory / "allowed")
    said = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.skips", f"--rootdir={directory}"],
        cwd=directory,
        env=environment | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    return re.sub(r" in \d.*", "", said.splitlines()[-1])


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        (None, "1 passed, 2 skipped, 1 xfailed"),
        ("# none\n", "1 failed, 1 passed, 1 xfailed, 1 error"),
        ("test_it.py::test_needs_a_tool  # no promtool on arm64\n", "1 passed, 1 skipped, 1 xfailed, 1 error"),
    ],
    ids=["laptop", "none allowed", "one allowed"],
)
def test_a_skip_that_is_not_listed_fails(tmp_path: Path, allowed: str | None, expected: str):
    """However a test skips, CI refuses unless its id is listed; an expected failure is no skip."""
    assert expected == outcomes(tmp_path, allowed)


def test_a_skipped_module_fails_too(tmp_path: Path):
    """A whole file that skips while it is collected is not overlooked."""
    suite = 'import pytest\n\npytest.skip("no Node.js", allow_module_level=True)\n'

    assert "1 error" == outcomes(tmp_path, "", suite=suite)
