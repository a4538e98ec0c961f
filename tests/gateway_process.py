"""The gateway as a process of its own in front of an upstream, and what it costs in memory, read from /proc."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.raw import RawClient

ROOT = Path(__file__).parents[1]
SERVE = ("-m", "gateway", "serve")


@dataclass
class GatewayProcess:
    """A started gateway with its built-in team."""

    child: asyncio.subprocess.Process
    lines: list[str] = field(default_factory=list)
    port: int = 0
    key: str = ""

    def client(self) -> RawClient:
        return RawClient(self.port, patience=60)

    async def said(self, event: str) -> dict[str, object]:
        """The first line of an event, as soon as it is there."""
        async with asyncio.timeout(30):
            while True:
                for line in self.lines:
                    if f'"event":"{event}"' in line:
                        value: dict[str, object] = json.loads(line)
                        return value
                await asyncio.sleep(0.002)

    @property
    def rss(self) -> int:
        """Resident bytes now."""
        return self._status("VmRSS")

    @property
    def peak(self) -> int:
        """The most resident bytes since `forget_peak`."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        Path(f"/proc/{self.child.pid}/clear_refs").write_text("5")

    @property
    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.child.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _status(self, name: str) -> int:
        text = Path(f"/proc/{self.child.pid}/status").read_text()
        return int(text.partition(f"{name}:")[2].split()[0]) * 1024


@asynccontextmanager
async def gateway_process(
    directory: Path, upstream: str, *, command: Sequence[str] = SERVE, **settings: str
) -> AsyncIterator[GatewayProcess]:
    """Started and ready; ended by SIGTERM, or killed when that does not help."""
    base = {name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "ANTHROPIC_"))}
    env = {
        **base, "PYTHONPATH": str(ROOT), "ANTHROPIC_API_KEY": "sk-ant-api03-made-up", "ANTHROPIC_BASE_URL": upstream,
        "GATEWAY_PORT": "0", "GATEWAY_OPS_PORT": "0", "GATEWAY_DRAIN_DELAY_SECONDS": "0", "GATEWAY_DRAIN_SECONDS": "0",
        **settings,
    }  # fmt: skip
    child = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=directory, env=env,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, stdin=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    process = GatewayProcess(child)

    async def read() -> None:
        assert child.stdout is not None
        while line := await child.stdout.readline():
            process.lines.append(line.decode())

    reading = asyncio.create_task(read())
    try:
        process.port = int(str((await process.said("started"))["port"]))
        process.key = (directory / ".state" / "team-key").read_text().strip()
        yield process
    finally:
        if child.returncode is None:
            child.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(10):
                await child.wait()
        except TimeoutError:
            child.kill()
            await child.wait()
        await reading
