"""Runs the SDK's own tests twice, at a mock and through the gateway, and compares results and what arrived.

usage: python -m tests.conformance.sdk_suite SOURCE PYTHON [TESTS ...]      exits 1 when the two disagree
"""

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from tests.conformance.processes import digest, gateway, program
from tests.conformance.runtime import bare_environment

HERE = Path(__file__).parent
KEY = "my-anthropic-api-key"  # the SDK's tests know no other

# What the gateway refuses, answers itself or strips on purpose: tests that meet it are counted, not compared.
REFUSED_PATHS = ("/v1/organizations/", "/v1/tunnels")
ITS_OWN = ("/v1/models", "/v1/models?")
REFUSED_FIELD = b'"billing_policy"'
STRIPPED = {"anthropic-workspace-id", "anthropic-user-profile-id"}


@dataclass
class Run:
    """What each test came to, and each request as it arrived, by test."""

    outcomes: dict[str, str]
    said: dict[str, str]
    requests: dict[str, Counter[str]]
    apart: set[str]
    """Tests that meet what is not compared."""


def run(source: Path, python: Path, base_url: str, samples: Path, folder: Path, tests: list[str]) -> Path:
    results = folder / "results"
    environment = bare_environment(
        folder,
        PYTHONPATH=str(HERE),
        SDK_SUITE_SAMPLES=str(samples),
        SDK_SUITE_RESULTS=str(results),
        TEST_API_BASE_URL=base_url,
    )
    command = [str(python), "-m", "pytest", "-p", "samples", "-p", "no:cacheprovider", "-W", "ignore", "-n", "2", "-q"]
    with (folder / "pytest.log").open("wb") as log:
        subprocess.run([*command, *tests], cwd=source, env=environment, check=False, stdout=log, stderr=log)
    return results


def read(results: Path, log: Path) -> Run:
    found = Run({}, {}, {}, set())
    names = {}
    for line in results.read_text().splitlines():
        result = json.loads(line)
        names[sha256(result["test"].encode()).hexdigest()] = result["test"]
        found.outcomes[result["test"]], found.said[result["test"]] = result["outcome"], result["said"]
    for line in log.read_text().splitlines():
        seen = json.loads(line)
        test = names.get(seen.pop("test"), "")
        if seen["target"].startswith((*REFUSED_PATHS, ITS_OWN[1])) or seen["target"] in ITS_OWN or seen.pop("refused"):
            found.apart.add(test)
        seen["headers"] = [field for field in seen["headers"] if field[0] not in STRIPPED]
        found.requests.setdefault(test, Counter())[json.dumps(seen)] += 1
    return found


def disagreements(direct: Run, through: Run) -> Iterator[str]:
    for test, outcome in sorted(direct.outcomes.items()):
        if test in direct.apart:
            continue
        seen = through.outcomes.get(test, "missing")
        if seen != outcome:
            yield f"{test}: {outcome} / {seen} {through.said.get(test, '')}"
        sent, arrived = (run.requests.get(test, Counter()) for run in (direct, through))
        for request in (sent - arrived).keys() | (arrived - sent).keys():
            yield f"{test}: {'not arrived' if request in sent else 'not sent'}: {request[:600]}"


def main() -> int:
    source, python = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).absolute()
    tests = sys.argv[3:] or ["tests/api_resources"]
    runs = []
    with tempfile.TemporaryDirectory() as name:
        samples = Path(name) / "samples"
        samples.mkdir()
        for way in ("direct", "through"):
            folder = Path(name) / way
            folder.mkdir()
            mock = ["tests.conformance.sdk_suite.mock", str(samples), str(folder / "requests"), REFUSED_FIELD.decode()]
            with program(
                mock, says=r"(http://\S+)", log=folder / "mock.log", environment=bare_environment(folder)
            ) as url:
                if way == "direct":
                    results = run(source, python, url, samples, folder, tests)
                else:
                    with gateway(folder, policy(url), REAL="a-real-key") as gateway_url:
                        results = run(source, python, gateway_url, samples, folder, tests)
            runs.append(read(results, folder / "requests"))
            count = sum(map(Counter.total, runs[-1].requests.values()))
            print(f"{way}: {dict(Counter(runs[-1].outcomes.values()))}, {count} requests", flush=True)
    found = list(disagreements(*runs))
    print(*found, sep="\n")
    print(f"{len(runs[0].apart)} tests not compared (refused or answered by the gateway), {len(found)} disagreements")
    return 1 if found else 0


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
