"""The life of one request. What is not in `Proxy.handle` does not happen.

authenticate → match → read → judge → reserve → send → relay → settle and observe. The last step stands in a `finally`
without an await, so that neither an error nor a cancellation can skip it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial

from gateway.bodies import BufferedBody, BufferedBytes, in_turns, read_body, refuse_declared_framing
from gateway.core.billing import bill, settlement_for
from gateway.core.claims import admitted, claim_for, count_claim, goes_on
from gateway.core.errors import UPSTREAM_KINDS, GatewayError
from gateway.core.exchange import Exchange
from gateway.core.faults import rewrite_results_urls
from gateway.core.headers import credentials, host_of, lookup, upstream_headers
from gateway.core.http import Answer, Headers
from gateway.core.judge import judge, judge_path
from gateway.core.limits import Claim, Refused, Settlement, Verdict
from gateway.core.overload.waits import deadline_of
from gateway.core.routes import Body, Matched, Weigh, is_hello, match, query_of
from gateway.core.standing import limit_headers
from gateway.core.teams import Policy
from gateway.drains import Drains
from gateway.forecast import Forecast
from gateway.local import LocalAnswers
from gateway.observe import Observer
from gateway.platforms.platform import Draft
from gateway.precount import Precounter
from gateway.relay import Tap, answer_json, end_broken, end_quietly, read_whole, refuse, relay, tap_of
from gateway.store.ledger import Ledger, StoreDown
from gateway.store.waiting import Waiting
from gateway.tasks import Tasks
from gateway.upstream import Upstream
from gateway.wire.incoming import ClientGone, Incoming


class Proxy:
    """Carries requests from teams to Claude and back."""

    def __init__(
        self,
        *,
        policy: Callable[[], Policy],
        ledger: Ledger,
        upstream: Upstream,
        local: LocalAnswers,
        observer: Observer,
        bodies: BufferedBytes,
        forecast: Forecast,
        tasks: Tasks,
        session_streams: int = 100,
        public_url: str | None = None,
        marks: Headers | None = None,
    ) -> None:
        self._policy = policy
        self._ledger = ledger
        self._upstream = upstream
        self._local = local
        self._observer = observer
        self._bodies = bodies
        self._tasks = tasks
        self._streams = Streams(session_streams)
        self._public_url = public_url
        self._marks = marks or []  # on every answer: that the upstream is the simulator, say
        self._watching: dict[asyncio.Task[None], Exchange] = {}
        self._draining = False
        self._drains = Drains()
        self._waiting = Waiting(ledger)
        self._forecast = forecast
        self._precounter = Precounter(upstream, observer.finished)

    async def handle(self, incoming: Incoming) -> None:
        path, _ = query_of(incoming.target)
        x = Exchange.open(self._policy(), time.monotonic(), incoming.method, path)
        tap: Tap | None = None
        body: BufferedBody | None = None
        answer: Answer | None = None
        matched: Matched | None = None
        try:
            if is_hello(incoming.method, path):
                x.route = match(incoming.method, path).route
                await answer_json(x, incoming, b"{}", self._ours(x))
                return
            x.team, x.key = x.policy.authenticate(*credentials(incoming.headers), time.time())
            self._observer.authenticated(x)
            x.claude_code_session_id = text(lookup(incoming.headers, b"x-claude-code-session-id"))
            matched = match(incoming.method, path)
            x.route = route = matched.route
            base_url = self._base_url(incoming) if route.batch_urls else ""
            refuse_declared_framing(incoming, route.limit)
            draft = Draft(route, incoming.method, incoming.target, [])
            if route.body is Body.BUFFER:
                began = time.monotonic()
                body = await read_body(incoming, route.limit, self._bodies)
                x.client_seconds = time.monotonic() - began
                draft.body = body.data
            elif route.body is Body.STREAM:
                draft.body, draft.length = limited(incoming, route.limit), incoming.length
            elif incoming.has_body:
                raise GatewayError("malformed", f"{route.path} takes no request body.", close=True)
            asked = await in_turns(judge(x.policy, x.team, route, body.data)) if body is not None else None
            if asked is not None:
                x.asked, x.model, x.models, x.stream = asked, asked.model, asked.models, asked.stream
            judge_path(x.policy, x.team, matched)
            draft.headers = upstream_headers(incoming.headers, decoded=body is not None and body.decoded)
            if route.weigh is not Weigh.FREE:
                x.expected = self._forecast.expect(x, asked)
                x.claim = claim_for(x, asked, time.time())
                await self._tasks.announce(x, matched, incoming.headers, body.data if body is not None else None)
                await self._admit(x, draft, deadline_of(incoming.headers, x.started))
            if (local := self._local.answers.get(route.name)) is not None:
                await local(x, incoming, matched, self._ours(x))
                return
            if route.stream:
                self._streams.take(x)
            sending = self._tasks.begin(x, draft) if route.starts else self._upstream.send(x, draft)
            outlasts = (x.team.on_disconnect == "drain" and route.weigh is Weigh.TOKENS) or goes_on(route)
            answer = await (self._drains.outlast(x, sending) if outlasts else sending)
            draft.body = None
            if body is not None:
                body.release()  # no attempt can follow, and the answer may take an hour
            tap = tap_of(x, answer)
            if route.stream:
                tap.feed = self._tasks.listening(matched.ids["session"], tap.feed)
                self._watch(x)
            if route.batch_urls and answer.status < 300 and incoming.method != "HEAD":
                answer = await read_whole(answer, lambda read: rewrite_results_urls(read, base_url))
            await relay(x, incoming, answer, tap=tap, ours=self._ours(x), now=time.monotonic)
        except ClientGone:
            x.ended = "client_gone"
        except GatewayError as error:
            self._fail(x, incoming, tap, error)
        except StoreDown as down:
            self._fail(x, incoming, tap, GatewayError("store_down", _STORE_DOWN, retry_after=2, detail=str(down)))
        except Exception as fault:  # noqa: BLE001 - the last resort: a bug must become an answer, a line and a metric
            self._observer.faulted(fault, x.id)
            self._fail(x, incoming, tap, GatewayError("internal", _OUR_FAULT, detail=type(fault).__name__))
        except asyncio.CancelledError:
            x.ended = "client_gone" if incoming.gone else "cut"
            if not incoming.gone:
                self._last_words(x, incoming, tap)
            raise
        finally:
            x.bytes_in, x.bytes_out = incoming.bytes_in, incoming.bytes_out
            end = partial(self._end, x, answer, body, matched)
            goes = x.ended == "client_gone" or (x.ended == "cut" and x.work is not None)
            if not goes or not self._drains.take_over(x, answer, tap, end):
                self._drains.let_go(x)
                end(tap)

    async def _admit(self, x: Exchange, draft: Draft, deadline: float) -> None:
        """Hold what the request will use, by an exact count instead of an estimate where the policy asks for it.

        `exact` counts first; `adaptive` counts only what the estimate would refuse and its lower bound would not.
        """
        assert x.team is not None
        if x.team.precount == "exact" and _countable(x, draft):
            await self._pay_for_count(x, deadline)
            await self._count(x, draft)
        claim, x.verdict = await self._reserve(x, deadline)
        close = isinstance(x.verdict, Refused) and x.verdict.close
        if close and x.team.precount == "adaptive" and await self._count(x, draft):
            claim, x.verdict = await self._reserve(x, deadline)
        admitted(x.team, claim, x.verdict, time.time())

    async def _reserve(self, x: Exchange, deadline: float) -> tuple[Claim, Verdict]:
        x.claim = claim = claim_for(x, x.asked, time.time())
        return claim, await self._waiting.admit(claim, deadline)

    async def _pay_for_count(self, x: Exchange, deadline: float) -> None:
        """A team that has every call counted draws on its own count limit for it."""
        assert x.team is not None
        claim = count_claim(x)
        if claim.takes:
            verdict = await self._waiting.admit(claim, deadline)
            self._ledger.settle(claim.hold, Settlement())
            admitted(x.team, claim, verdict, time.time())

    async def _count(self, x: Exchange, draft: Draft) -> bool:
        """Put an exact count in the place of the estimated input; False when there is none to be had."""
        if not _countable(x, draft):
            return False
        assert isinstance(draft.body, bytearray)
        counted = await self._precounter.count(x, draft.body, draft.headers)
        if counted is None:
            return False
        uncached = max(0, counted - (x.expected.prompt - x.expected.input))
        x.expected = replace(x.expected, input=uncached, input_at_least=uncached, prompt=counted, counted=True)
        return True

    def drain(self) -> None:
        """Stop session streams: they have no end of their own, and their clients know how to come back."""
        self._draining = True
        self._waiting.drain()
        for task in list(self._watching):
            task.cancel()

    async def stop(self, seconds: float) -> None:
        """Wait for what still runs without a client, at most so long."""
        await self._drains.stop(seconds)

    def _watch(self, x: Exchange) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._watching[task] = x
        task.add_done_callback(lambda done: self._watching.pop(done, None))
        if self._draining:
            task.cancel()

    def _last_words(self, x: Exchange, incoming: Incoming, tap: Tap | None) -> None:
        if x.route is not None and x.route.stream and incoming.started:
            end_quietly(incoming, tap)
            return
        error = GatewayError("draining", "The gateway is restarting. Send the request again.", retry_after=1)
        self._fail(x, incoming, tap, error)

    def _fail(self, x: Exchange, incoming: Incoming, tap: Tap | None, error: GatewayError) -> None:
        x.ended = "upstream_failed" if error.kind in UPSTREAM_KINDS else "refused"
        # The exchange keeps the error, and the error's frames the exchange and the body: a circle of 30 MB that only
        # the collector would find, some requests later.
        error.__traceback__ = error.__context__ = None
        try:
            if incoming.started:
                x.ended = "cut"
                end_broken(x, incoming, tap, error)
            else:
                refuse(x, incoming, error, self._ours(x))
        except ClientGone:
            x.ended = "client_gone"

    def _end(
        self, x: Exchange, answer: Answer | None, body: BufferedBody | None, matched: Matched | None, tap: Tap | None
    ) -> None:
        """The last thing that happens to an exchange, exactly once: let go, bill, settle, observe."""
        if answer is not None:
            answer.close()
        if body is not None:
            body.release()
        x.finished = time.monotonic()
        bill(x, tap.meter if tap is not None else None, time.time())
        if x.kept:
            self._ledger.leave(x.hold)
        elif x.claim is not None:
            x.booked = self._ledger.settle(x.hold, settlement_for(x))
        self._forecast.learn(x)
        self._tasks.ended(x, matched)
        self._streams.free(x)
        self._observer.finished(x)

    def _ours(self, x: Exchange) -> Headers:
        headers = [*self._marks, (b"x-gateway-request-id", x.id.encode())]
        if x.verdict is not None:
            headers += limit_headers(x.verdict.levels, time.time())
        if not x.upstream_request_id:
            headers.append((b"request-id", x.id.encode()))
        return headers

    def _base_url(self, incoming: Incoming) -> str:
        if self._public_url:
            return self._public_url
        host = host_of(incoming.headers)
        if host is None:
            raise GatewayError(
                "malformed",
                "The Host header is missing or is not a host, so no results_url could lead back to the gateway.",
                close=True,
            )
        return f"{'https' if incoming.secure else 'http'}://{host}"


class Streams:
    """How many session event streams each team holds open: a cap of their own, since they are no work of the team's."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: dict[str, set[str]] = {}

    def take(self, x: Exchange) -> None:
        """Raises the refusal."""
        assert x.team is not None
        open_ids = self._open.setdefault(x.team.name, set())
        if len(open_ids) >= self._most:
            raise GatewayError(
                "rate_limited",
                f"Team '{x.team.name}' holds {self._most} session event streams open, as many as it may. Close one.",
                retry_after=5,
            )
        open_ids.add(x.id)

    def free(self, x: Exchange) -> None:
        if x.team is not None and (open_ids := self._open.get(x.team.name)) is not None:
            open_ids.discard(x.id)


_STORE_DOWN = "The gateway can't reach its store of limits and budgets. Retry in a moment."
_OUR_FAULT = "The gateway failed to handle the request. Give the platform team the request id."


def _countable(x: Exchange, draft: Draft) -> bool:
    """Whether Claude would count this request, and count it right."""
    weighed = x.asked.weighed if x.asked is not None else None
    return draft.route.name == "messages" and weighed is not None and weighed.countable


async def limited(incoming: Incoming, limit: int) -> AsyncIterator[bytes]:
    """A body that is passed on as it comes, up to the route's limit."""
    while chunk := await incoming.read():
        if incoming.bytes_in > limit:
            raise GatewayError("too_large", f"The request body is larger than {limit >> 20} MiB.", close=True)
        yield chunk


def text(value: bytes | None) -> str:
    """A header's value for the log: short, and without what would move a terminal's cursor."""
    short = (value or b"")[:128].decode("latin-1")
    return short if short.isprintable() else "".join(letter if letter.isprintable() else "?" for letter in short)
