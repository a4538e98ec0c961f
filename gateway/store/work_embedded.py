"""The list of work of one process, in an SQLite file beside the spend file, written by a thread of its own.

One process at a time has the file, so at its start every lease is a dead one's. synchronous=FULL: a batch that is
forgotten is money that is forgotten, and there are few writes.
"""

import asyncio
import secrets
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from gateway.core.work import Item
from gateway.store.ledger import StoreDown, StoreUnfit
from gateway.store.work import Counts, Leased

_SCHEMA = """
create table if not exists work(id text primary key, item blob not null, due integer not null,
    token text not null default '', nudged integer not null default 0) without rowid;
create index if not exists work_due on work(due);
"""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Item).decode


class EmbeddedWork:
    """A `Work` in one state directory."""

    def __init__(self, state_dir: Path, *, wall: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._path = state_dir / "work.sqlite"
        self._wall = wall
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="work")
        self._db: sqlite3.Connection | None = None

    async def start(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._open)

    def _open(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self._path, timeout=0.5, isolation_level=None, check_same_thread=False)
            self._db.execute("pragma journal_mode=wal")
            self._db.execute("pragma synchronous=full")
            self._db.executescript(_SCHEMA)
            self._db.execute("update work set due = min(due, ?), token = '' where token != ''", (self._wall(),))
        except (OSError, sqlite3.Error) as fault:
            raise StoreUnfit(f"{self._path} can't be used: {fault}.") from fault

    async def stop(self) -> None:
        if self._db is None:
            return
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    async def add(self, item: Item, *, due_in: float) -> None:
        await self._do(_INSERT, item.id, _encode(item), self._in(due_in))

    async def bind(self, old: str, item: Item, *, due_in: float) -> None:
        data, due = _encode(item), self._in(due_in)

        def both(db: sqlite3.Connection) -> None:
            db.execute("begin immediate")
            try:
                db.execute("delete from work where id = ?", (old,))
                db.execute(_INSERT, (item.id, data, due))
                db.execute("commit")
            except BaseException:
                if db.in_transaction:
                    db.execute("rollback")
                raise

        await self._run(both)

    async def drop(self, id: str) -> None:
        await self._do("delete from work where id = ?", id)

    async def nudge(self, id: str, *, due_in: float = 0.0) -> bool:
        query = (
            "update work set nudged = (token != '' and due > ?1), "
            "due = case when token != '' and due > ?1 then due else min(due, ?2) end where id = ?3"
        )
        return bool(await self._do(query, self._wall(), self._in(due_in), id))

    async def get(self, id: str) -> Item | None:
        rows = await self._ask("select item from work where id = ?", id)
        return _decode(rows[0][0]) if rows else None

    async def lease(self, *, seconds: float, most: int) -> list[Leased]:
        return await self._lease("id in (select id from work where due <= ?1 order by due limit ?4)", seconds, most)

    async def take(self, id: str, *, seconds: float) -> Leased | None:
        found = await self._lease("id = ?4 and (token = '' or due <= ?1)", seconds, id)
        return found[0] if found else None

    async def _lease(self, which: str, seconds: float, argument: str | int) -> list[Leased]:
        token = secrets.token_hex(8)
        query = f"update work set token = ?2, due = ?3, nudged = 0 where {which} returning item"  # noqa: S608  # ours
        rows = await self._ask(query, self._wall(), token, self._in(seconds), argument)
        return [Leased(_decode(item), token) for (item,) in rows]

    async def renew(self, leased: Leased, *, seconds: float) -> bool:
        query = "update work set due = ? where id = ? and token = ?"
        return bool(await self._do(query, self._in(seconds), leased.item.id, leased.token))

    async def keep(self, leased: Leased, item: Item, *, seconds: float) -> bool:
        query = "update work set item = ?, due = ? where id = ? and token = ?"
        return bool(await self._do(query, _encode(item), self._in(seconds), leased.item.id, leased.token))

    async def let(self, leased: Leased, item: Item, *, due_in: float) -> bool:
        query = (
            "update work set item = ?, due = case when nudged then ? else ? end, token = '', nudged = 0 "
            "where id = ? and token = ?"
        )
        now, due = self._wall(), self._in(due_in)
        return bool(await self._do(query, _encode(item), now, due, leased.item.id, leased.token))

    async def done(self, leased: Leased) -> bool:
        return bool(await self._do("delete from work where id = ? and token = ?", leased.item.id, leased.token))

    async def counts(self) -> Counts:
        rows = await self._ask("select item, due from work")
        first = min((due for _, due in rows), default=None)
        overdue = max(0, self._wall() - first) / 1000 if first is not None else 0.0
        return Counts(Counter(_decode(item).kind for item, _ in rows), overdue)

    def _in(self, seconds: float) -> int:
        return self._wall() + round(seconds * 1000)

    async def _do(self, query: str, *arguments: Any) -> int:
        changed: int = await self._run(lambda db: db.execute(query, arguments).rowcount)
        return changed

    async def _ask(self, query: str, *arguments: Any) -> list[Any]:
        rows: list[Any] = await self._run(lambda db: db.execute(query, arguments).fetchall())
        return rows

    async def _run(self, call: Callable[[sqlite3.Connection], Any]) -> Any:
        def run() -> Any:
            if self._db is None:
                raise StoreDown("the list of work is closed")
            try:
                return call(self._db)
            except sqlite3.Error as fault:
                raise StoreDown(f"{self._path.name}: {fault}") from fault

        return await asyncio.get_running_loop().run_in_executor(self._thread, run)


_INSERT = "insert or ignore into work(id, item, due) values (?, ?, ?)"
