"""Prints what the ledger costs: script time in Redis (commandstats), and our own CPU and waiting per call. No test.

Run: python tests/bench/ledger_cost.py
"""

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import msgspec  # noqa: E402  # the tree is found by the line above
import uvloop  # noqa: E402

from gateway.core.limits import Bucket, Budget, Claim, Granted, Kind, Settlement  # noqa: E402
from gateway.core.plan import charge_of, entry_of, plan_of  # noqa: E402
from gateway.store.embedded import Embedded  # noqa: E402
from gateway.store.keys import Keys  # noqa: E402
from gateway.store.ledger import Ledger  # noqa: E402
from gateway.store.redis import RedisLedger  # noqa: E402
from gateway.store.scripts import CHARGE, RESERVE  # noqa: E402
from tests.servers import Server  # noqa: E402

OWNERS = ("key:search/prod", "team:search", "workspace:main")
BUCKETS = [Bucket(owner, kind, "*", 10**9) for owner in OWNERS for kind in (Kind.REQUESTS, Kind.INPUT, Kind.OUTPUT)][:8]
BUDGETS = [Budget("team:search", 10**15, "month"), Budget("key:search/prod", 10**15, "day")]
USED = Settlement(100, 50, 10**6, produced=True, usage={"input": 100, "output": 50, "cache_read": 5})
SIZES = {"8 buckets, 2 budgets": (8, 2), "2 buckets, 1 budget": (2, 1)}
BUDGET_US = 40
ROUNDS, CALLS = 30, 100


def claim(hold: str, buckets: int, budgets: int) -> Claim:
    takes = tuple((bucket, 1) for bucket in BUCKETS[:buckets])
    return Claim(hold, "search", "prod", "main", takes, tuple((b, 1000) for b in BUDGETS[:budgets]), model="m")


def scripts(server: Server) -> None:
    """Microseconds per call inside Redis; the best round is the machine's, the median the day's."""
    keys, now, n = Keys("gw"), int(time.time() * 1000), 0
    found: dict[tuple[str, str], list[float]] = {}
    with server.client() as client:
        client.hset(keys.store.decode(), "epoch", "e")

        def timed(name: str, size: str) -> None:
            stats = client.info("commandstats")["cmdstat_eval"]
            found.setdefault((name, size), []).append(float(stats["usec_per_call"]))
            client.config_resetstat()

        for _ in range(ROUNDS):
            for size, (buckets, budgets) in SIZES.items():
                plans = [(f"h{n + i}", plan_of(claim("h", buckets, budgets), now)) for i in range(1, CALLS + 1)]
                client.config_resetstat()
                for hold, plan in plans:
                    names = [keys.store, keys.mark(hold), keys.holds("w", plan), *keys.owners(plan)]
                    client.eval(RESERVE.text.decode(), len(names), *names, "e", hold, msgspec.msgpack.encode(plan))
                timed("reserve", size)
                for hold, plan in plans:
                    n += 1
                    it = charge_of(entry_of(n, hold, now, plan, USED), now)
                    names = [keys.store, keys.mark(hold), keys.holds("w", plan), keys.swept("w"), keys.writer("w")]
                    names += [keys.rows(it.day), keys.rows(it.month), *keys.owners(plan)]
                    client.eval(CHARGE.text.decode(), len(names), *names, "e", msgspec.msgpack.encode(it))
                timed("settle", size)
    for (name, size), times in found.items():
        budget = f", of a budget of {BUDGET_US}" if (name, size) == ("reserve", "8 buckets, 2 budgets") else ""
        print(f"{name:8} {size:22} {min(times):5.1f} us in Redis, median {statistics.median(times):5.1f}{budget}")


async def calls(kind: str, ledger: Ledger, together: int) -> None:
    """Reserve and settle as the proxy does; CPU of this process alone."""
    await ledger.start()
    for size, (buckets, budgets) in SIZES.items():
        count = 3000
        waits: list[float] = []

        async def worker(number: int, buckets: int, budgets: int, share: int, waits: list[float]) -> None:
            for i in range(share):
                hold = f"{buckets}-{number}-{i}"
                began = time.perf_counter()
                assert isinstance(await ledger.reserve(claim(hold, buckets, budgets)), Granted)
                waits.append(time.perf_counter() - began)
                ledger.settle(hold, USED)

        began, cpu = time.perf_counter(), time.process_time()
        share = count // together
        await asyncio.gather(*(worker(n, buckets, budgets, share, waits) for n in range(together)))
        while ledger.health.unconfirmed:
            await asyncio.sleep(0.001)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        median = statistics.median(waits) * 1e6
        print(
            f"{kind:8} {size:22} {cpu / count * 1e6:5.0f} us CPU per call, {count / seconds:6.0f}/s, "
            f"reserve waits {median:5.0f} us, {together} at once"
        )
    await ledger.stop()


async def main(url: str) -> None:
    for together in (1, 64):
        with tempfile.TemporaryDirectory() as directory:
            await calls("embedded", Embedded(Path(directory)), together)
        with tempfile.TemporaryDirectory() as directory:
            await calls("redis", RedisLedger(url, Path(directory), timeout_ms=5000), together)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as where:
        valkey = Server(Path(where)).start()
        try:
            scripts(valkey)
            valkey.empty()
            uvloop.run(main(valkey.url))
        finally:
            valkey.kill()
