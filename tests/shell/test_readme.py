"""The README's commands do what it says: each is taken from its text and run, with a free port in place of its own."""

import asyncio
import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.shell.test_serve import ROOT, serve

# `make` is tests/test_package.py's and CI's own business.
MAKE = ["make run", "make test"]


def commands() -> list[str]:
    """What stands behind a `$` in the README, continued lines joined."""
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = "".join(blocks).replace("\\\n", "").split("\n")
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def command(word: str) -> str:
    (found,) = [line for line in commands() if word in line]
    return found


async def run(line: str, directory: Path, **env: str) -> tuple[int | None, str]:
    child = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", line, cwd=directory, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), **env},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    printed, _ = await asyncio.wait_for(child.communicate(), 30)
    return child.returncode, printed.decode()


def test_no_command_is_forgotten() -> None:
    """A command that is added to the README is added here."""
    assert [line for line in commands() if line not in MAKE] == [
        command("curl"),
        command("gateway check"),
        command("gateway serve"),
    ]


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
async def test_curl(tmp_path: Path) -> None:
    """The line to paste gets an answer from a gateway that was just started."""
    async with serve(tmp_path) as gateway:
        started = await gateway.said("started")
        line = command("curl").replace("127.0.0.1:8080", f"127.0.0.1:{started['port']}")
        code, printed = await run(line.replace("curl ", "curl --silent ", 1), tmp_path)

    answer = json.loads(printed)
    assert code == 0
    assert (answer["type"], answer["role"]) == ("message", "assistant")


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
async def test_curl_of_the_welcome(tmp_path: Path) -> None:
    """So does the one that a first start prints."""
    async with serve(tmp_path) as gateway:
        await gateway.said("started")
        line = re.search(r"curl http.*?\n\n", gateway.text.replace("\\\n", ""), re.DOTALL)
        assert line is not None
        code, printed = await run(line[0].replace("curl ", "curl --silent ", 1), tmp_path)

    assert (code, json.loads(printed)["type"]) == (0, "message")


async def test_check(tmp_path: Path) -> None:
    """The example policy is sound as soon as the real key is set, and says what is missing until then."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    line = command("gateway check").replace("python", sys.executable, 1)
    code, printed = await run(line, tmp_path, ANTHROPIC_API_KEY="sk-ant-api03-planted")
    without, said = await run(line, tmp_path)

    assert code == 0, printed
    assert "planted" not in printed
    assert (without, "ANTHROPIC_API_KEY' is not set" in said) == (1, True)


async def test_serve(tmp_path: Path) -> None:
    """The gateway starts with the example policy."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    arguments = command("gateway serve").split("gateway serve ")[1].split()
    async with serve(tmp_path, *arguments, ANTHROPIC_API_KEY="sk-ant-api03-planted") as gateway:
        started = await gateway.said("started")

    assert (started["teams"], started["upstream"]) == (1, ["https://api.anthropic.com"])
