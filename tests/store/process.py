"""A gateway's ledger in a process of its own, for tests that kill it. Run as a program.

It opens a store, does the steps it is told on its arguments one by one, prints each when it is done, and then waits.
It runs on uvloop, as the gateway does.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

import uvloop

from gateway.core.limits import Bucket, Budget, Claim, Granted, Kind, Settlement
from gateway.store.embedded import Embedded
from gateway.store.ledger import Ledger
from gateway.store.redis import RedisLedger

TOKENS = Bucket("team:search", Kind.TOKENS, "*", 1000)
SLOTS = Bucket("team:search", Kind.SLOTS, "*", 10)
PURSE = Budget("team:search", 100 * 10**9, "month")
ESTIMATE = 10**9
USED = Settlement(input=10, output=5, nano=3 * 10**8, produced=True)


def claim(hold: str) -> Claim:
    return Claim(hold, "search", "prod", "main", ((TOKENS, 100), (SLOTS, 1)), ((PURSE, ESTIMATE),), model="m")


def opened(url: str, directory: str, **options: object) -> Ledger:
    if url:
        return RedisLedger(url, Path(directory), timeout_ms=1000, **options)  # type: ignore[arg-type]
    return Embedded(Path(directory))


async def main(url: str, directory: str, steps: list[str], options: dict[str, object]) -> None:
    ledger = opened(url, directory, **options)
    await ledger.start()
    say("start")
    for step in steps:
        verb, _, rest = step.partition(" ")
        match verb:
            case "reserve":
                assert isinstance(await ledger.reserve(claim(rest)), Granted)
            case "settle":
                assert ledger.settle(rest, USED)
            case "turn":
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            case "confirm":
                while ledger.health.unconfirmed:
                    await asyncio.sleep(0.002)
            case "burst":
                count, per_minute = map(int, rest.split())
                wide = Bucket("team:search", Kind.REQUESTS, "burst", per_minute)
                asked = (
                    ledger.reserve(Claim(f"{id(ledger)}-{n}", "search", "prod", "main", ((wide, 1),)))
                    for n in range(count)
                )
                began = time.time()
                verdicts = await asyncio.gather(*asked)
                granted = sum(isinstance(verdict, Granted) for verdict in verdicts)
                step = f"burst {granted} {began} {time.time()}"
            case "at":
                await asyncio.sleep(float(rest) - time.time())
            case "stop":
                await ledger.stop()
        say(step)
    await asyncio.sleep(3600)


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), json.loads(sys.argv[4])))
