"""Prints what the gateway costs before anyone tunes it: start, memory of large bodies, stalls of the loop, throughput.

Nothing is asserted. The upstream, the clients and the gateway share this machine, so seconds are worth a factor of two;
bytes and CPU seconds hold. Linux only (/proc).

Run: python -m tests.bench.first_figures [start|bodies|stall|files|connections …]
"""

import asyncio
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from tests.gateway_process import ROOT, SERVE, GatewayProcess, gateway_process
from tests.raw import RawClient, request

MB = 1_000_000
CONNECTIONS = 1_000
PIECE = bytes(262_144)
TURNS = ("-m", "tests.bench.turns", "serve")
Section = Callable[[str], Awaitable[None]]


def say(name: str, figure: str) -> None:
    print(f"  {name:54} {figure}", flush=True)


def mb(count: float) -> str:
    return f"{count / MB:.1f} MB"


def long_strings(size: int) -> bytes:
    """A body as a document chat makes it: a few long texts."""
    text = (b"The quick brown fox jumps over the lazy dog. \\n" * (size // 8 // 47 + 1))[: size // 8 // 47 * 47]
    blocks = b",".join(b'{"type":"text","text":"%b"}' % text for _ in range(8))
    return b'{"model":"claude-opus-5","max_tokens":16,"messages":[{"role":"user","content":[%b]}]}' % blocks


def small_blocks(count: int) -> bytes:
    """A body as a long agent session makes it: many small blocks."""
    use = b'{"type":"tool_use","id":"toolu_%06d","name":"read_file","input":{"path":"/src/a.py","from":%d}}'
    blocks = b",".join(use % (n, n) for n in range(count))
    return b'{"model":"claude-opus-5","max_tokens":16,"messages":[{"role":"assistant","content":[%b]}]}' % blocks


def batch(size: int, items: int) -> bytes:
    """A batch body of about `size` bytes."""
    text = b"word " * ((size // items - 140) // 5)
    item = b'{"custom_id":"item-%06d","params":{"model":"claude-opus-5","max_tokens":16,"messages":[{"role":"user","content":"%b"}]}}'  # noqa: E501 - one item is one line
    return b'{"requests":[%b]}' % b",".join(item % (n, text) for n in range(items))


@asynccontextmanager
async def sink() -> AsyncIterator[str]:
    """The upstream, in a process of its own."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.sink", cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdin is not None
    yield (await child.stdout.readline()).decode().strip()
    child.stdin.close()
    await child.wait()


@asynccontextmanager
async def started(upstream: str, *command: str, **settings: str) -> AsyncIterator[GatewayProcess]:
    with tempfile.TemporaryDirectory() as directory:
        async with gateway_process(Path(directory), upstream, command=command or SERVE, **settings) as gateway:
            yield gateway


async def post(gateway: GatewayProcess, target: str, body: bytes, **sink_asked: float) -> float:
    """Send a body and read the answer; the seconds it took."""
    began = time.perf_counter()
    async with gateway.client() as client:
        headers = [(b"x-sink", f"{word}={number}".encode()) for word, number in sink_asked.items()]
        headers.append((b"Content-Length", b"%d" % len(body)))
        client.send(request("POST", target, headers, key=gateway.key))
        for at in range(0, len(body), len(PIECE)):
            client.send(body[at : at + len(PIECE)])
            await client.writer.drain()
        answer = await client.answer()
        assert answer.status == 200, answer.body
    return time.perf_counter() - began


async def warmed(gateway: GatewayProcess) -> GatewayProcess:
    """After its first requests, which load code and make the pools."""
    for _ in range(5):
        await post(gateway, "/v1/messages", long_strings(2_000))
    return gateway


async def start(upstream: str) -> None:
    """Start to ready, idle memory, what imports cost."""
    for name, key in (("in front of Claude", "sk-ant-api03-made-up"), ("with the simulator, started first", "")):
        seconds, cpu, idle = [], [], []
        for _ in range(7):
            began = time.perf_counter()
            async with started(upstream, ANTHROPIC_API_KEY=key) as gateway:
                seconds.append(time.perf_counter() - began)
                cpu.append(gateway.cpu_seconds)
                await asyncio.sleep(0.2)
                idle.append(gateway.rss)
        say(f"start to ready {name}", f"{statistics.median(seconds):.2f} s, median of 7 (best {min(seconds):.2f})")
        say("  CPU of it; idle RSS", f"{statistics.median(cpu):.2f} s; {mb(statistics.median(idle))}")
    timed = await asyncio.create_subprocess_exec(
        sys.executable, "-X", "importtime", "-c", "import gateway.serve", cwd=ROOT, stderr=subprocess.PIPE
    )
    _, written = await timed.communicate()
    rows = [line.removeprefix("import time:").split("|") for line in written.decode().splitlines()[1:]]
    own: dict[str, int] = {}
    for self_us, _, name in rows:
        package = name.strip().partition(".")[0]
        own[package] = own.get(package, 0) + int(self_us)
    ours = {name.strip(): int(self_us) for self_us, _, name in rows if name.strip().startswith("gateway.")}
    for title, costs in (("package", own), ("module of ours", ours)):
        top = sorted(costs.items(), key=lambda item: -item[1])[:8]
        say(f"imports, ms by {title} (-X importtime)", ", ".join(f"{name} {us / 1000:.0f}" for name, us in top))


async def bodies(upstream: str) -> None:
    """What a large body adds to memory: at its worst, while Claude thinks, and afterwards."""
    for name, body, count, target in [
        ("30 MB of long strings", long_strings(30 * MB), 1, "/v1/messages"),
        ("two of them at once", long_strings(30 * MB), 2, "/v1/messages"),
        ("50,000 small blocks", small_blocks(50_000), 1, "/v1/messages"),
        ("30 MB of small blocks", small_blocks(300_000), 1, "/v1/messages"),
        ("256 MB batch of 100,000 items", batch(256 * MB, 100_000), 1, "/v1/messages/batches"),
    ]:
        async with started(upstream) as gateway:
            await warmed(gateway)
            before, total = gateway.rss, count * len(body)
            gateway.forget_peak()
            await asyncio.gather(*(post(gateway, target, body) for _ in range(count)))
            peak = gateway.peak - before
            await asyncio.sleep(0.3)  # the last byte of an answer leaves before its request is put away
            after = gateway.rss - before
            figure = f"{mb(peak)} at its peak = {peak / total:.2f} x {mb(total)}; {mb(after)} afterwards"
            if count == 1 and target == "/v1/messages":
                waiting = asyncio.create_task(post(gateway, target, body, silence=2))
                await asyncio.sleep(1.5)
                figure += f"; {mb(gateway.rss - before)} while Claude is silent"
                await waiting
            say(name, figure)


async def stall(upstream: str) -> None:
    """How long the loop is held while a large body passes: seen by a neighbour, and by the loop's own clock."""
    cases = [
        ("nothing else", b"", ""),
        ("30 MB of long strings", long_strings(30 * MB), "/v1/messages"),
        ("50,000 small blocks", small_blocks(50_000), "/v1/messages"),
        ("30 MB of small blocks", small_blocks(300_000), "/v1/messages"),
        ("256 MB batch of 100,000 items", batch(256 * MB, 100_000), "/v1/messages/batches"),
    ]
    for name, body, target in cases:
        async with AsyncExitStack() as stack:
            served = await warmed(await stack.enter_async_context(started(upstream)))
            watched = await warmed(await stack.enter_async_context(started(upstream, *TURNS)))
            probe = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.bench.probe", str(served.port),
                cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
            worst, turns, took = [], [], 0.0
            await asyncio.sleep(0.3)
            for _ in range(3):
                await _probed(probe)
                took = await post(served, target, body) if body else await asyncio.sleep(1, result=1.0)
                worst.append(await _probed(probe))
                await _longest_turn(watched)
                if body:
                    await post(watched, target, body)
                turns.append(await _longest_turn(watched))
            assert probe.stdin is not None
            probe.stdin.close()
            await probe.wait()
            neighbour = statistics.median(value for _, value in worst)
            turn, of = sorted(turns)[1]
            say(
                name,
                f"neighbour waits {neighbour * 1e3:.1f} ms at worst, {worst[0][0] * 1e3:.1f} usually; "
                f"longest turn {turn * 1e3:.1f} ms CPU in {of}; {took:.2f} s in all (medians of 3)",
            )


async def _probed(probe: asyncio.subprocess.Process) -> tuple[float, float]:
    assert probe.stdin is not None
    assert probe.stdout is not None
    probe.stdin.write(b"\n")
    _, median, worst = (await probe.stdout.readline()).split()
    return float(median), float(worst)


async def _longest_turn(gateway: GatewayProcess) -> tuple[float, str]:
    seen = len(gateway.lines)
    gateway.child.send_signal(signal.SIGUSR1)
    while not (told := [line for line in gateway.lines[seen:] if '"event":"turn"' in line]):
        await asyncio.sleep(0.01)
    line = json.loads(told[0])
    return line["seconds"], line["of"]


async def files(upstream: str) -> None:
    """500 MB up and down: memory must not follow the size."""
    size = 500 * MB
    async with started(upstream) as gateway:
        await warmed(gateway)
        before = gateway.rss
        for name, way in (("500 MB up", upload), ("500 MB up, chunked", upload_chunked), ("500 MB down", download)):
            gateway.forget_peak()
            cpu, began = gateway.cpu_seconds, time.perf_counter()
            async with gateway.client() as client:
                await way(gateway, client, size)
            took, spent = time.perf_counter() - began, gateway.cpu_seconds - cpu
            speed = f"{size / MB / took:.0f} MB/s, {size / MB / spent:.0f} per CPU second"
            say(name, f"{mb(gateway.peak - before)} more RSS; {speed}")


async def upload(gateway: GatewayProcess, client: RawClient, size: int) -> None:
    client.send(request("POST", "/v1/files", [(b"Content-Length", b"%d" % size)], key=gateway.key))
    for at in range(0, size, len(PIECE)):
        client.send(PIECE[: size - at])
        await client.writer.drain()
    assert (await client.answer()).status == 200


async def upload_chunked(gateway: GatewayProcess, client: RawClient, size: int) -> None:
    client.send(request("POST", "/v1/files", [(b"Transfer-Encoding", b"chunked")], key=gateway.key))
    chunk = b"%x\r\n%b\r\n" % (len(PIECE), PIECE)
    for _ in range(size // len(PIECE)):
        client.send(chunk)
        await client.writer.drain()
    client.send(b"0\r\n\r\n")
    assert (await client.answer()).status == 200


async def download(gateway: GatewayProcess, client: RawClient, size: int) -> None:
    client.send(request("GET", "/v1/files/file_1/content", [(b"x-sink", b"pour=%d" % size)], key=gateway.key))
    assert (await client.head()).status == 200
    while size:
        size -= len(await client.reader.read(len(PIECE)))


async def connections(upstream: str) -> None:
    """What a connection costs while nothing happens on it, and while a stream is open on it."""
    hello = request("GET", "/api/hello")
    for name, asked in (("idle keep-alive connection", None), ("open stream", b"stream=30")):
        async with started(upstream) as gateway, AsyncExitStack() as stack:
            await warmed(gateway)
            before = gateway.rss
            body = long_strings(2_000)
            send = hello if asked is None else request(
                "POST", "/v1/messages", [(b"x-sink", asked)], body, key=gateway.key
            )  # fmt: skip
            for _ in range(CONNECTIONS):
                client = await stack.enter_async_context(gateway.client())
                client.send(send)
                await client.head()
            await asyncio.sleep(1)
            say(f"{name}, one of {CONNECTIONS:,}", f"{(gateway.rss - before) / CONNECTIONS / 1024:.1f} KiB")


SECTIONS: dict[str, Section] = {
    "start": start, "bodies": bodies, "stall": stall, "files": files, "connections": connections,
}  # fmt: skip


async def main(names: list[str]) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    async with sink() as upstream:
        for name in names:
            print(f"{name}: {SECTIONS[name].__doc__}")
            await SECTIONS[name](upstream)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:] or list(SECTIONS)))
