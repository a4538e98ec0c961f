"""`gateway serve` on a loop that keeps time: SIGUSR1 prints the CPU time of the longest turn since the last, and whose.

CPU time, because a neighbour on the machine must not look like a stall of ours. The plain asyncio loop stands in for
uvloop, whose turns can't be watched; the gateway's own code between two turns is the same.

Run by first_figures.py: python -m tests.bench.turns serve
"""

import asyncio
import json
import signal
import time
from typing import Any

import uvloop

longest: tuple[float, str] = (0.0, "")
_run = asyncio.events.Handle._run


def timed(handle: Any) -> None:
    global longest  # noqa: PLW0603 - one process, one figure
    callback = handle._callback
    began = time.thread_time()
    _run(handle)
    took = time.thread_time() - began
    if took > longest[0]:
        owner = getattr(callback, "__self__", None)
        coroutine = owner.get_coro() if isinstance(owner, asyncio.Task) else None
        longest = took, str(getattr(coroutine or callback, "__qualname__", callback))


def tell(*_: object) -> None:
    global longest  # noqa: PLW0603
    print(json.dumps({"event": "turn", "seconds": longest[0], "of": longest[1]}, separators=(",", ":")), flush=True)
    longest = (0.0, "")


if __name__ == "__main__":
    asyncio.events.Handle._run = timed  # type: ignore[method-assign,assignment]
    uvloop.new_event_loop = asyncio.new_event_loop  # type: ignore[assignment]
    signal.signal(signal.SIGUSR1, tell)
    from gateway.cli import main

    main()
