"""A client under test: a process of its own that is asked for one probe after the other over JSON lines.

Its environment is made from nothing, so that no proxy, key or profile of this machine reaches an SDK.
"""

import json
import os
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = Path(os.environ.get("CONFORMANCE_CLIENTS", ROOT / ".venv-clients"))  # what install.sh made


def bare_environment(home: Path, **more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", **more}


class Runtime:
    """Starts with the first probe; each answer has a deadline, so that a stuck client names itself."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], *, complaints: Path) -> None:
        self.command = list(command)
        self.environment = dict(environment)
        self.complaints = complaints
        self.process: subprocess.Popen[bytes] | None = None
        self.unread = b""
        self.greeting: dict[str, Any] = {}

    def start(self) -> subprocess.Popen[bytes]:
        with self.complaints.open("ab") as stderr:
            self.process = subprocess.Popen(
                self.command,
                env=self.environment,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )
        self.greeting = self.line(self.process, seconds=30)
        return self.process

    @property
    def probes(self) -> list[str]:
        """What it can be asked."""
        if self.process is None:
            self.start()
        return list(self.greeting["probes"])

    def ask(self, probe: str, base_url: str, key: str, **arguments: Any) -> Any:
        """What the client saw; an AssertionError with its traceback when the probe itself broke."""
        process = self.process or self.start()
        asked = {"probe": probe, "base_url": base_url, "key": key, "arguments": arguments}
        assert process.stdin is not None
        process.stdin.write(json.dumps(asked).encode() + b"\n")
        process.stdin.flush()
        answer = self.line(process, seconds=50)
        assert "outcome" in answer, f"{probe} against {base_url} broke inside the client:\n{answer['failed']}"
        return answer["outcome"]

    def line(self, process: subprocess.Popen[bytes], *, seconds: float) -> dict[str, Any]:
        assert process.stdout is not None
        deadline = time.monotonic() + seconds
        while b"\n" not in self.unread:
            ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(process.stdout.fileno(), 1 << 20) if ready else b""
            if not chunk:
                self.stop()
                why = "left" if ready else f"said nothing for {seconds:g} seconds"
                raise AssertionError(f"{self.command[-1]} {why}:\n{self.complaints.read_text()[-4000:]}")
            self.unread += chunk
        line, _, self.unread = self.unread.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process, self.unread = None, b""
