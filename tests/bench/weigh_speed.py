"""What weighing costs: CPU per request, and the longest step of a large body (what the loop can be blocked for).

Run: python tests/bench/weigh_speed.py. CPU time of this process, the best of several runs, since machines are shared.
"""

import json
import sys
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gateway.core.json_fields import Malformed, Steps, batch_params, fields, fields_in_steps
from gateway.core.weigh import weigh, weigh_in_steps
from tests.core.corpus_requests import names, text

T = TypeVar("T")
MODEL = "claude-opus-5"
PROSE = "\n\n".join(text(name) for name in names("held_out", "english"))
CODE = "\n\n".join(text(name) for name in names("held_out", "pool", "cart", "worker", "Booking"))


def body(*messages: object, **more: object) -> bytes:
    whole = {"model": MODEL, "max_tokens": 1000, "stream": True, **more, "messages": messages}
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()


def user(content: object) -> dict[str, object]:
    return {"role": "user", "content": content}


def agent(rounds: int) -> bytes:
    """Like a coding agent's: tools, a long system prompt, results of reading files."""
    tools = json.loads(text("held_out/tools-files.json")) * 5
    turns: list[object] = [user("Please mend the pool.")]
    for place in range(rounds):
        call = {"type": "tool_use", "id": f"toolu_{place}", "name": "read_file", "input": {"path": f"src/{place}.rs"}}
        result = {"type": "tool_result", "tool_use_id": f"toolu_{place}", "content": CODE}
        turns += [{"role": "assistant", "content": [call]}, user([result])]
    system = [{"type": "text", "text": PROSE * 4, "cache_control": {"type": "ephemeral"}}]
    return body(*turns, tools=tools, system=system)


def blob(kind: str, data: str) -> bytes:
    return body(user([{"type": kind, "source": {"type": "base64", "data": data}}]))


def calls(number: int) -> bytes:
    block = {"type": "tool_use", "name": "get_weather", "input": {"city": "Oslo", "days": 3}}
    return body(user([{**block, "id": f"toolu_{place}"} for place in range(number)]))


MB = 1_000_000
BODIES: dict[str, Callable[[], bytes]] = {
    "small": lambda: body(user("hello there, how are you")),
    "2 kB of prose": lambda: body(user(PROSE[:2000])),
    "coding agent": lambda: agent(12),
    "30 MB of prose": lambda: body(user((PROSE * 9000)[: 29 * MB])),
    "30 MB of Chinese": lambda: body(user((text("held_out/chinese.txt") * 40_000)[: 10 * MB])),
    "30 MB of code in results": lambda: agent(4400),
    "30 MB image": lambda: blob("image", "/9j/" + "A" * 30 * MB),
    "30 MB document": lambda: blob("document", "A" * 30 * MB),
    "50,000 small blocks": lambda: calls(50_000),
    "50,000 small messages": lambda: body(*[user(f"number {place}") for place in range(50_000)]),
    "200,000 small blocks": lambda: calls(200_000),
    "9 million empty objects": lambda: b'{"model":"m","messages":[' + b"{}," * 9 * MB + b"{}]}",
    "a million keys": lambda: json.dumps({f"{place}": 0 for place in range(MB)}).encode(),
}


class Timed:
    """Runs steps and keeps the longest one."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.total = 0.0
        self.steps = 0

    def run(self, steps: Steps[T]) -> T:
        while True:
            started = time.process_time()
            try:
                next(steps)
            except StopIteration as stop:
                value: T = stop.value
                return value
            finally:
                spent = time.process_time() - started
                self.longest = max(self.longest, spent)
                self.total += spent
                self.steps += 1


def measured(whole: bytes) -> tuple[Timed, Timed, str]:
    reading, weighing = Timed(), Timed()
    try:
        found = weighing.run(weigh_in_steps(reading.run(fields_in_steps(whole))))
    except Malformed as error:
        return reading, weighing, str(error)
    return reading, weighing, f"{found.input().tokens:,.0f} tokens"


def peak(whole: bytes) -> float:
    """MB that weighing needs beside the body."""
    tracemalloc.start()
    measured(whole)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most / MB


def best(work: Callable[[], object], number: int) -> float:
    """Microseconds of one call."""
    times = []
    for _ in range(7):
        started = time.process_time()
        for _ in range(number):
            work()
        times.append((time.process_time() - started) / number)
    return min(times) * 1e6


def main() -> None:
    for name in ("small", "2 kB of prose", "coding agent"):
        whole = BODIES[name]()
        number = max(10, 100_000 // len(whole))
        read = best(partial(fields, whole), number)
        both = best(partial(_weighed, whole), number)
        print(f"{name:26} {len(whole):>11,} bytes   fields {read:7.1f} us   with weighing {both:7.1f} us")
    print()
    print(f"{'':26} {'bytes':>11}   fields ms  weigh ms   longest step ms  steps  peak MB")
    for name, make in BODIES.items():
        whole = make()
        runs = [measured(whole) for _ in range(3)]
        longest = min(max(reading.longest, weighing.longest) for reading, weighing, _ in runs)
        reading, weighing, outcome = runs[-1]
        print(
            f"{name:26} {len(whole):>11,} {reading.total * 1e3:11.1f} {weighing.total * 1e3:9.1f}"
            f" {longest * 1e3:17.1f} {reading.steps + weighing.steps:6} {peak(whole):8.1f}   {outcome}"
        )
    print()
    items = [{"custom_id": f"{place}", "params": json.loads(body(user(PROSE[:2000])))} for place in range(20_000)]
    whole = json.dumps({"requests": items}).encode()
    timed = Timed()
    timed.run(_batch(whole))
    title = f"batch of {len(items):,} items, {len(whole):,} bytes"
    print(f"{title}: {timed.total:.2f} s, longest step {timed.longest * 1e3:.1f} ms")


def _weighed(whole: bytes) -> float:
    return weigh(fields(whole)).input().tokens


def _batch(whole: bytes) -> Steps[float]:
    total = 0.0
    for params in batch_params(whole):
        if params is None:
            yield
        else:
            total += (yield from weigh_in_steps(params)).input().tokens
    return total


if __name__ == "__main__":
    main()
