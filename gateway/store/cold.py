"""Reading Redis at leisure: ledger rows, open holds, and what is unwise about a server's settings.

All of it shares the one connection with the reserves, so nothing here asks for much at once.
"""

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence

import msgspec

from gateway.core.audit import Amendment, Cell, Purse, Snapshot
from gateway.core.book import Spent
from gateway.core.periods import DAY_MS, day_of, day_start, months_before
from gateway.core.plan import Plan
from gateway.store.batcher import Batcher, ReplyError
from gateway.store.keys import Keys
from gateway.store.ledger import Grain, Holder, Observer, Row, StoreUnfit
from gateway.store.scripts import AMEND
from gateway.store.spend import collect

SLICE = 500
HOLD_HEAD = 16  # two doubles before the plan: when, and which shadow buckets were passed
FLOORS = {"redis_version": (6, 2), "valkey_version": (7, 2)}


async def scan(batcher: Batcher, key: bytes) -> AsyncIterator[tuple[bytes, bytes]]:
    """A hash, slice by slice. A field may come twice."""
    cursor = b"0"
    while True:
        cursor, flat = await batcher.call("HSCAN", key, cursor, "COUNT", SLICE, patient=True)
        for place in range(0, len(flat), 2):
            yield flat[place], flat[place + 1]
        if cursor == b"0":
            return


def plan_in(record: bytes) -> Plan:
    """The plan in a stored hold."""
    return msgspec.msgpack.decode(record[HOLD_HEAD:], type=Plan)


def held_at(record: bytes) -> int:
    """When a stored hold was made."""
    return int(struct.unpack_from("<d", record)[0])


async def holders(batcher: Batcher, keys: Keys, team: str) -> list[Holder]:
    """Every open hold of a team, of whatever process."""
    writers = await batcher.call("ZRANGE", keys.leases, 0, -1, patient=True)
    found = {}
    for writer in [*(writer.decode() for writer in writers), "unleased"]:
        async for hold, record in scan(batcher, keys.holds(writer)):
            plan = plan_in(record)
            if plan.team == team:
                id = hold.decode()
                found[id] = Holder(id, plan.team, plan.key, plan.model, plan.kind, held_at(record) / 1000)
    return sorted(found.values(), key=lambda holder: holder.since)


def periods(grain: Grain, first: str, last: str) -> list[str]:
    """Every day or month from first to last."""
    found = []
    at = first
    while at <= last:
        found.append(at)
        at = day_of(day_start(at) + DAY_MS) if grain == "day" else months_before(at, -1)
    return found


async def rows(batcher: Batcher, keys: Keys, grain: Grain, first: str, last: str, team: str | None) -> list[Row]:
    cells = {}
    for period in periods(grain, first, last):
        async for name, amount in scan(batcher, keys.rows(period)):
            row, _, what = name.decode().partition("\t")
            cells[period, row, what] = int(amount)
    return collect(((*key, amount) for key, amount in cells.items()), team)


async def snapshot(
    batcher: Batcher, keys: Keys, periods: Sequence[str], purses: Sequence[Purse], writers: Sequence[str]
) -> Snapshot:
    """Rows, spend and numbers as they are at one moment: one transaction, in one round trip."""
    calls = [batcher.call("MULTI", patient=True)]
    calls += [batcher.call("HGETALL", keys.rows(period), patient=True) for period in periods]
    calls += [batcher.call("HGET", keys.owner(owner), f"spent|{per}", patient=True) for owner, per, _ in purses]
    calls += [batcher.call("HGET", keys.writer(writer), "n", patient=True) for writer in writers]
    done = batcher.call("EXEC", patient=True)
    await asyncio.gather(*calls)
    answers = iter(await done)
    cells: dict[Cell, int] = {}
    for period in periods:
        flat = next(answers)
        for name, amount in zip(flat[::2], flat[1::2], strict=True):
            row, _, what = name.decode().partition("\t")
            cells[period, row, what] = int(amount)
    spent = {purse: _spent(next(answers), purse[2]) for purse in purses}
    applied = {writer: int(n) for writer in writers if (n := next(answers)) is not None}
    return Snapshot(cells, spent, applied)


def _spent(record: bytes | None, number: int) -> int:
    return Spent(*map(int, struct.unpack("<ddd", record))).at(number) if record else 0


async def amend(batcher: Batcher, keys: Keys, missing: Amendment) -> None:
    """Add what is missing, then take back that data was lost."""
    calls = [
        batcher.call("HINCRBY", keys.rows(period), f"{row}\t{what}", amount, patient=True)
        for (period, row, what), amount in missing.cells.items()
    ]
    for (owner, per, number), nano in missing.spent.items():
        calls.append(batcher.call("EVAL", AMEND.text, 1, keys.owner(owner), per, number, nano, patient=True))
    calls += [
        batcher.call("HSETNX", keys.writer(writer), "n", n, patient=True) for writer, n in missing.applied.items()
    ]
    calls.append(batcher.call("HDEL", keys.store, "lost", patient=True))
    await asyncio.gather(*calls)


async def warnings_of(batcher: Batcher, observer: Observer) -> tuple[str, ...]:
    """What may lose data on this server. Raises StoreUnfit for one that is too old for the scripts."""
    found = []
    try:
        info = await batcher.call("INFO", "server", patient=True)
        lines = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
        name = "valkey_version" if "valkey_version" in lines else "redis_version"
        version = lines.get(name, "")
        if version and tuple(int(part) for part in version.split(".")[:2]) < FLOORS[name]:
            floor = ".".join(map(str, FLOORS[name]))
            raise StoreUnfit(f"the store is {name.partition('_')[0]} {version}; the scripts need {floor} or later")
        for setting, wanted in (("maxmemory-policy", b"noeviction"), ("appendonly", b"yes")):
            _, value = await batcher.call("CONFIG", "GET", setting, patient=True)
            if value != wanted:
                found.append(f"{setting} is {value.decode()}, not {wanted.decode()}")
    except (ReplyError, ValueError):
        # Managed stores hide their settings. Not knowing is no reason to refuse.
        found.append("the server's settings can't be read; see that maxmemory-policy is noeviction and appendonly yes")
    for warning in found:
        observer.event("store_warning", {"warning": warning})
    return tuple(found)
