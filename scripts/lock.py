"""Resolves pyproject.toml into the two lock files: every package pinned and hashed, no index named.

`requirements.lock` is what the gateway runs on; `requirements-dev.lock` adds the extras and all that checks and tests
need, on the same pins. Each opens with a digest of what was resolved, so that a test can tell, without a network, that
a lock is older than pyproject.toml.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RUNTIME = ROOT / "requirements.lock"
DEV = ROOT / "requirements-dev.lock"

UV = [
    *(sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml"),
    *("--universal", "--python-version", "3.11", "--generate-hashes", "--no-emit-index-url", "--no-header", "--quiet"),
    *("--no-config", "--only-binary", ":all:"),  # a source archive would build itself with whatever it finds
]


def digest(lock: Path) -> str:
    """Of everything in pyproject.toml that the lock answers to; comments and order of tables do not count."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked: dict[str, Any] = {
        "python": document["project"]["requires-python"],
        "dependencies": sorted(document["project"]["dependencies"]),
    }
    if lock == DEV:
        asked["extras"] = document["project"]["optional-dependencies"]
        asked["groups"] = document["dependency-groups"]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def header(lock: Path) -> str:
    return f"# Made by `make lock` from pyproject.toml; do not edit.\n# asked: sha256:{digest(lock)}\n"


def resolve(lock: Path, *arguments: str) -> None:
    """Pins that still satisfy pyproject.toml stay as they are: uv reads them from the file it is to write."""
    with tempfile.TemporaryDirectory() as directory:
        draft = Path(directory) / "draft.lock"
        if lock.exists():
            draft.write_text(lock.read_text())
        subprocess.run([*UV, *arguments, "--output-file", str(draft)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        lock.write_text(header(lock) + draft.read_text())
    print(f"{lock.name}: {sum(1 for line in lock.read_text().splitlines() if '==' in line)} packages")


def main() -> None:
    upgrade = ["--upgrade"] if "--upgrade" in sys.argv[1:] else []
    resolve(RUNTIME, *upgrade)
    resolve(DEV, "--all-extras", "--group", "dev", "--constraint", RUNTIME.name, *upgrade)


if __name__ == "__main__":
    main()
