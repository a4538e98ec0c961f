"""Runs the SDK's own tests twice, at a mock and through the gateway, and compares results and what arrived.

usage: python -m tests.conformance.sdk_suite SOURCE PYTHON [TESTS ...]      exits 1 when the two disagree
"""

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from tests.conformance.processes import digest, gateway, program
from tests.conformance.runtime import bare_environment

HERE = Path(__file__).parent
KEY = "my-anthropic-api-key"  # the SDK's tests know no other

# What the gateway refuses, answers itself or strips on purpose: tests that meet it are left out.
REFUSED_PATHS = ("/v1/organizations/", "/v1/tunnels")
ITS_OWN = "/v1/models"
REFUSED_FIELD = '"billing_policy"'
STRIPPED = {"anthropic-workspace-id", "anthropic-user-profile-id"}


@dataclass
class Run:
    """What each test came to, with what it said, and each request as it arrived, by test."""

    outcomes: dict[str, tuple[str, str]] = field(default_factory=dict)
    requests: dict[str, Counter[str]] = field(default_factory=dict)
    apart: set[str] = field(default_factory=set)
    """Tests that meet what is not compared."""


def run(source: Path, python: Path, base_url: str, folder: Path, left_out: set[str], tests: list[str]) -> Run:
    results, samples = folder / "results", folder / "samples"
    samples.mkdir()
    (folder / "left-out").write_text("\n".join(left_out))
    environment = bare_environment(
        folder,
        PYTHONPATH=str(HERE),
        SDK_SUITE_SAMPLES=str(samples),
        SDK_SUITE_RESULTS=str(results),
        SDK_SUITE_LEFT_OUT=str(folder / "left-out"),
        TEST_API_BASE_URL=base_url,
    )
    command = [str(python), "-m", "pytest", "-p", "samples", "-p", "no:cacheprovider", "-W", "ignore", "-n", "2", "-q"]
    with (folder / "pytest.log").open("wb") as log:
        subprocess.run([*command, *tests], cwd=source, env=environment, check=False, stdout=log, stderr=log)
    return read(results, folder / "requests")


def read(results: Path, log: Path) -> Run:
    found = Run()
    names = {}
    for line in results.read_text().splitlines():
        result = json.loads(line)
        names[sha256(result["test"].encode()).hexdigest()] = result["test"]
        found.outcomes[result["test"]] = (result["outcome"], result["said"])
    for line in log.read_text().splitlines():
        seen = json.loads(line)
        test, refused = names.get(seen.pop("test"), ""), seen.pop("refused")
        if refused or seen["target"].startswith(REFUSED_PATHS) or seen["target"].partition("?")[0] == ITS_OWN:
            found.apart.add(test)
        seen["headers"] = [pair for pair in seen["headers"] if pair[0] not in STRIPPED]
        found.requests.setdefault(test, Counter())[json.dumps(seen)] += 1
    return found


def disagreements(direct: Run, through: Run) -> Iterator[str]:
    for test in sorted(direct.outcomes.keys() - direct.apart):
        (expected, _), (seen, said) = direct.outcomes[test], through.outcomes.get(test, ("missing", ""))
        if seen != expected:
            yield f"{test}: {expected} / {seen} {said}"
        sent, arrived = (run.requests.get(test, Counter()) for run in (direct, through))
        for request in (sent - arrived).keys() | (arrived - sent).keys():
            yield f"{test}: {'not arrived' if request in sent else 'not sent'}: {request[:600]}"


def main() -> int:
    source, python = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).absolute()
    tests = sys.argv[3:] or ["tests/api_resources"]
    with tempfile.TemporaryDirectory() as name:
        direct, through = (Path(name) / way for way in ("direct", "through"))
        with mock(direct) as url:
            expected = run(source, python, url, direct, set(), tests)
        told("direct", expected)
        with mock(through) as url, gateway(through, policy(url), REAL="a-real-key") as gateway_url:
            seen = run(source, python, gateway_url, through, expected.apart, tests)
        told("through", seen)
    found = list(disagreements(expected, seen))
    print(*found, sep="\n")
    print(f"{len(expected.apart)} tests left out (refused or answered by the gateway), {len(found)} disagreements")
    return 1 if found else 0


def mock(folder: Path) -> AbstractContextManager[str]:
    folder.mkdir()
    arguments = ["tests.conformance.sdk_suite.mock", str(folder / "samples"), str(folder / "requests"), REFUSED_FIELD]
    return program(arguments, says=r"(http://\S+)", log=folder / "mock.log", environment=bare_environment(folder))


def told(way: str, run: Run) -> None:
    outcomes = Counter(outcome for outcome, _ in run.outcomes.values())
    print(f"{way}: {dict(outcomes)}, {sum(map(Counter.total, run.requests.values()))} requests", flush=True)


def policy(upstream: str) -> dict[str, object]:
    """Nothing is owned and every model has a price: the mock's objects and models have no names to remember."""
    keys = [{"name": "real", "secret": "${env:REAL}"}]
    team = {
        "workspace": "main",
        "keys": [{"name": "test", "sha256": digest(KEY)}],
        "unpriced_models": {"charge_as": "claude-sonnet-5-5"},
    }
    return {"workspaces": {"main": {"base_url": upstream, "isolation": "off", "keys": keys}}, "teams": {"all": team}}


if __name__ == "__main__":
    sys.exit(main())
