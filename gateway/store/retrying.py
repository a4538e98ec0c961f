"""Asks Redis for one more attempt: the rim of core/retries.py.

Rule: once a move was sent, the process holds the plan after it, until the store says that it did not move. Whatever was
or was not answered, the settlement then names all buckets and leaves it to the store which of them are held.
"""

import time

import msgspec

from gateway.core.book import Said
from gateway.core.plan import Plan
from gateway.core.retries import Asked, Retry, RetryVerdict, Tried, asked_of, moved, verdict_of
from gateway.store import scripts
from gateway.store.keys import Keys
from gateway.store.ledger import Observer, StoreDown
from gateway.store.link import Link


class Open:
    """A claim that was asked for and not yet settled."""

    __slots__ = ("plan", "sent")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.sent = False  # the store may hold it, whatever was or was not answered


async def retried(
    retry: Retry, held: Open | None, *, link: Link, keys: Keys, writer: str, epoch: str, observer: Observer
) -> RetryVerdict:
    """The verdict; raises StoreDown."""
    asked = asked_of(retry)
    before = held.plan if held is not None else None
    plan = b""
    if retry.leaves:
        if held is None:
            return verdict_of(retry, asked, Tried(Said.BARRED))
        held.plan = moved(held.plan, asked)
        plan = msgspec.msgpack.encode(held.plan)
    began = time.monotonic()
    try:
        tried = await _ask(retry, asked, plan, link, keys, writer, epoch)
    except StoreDown:
        observer.timed("retry", time.monotonic() - began, failed=True)
        raise
    observer.timed("retry", time.monotonic() - began, failed=False)
    if held is not None and before is not None and tried.said != Said.GRANTED:
        held.plan = before
    return verdict_of(retry, asked, tried)


async def _ask(retry: Retry, asked: Asked, plan: bytes, link: Link, keys: Keys, writer: str, epoch: str) -> Tried:
    if not link.ready or link.batcher is None or link.batcher.stalled:
        raise StoreDown(link.fault or "an answer is overdue")
    names = [keys.store, keys.holds(writer), *map(keys.owner, asked.owners)]
    part = msgspec.msgpack.encode(asked.part)
    args: list[bytes | str | int] = [epoch, retry.hold, asked.cost, part, asked.leaves, plan]
    tried = Tried.of(await link.script(scripts.RETRY, names, args))
    if tried.said == Said.EPOCH:
        link.doubt("retry: EPOCH")
        raise StoreDown("this is not the store it was a moment ago")
    return tried
