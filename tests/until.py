"""Waiting for what must become true, with a deadline, instead of sleeping for as long as it usually takes."""

import asyncio
import time
from collections.abc import Callable


async def until(look: Callable[[], object], *, seconds: float = 10.0) -> None:
    """Return as soon as `look` is true; fail when it is not in time."""
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        await asyncio.sleep(0.002)
