"""The two programs under the clients, each started as a user starts it: the simulator, and the gateway before it."""

import contextlib
import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.conformance.runtime import ROOT, bare_environment

READY_WITHIN = 30.0


@contextlib.contextmanager
def program(arguments: Sequence[str], *, says: str, log: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """A Python module as a process; yields what it `says` when it is ready (the group of the pattern)."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=log.parent,
            env={**environment, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + READY_WITHIN
        while not (said := re.search(says, log.read_text())):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{' '.join(arguments)} did not start:\n{log.read_text()[-4000:]}")
            time.sleep(0.02)
        yield said[1]
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def simulator(scratch: Path) -> Iterator[str]:
    """Batches end quickly; everything else is as in production."""
    arguments = ["gateway.simulator", "--port", "0", "--batch-seconds", "1.2"]
    with program(
        arguments, says=r"(http://\S+)", log=scratch / "simulator.log", environment=bare_environment(scratch)
    ) as url:
        yield url


@contextlib.contextmanager
def gateway(scratch: Path, policy: Mapping[str, Any], **secrets: str) -> Iterator[str]:
    """The gateway with this policy, whose `${env:NAME}` are given as well."""
    config = scratch / "gateway.yaml"
    config.write_text(json.dumps(policy))  # JSON is YAML
    environment = bare_environment(
        scratch, GATEWAY_PORT="0", GATEWAY_OPS_PORT="0", GATEWAY_STATE_DIR=str(scratch / "state"), **secrets
    )
    with program(
        ["gateway", "serve", "--config", str(config)],
        says=r'"port":(\d+),"ops_port"',
        log=scratch / "gateway.log",
        environment=environment,
    ) as port:
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def gateway_of_workspaces(scratch: Path, upstream: str, names: Sequence[str]) -> Iterator[str]:
    """One team and one workspace for each name, so that no case meets what another one left."""
    policy = {
        "workspaces": {
            name: {"base_url": upstream, "keys": [{"name": "real", "secret": f"${{env:REAL_{n}}}"}]}
            for n, name in enumerate(names)
        },
        "teams": {
            name: {"workspace": name, "keys": [{"name": "test", "sha256": digest(team_key(name))}]} for name in names
        },
    }
    with gateway(scratch, policy, **{f"REAL_{n}": f"ws-{name}-real" for n, name in enumerate(names)}) as url:
        yield url


def digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()


def team_key(name: str) -> str:
    return f"gwk_{name}"


def control(url: str, path: str, value: Any = None) -> Any:
    """Ask the simulator's own paths; with a value, tell it."""
    body = None if value is None else json.dumps(value).encode()
    asked = urllib.request.Request(f"{url}/_simulator/{path}", data=body, method="GET" if value is None else "PUT")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=10) as answer:
        return json.load(answer)
