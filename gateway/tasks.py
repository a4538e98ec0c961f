"""Work that goes on after its call, as the proxy meets it: begun, fed and ended by requests, paid for by the worker.

Rule: the list knows of a piece of work before Claude does. A create is announced under its hold, and takes its own name
when Claude has answered; one that nobody can name any more is found by its announcement.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from gateway.core.answers import UNREADABLE, from_session
from gateway.core.claims import goes_on
from gateway.core.errors import GatewayError
from gateway.core.exchange import Exchange
from gateway.core.growth import grown
from gateway.core.headers import lookup
from gateway.core.http import Answer, Headers
from gateway.core.routes import Matched, Weigh
from gateway.core.teams import Policy
from gateway.core.work import CREATE_SECONDS, Item, release
from gateway.observe import Observer
from gateway.platforms.platform import Draft
from gateway.relay import read_whole
from gateway.settling.reading import Gone, Reader, Unreadable
from gateway.settling.worker import Worker
from gateway.store.ledger import Ledger, StoreDown
from gateway.store.work import Work
from gateway.upstream import Upstream

FIRST_LOOK_SECONDS = 2.0
STOP_SECONDS = 5.0
RETRY_SECONDS = 1.0
PAID_SECONDS = 5.0
PAID_LOOK_SECONDS = 0.05
_UNSETTLED = {
    "batch": "The batch {id} can't be deleted yet: its cost is read from its results once it has ended. "
    "Cancel it if it is still running, and delete it again in a moment.",
    "session": "The session {id} can't be deleted now: what it used can't be read. Delete it again in a moment.",
}
_IDLE = b"event: session.status_idle"
# Of the call that begins work, what its later readings must say again.
_HEADERS = (b"anthropic-version", b"anthropic-beta")

Feed = Callable[[bytes], None]


class Tasks:
    """The list of work and its worker, in one process."""

    def __init__(
        self,
        work: Work,
        ledger: Ledger,
        upstream: Upstream,
        policy: Callable[[], Policy],
        observer: Observer,
        *,
        spool_dir: Path,
        pace: float = 1.0,
        create_seconds: float = CREATE_SECONDS,
    ) -> None:
        self._work = work
        self._ledger = ledger
        self._upstream = upstream
        self._observer = observer
        self._policy = policy
        self._pace = pace
        self._create_seconds = create_seconds
        self._reader = Reader(upstream, policy, spool_dir)
        self._worker = Worker(work, ledger, self._reader, policy, observer, pace=pace)
        self._running: asyncio.Task[None] | None = None
        self._asides: set[asyncio.Task[None]] = set()

    # -- life

    async def start(self) -> None:
        await self._work.start()
        self._running = asyncio.create_task(self._worker.run())

    async def stop(self) -> None:
        """End the looks under way; what is not written down by now is found by its announcement."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        await self._worker.stop(STOP_SECONDS)
        if self._asides:
            _, late = await asyncio.wait(self._asides, timeout=STOP_SECONDS)
            for aside in late:
                aside.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._work.stop()

    # -- what requests do

    async def announce(self, x: Exchange, matched: Matched, headers: Headers, body: bytes | bytearray | None) -> None:
        """Before anything is held: what is about to be begun, named, fed or ended. Raises StoreDown, and 409."""
        route = x.route
        assert route is not None
        if route.starts:
            x.work = self._item(x, headers, body)
            if goes_on(route):
                await self._work.add(x.work, due_in=self._create_seconds)
        elif route.ends:
            await self._paid(route.ends, matched.ids[route.ends])
        elif route.feeds == "session" and route.weigh is Weigh.SESSION:
            await self._known(x, matched.ids["session"], headers)

    async def begin(self, x: Exchange, draft: Draft) -> Answer:
        """Send a create; when Claude has made the object, the hold is the work's and no longer the call's."""
        answer = await self._upstream.send(x, draft)
        if answer.status >= 300 or x.work is None:
            return answer
        read = b""

        def kept(body: bytes) -> bytes:
            nonlocal read
            read = body
            return body

        try:
            answer = await read_whole(answer, kept)
        except BaseException as fault:
            answer.close()
            x.unanswered = "cut" if isinstance(fault, GatewayError) else "cancelled"
            raise
        await self._begun(x, x.work, read)
        return answer

    def ended(self, x: Exchange, matched: Matched | None) -> None:
        """The call is over and its hold settled or handed on: take its announcement off, have what it fed looked at."""
        route = x.route
        if route is None or matched is None:
            return
        if x.work is not None and goes_on(route) and not x.kept:
            self._aside(self._work.drop(x.work.id))
        elif x.status >= 300 or x.attempts == []:
            return
        elif route.feeds:
            self._aside(self._nudge(matched.ids[route.feeds]))
        elif route.ends:
            self._aside(self._close(matched.ids[route.ends]))

    def listening(self, id: str, feed: Feed) -> Feed:
        """A stream's feed that also has a session looked at when it has become idle."""
        return hearing(feed, lambda: self._aside(self._nudge(id)))

    # -- how

    def _item(self, x: Exchange, headers: Headers, body: bytes | bytearray | None) -> Item:
        assert x.team is not None
        assert x.key is not None
        assert x.claim is not None
        assert x.route is not None
        said = ((name.decode(), lookup(headers, name)) for name in _HEADERS)
        return Item(
            id=x.hold,
            kind="new",
            hold=x.hold,
            team=x.team.name,
            key=x.key.name,
            workspace=x.team.workspace,
            route=x.route.name,
            models=(x.claim.model,) if x.claim.model else (),
            headers=tuple((name, value.decode("latin-1")) for name, value in said if value is not None),
            since=time.time(),
            nano=x.claim.nano or x.team.session_hold_nano,
            blind=x.route.starts != "session" or (body is not None and b'"initial_events"' in body),
            input=x.expected.input,
            output=x.expected.output,
            held=goes_on(x.route),
        )

    async def _begun(self, x: Exchange, new: Item, body: bytes) -> None:
        assert x.route is not None
        id, kind = named(body, x.route.starts)
        if not id:
            # It was made, and nobody can say what it is called: charged as held, like a call that was never answered.
            x.unanswered = "no_usage"
            self._observer.event("work_unnamed", {"route": x.route.name, "request_id": x.id})
            return
        item = msgspec.structs.replace(new, id=id, kind=kind)
        x.kept = goes_on(x.route)
        self._worker.knows(item)
        bind = self._work.bind(new.id, item, due_in=FIRST_LOOK_SECONDS * self._pace)
        try:
            await bind
        except StoreDown as down:
            self._observer.event("work_waits", {"id": id, "reason": str(down)})
            self._aside(self._bind_later(new.id, item))

    async def _bind_later(self, old: str, item: Item) -> None:
        while True:
            await asyncio.sleep(RETRY_SECONDS * self._pace)
            with contextlib.suppress(StoreDown):
                await self._work.bind(old, item, due_in=0.0)
                return

    async def _paid(self, kind: str, id: str) -> None:
        """Before a delete, after which nothing can be read: 409 for a batch whose results are not paid for."""
        item: Item | None = None
        deadline = time.monotonic() + PAID_SECONDS
        while (leased := await self._work.take(id, seconds=self._worker.lease_seconds)) is None:
            item = await self._work.get(id)
            if item is None:
                return
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(PAID_LOOK_SECONDS)  # another is at it
        if leased is not None:
            await self._worker.turn(leased)
            item = await self._work.get(id)
        if item is not None and (kind == "batch" or item.tries):
            raise GatewayError("unsettled", _UNSETTLED[kind].format(id=id), retry_after=5)

    async def _known(self, x: Exchange, id: str, headers: Headers) -> None:
        """A session that the list does not know is charged from here on: what it has used so far is not this call's."""
        if await self._work.get(id) is not None:
            return
        assert x.team is not None
        item = msgspec.structs.replace(self._item(x, headers, None), id=id, kind="session", held=False)
        try:
            seen = await self._reader.object(item, "sessions.get", f"/v1/sessions/{id}")
        except (Gone, Unreadable):
            return  # Claude will say so itself
        usage = from_session(seen.body)
        progress, _ = grown(item, usage, x.policy.prices, when=item.since, charge_as=x.team.charge_as)
        progress = msgspec.structs.replace(progress, free=progress.nano)
        await self._work.add(msgspec.structs.replace(item, progress=progress), due_in=FIRST_LOOK_SECONDS * self._pace)
        self._observer.event("work_found", {"id": id, "team": item.team})

    async def _nudge(self, id: str) -> None:
        if await self._work.nudge(id):
            self._worker.wake()

    async def _close(self, id: str) -> None:
        """After a delete that Claude accepted: all it used was booked just before."""
        leased = await self._work.take(id, seconds=self._worker.lease_seconds)
        if leased is None:
            return
        for bill in release(leased.item):
            await self._ledger.finish(bill.id, bill.settlement())
        if await self._work.done(leased):
            self._observer.work_done(msgspec.structs.replace(leased.item, outcome="deleted"), time.time())

    def _aside(self, what: Coroutine[Any, Any, Any]) -> None:
        """Do something that no client waits for; without the store it is left to the item's own time."""

        async def run() -> None:
            with contextlib.suppress(StoreDown):
                await what

        task = asyncio.create_task(run())
        self._asides.add(task)
        task.add_done_callback(self._asides.discard)


def named(body: bytes, starts: str) -> tuple[str, str]:
    """The id and the kind of what a create made; "" when the answer has none. A run's work is its session's."""
    try:
        made = msgspec.json.decode(body, type=dict[str, Any])
    except UNREADABLE:
        return "", starts
    session = made.get("session_id")
    if starts == "run" and isinstance(session, str):
        return session, "session"
    id = made.get("id")
    return (id, starts) if isinstance(id, str) and 0 < len(id) <= 256 else ("", starts)


def hearing(feed: Feed, tell: Callable[[], None]) -> Feed:
    """A feed that passes every chunk on, and tells once for each idle event, wherever it is split."""
    tail = b""

    def heard(chunk: bytes) -> None:
        nonlocal tail
        feed(chunk)
        seen = tail + chunk
        at = seen.rfind(_IDLE)
        if at >= 0:
            tell()
            seen = seen[at + len(_IDLE) :]
        tail = seen[1 - len(_IDLE) :]

    return heard
