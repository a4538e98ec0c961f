"""The life of a request between its admission and its answer: one attempt after another, as long as each is free.

Rule: nothing that can be relayed is thrown away before another attempt is sure to be made: its lane is open, its key is
there, the retry budget has paid for it.
"""

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from gateway.core.claims import retry_takes, workspace_takes
from gateway.core.exchange import Attempt, Exchange
from gateway.core.faults import (
    ERROR_BODY_LIMIT,
    about_our_key,
    decoded,
    failure,
    is_json,
    read_error,
    wrapped,
    wrapped_headers,
)
from gateway.core.headers import lookup
from gateway.core.http import Answer, Client, LiveAnswer, Timeouts, UpstreamFailed
from gateway.core.overload.attempts import (
    IDENTITY,
    Again,
    NextKey,
    Outcome,
    Tries,
    client_of,
    judge_attempt,
    should_retry,
)
from gateway.core.overload.attempts import Client as Caller
from gateway.core.overload.keys import KeyState
from gateway.core.overload.lanes import Lane, class_of
from gateway.core.overload.stateless import is_stateless
from gateway.core.overload.waits import retry_after
from gateway.core.retries import Retry
from gateway.core.routes import Repeat
from gateway.core.teams import Policy, UpstreamKey, Workspace
from gateway.platforms.platform import Draft, Platform
from gateway.store.ledger import Ledger, StoreDown
from gateway.upstream.answers import PassedAnswer, ReadAnswer, held_back, read_up_to
from gateway.upstream.places import Place, Places, Told
from gateway.upstream.probing import Probed, probe
from gateway.upstream.shut import Shut, keyless, refuse, refused_key, unserved
from gateway.upstream.standings import states
from gateway.upstream.tokens import IdentityRefused, Tokens


@dataclass(slots=True)
class Made:
    """One attempt that ended: what it was, and its answer when there is one."""

    outcome: Outcome
    answer: Answer | None = None
    plain: bytes = b""  # an error's body, readable
    passes: bool = False  # it goes to the client as it comes, and counts as under way until it is closed


@dataclass(slots=True)
class Journey:
    """What a request carries from attempt to attempt."""

    x: Exchange
    draft: Draft
    caller: Caller
    model_class: str
    repeats: int = 0
    left: list[str] = field(default_factory=list)  # workspaces that it has turned away from
    refused: set[str] = field(default_factory=set)  # keys of the present workspace
    renewed: set[str] = field(default_factory=set)  # keys whose token was forced to be new


class Upstream:
    def __init__(
        self,
        client: Client,
        platforms: Mapping[str, Platform],
        timeouts: Timeouts,
        *,
        ledger: Ledger,
        told: Told,
    ) -> None:
        self._client = client
        self._platforms = platforms
        self._timeouts = timeouts
        self._ledger = ledger
        self._told = told
        self.places = Places(told)
        self.tokens = Tokens(client, timeouts, told)

    def adopt(self, policy: Policy) -> None:
        """A policy came into force. Requests under way keep the one they began with, keys included."""
        self.places.adopt(policy)
        self.tokens.adopt(policy)

    async def close(self) -> None:
        await self.tokens.close()

    def states(self, policy: Policy) -> dict[str, Any]:
        """Keys, lanes and rests of every workspace, as plain values."""
        now = time.monotonic()
        return states(self.places, policy, now, time.time() - now)

    def set_key(self, workspace: Workspace, key: str, state: KeyState) -> None:
        """Activate, drain or bench a key by hand. KeyError when the workspace has no such key."""
        self.places.set_key(workspace, key, state, time.monotonic())

    async def probe(self, workspace: Workspace, key: UpstreamKey) -> Probed:
        """Whether a key works, by a call that is free."""
        return await probe(self._client, self._platforms, self._timeouts, self.tokens, workspace, key)

    async def send(self, x: Exchange, draft: Draft) -> Answer:
        """The answer that is worth relaying. Raises GatewayError when there is none."""
        assert x.team is not None
        model = x.policy.canonical(x.model)
        caller = client_of(draft.headers, x.started)
        journey = Journey(x, draft, caller, class_of(draft.route, model, x.policy.known_models))
        place = await self._first(journey)
        while True:
            made = await self._attempt(journey, place)
            try:
                following = await self._next(journey, place, made)
            except BaseException:
                if made.answer is not None:
                    made.answer.close()
                raise
            if following is None:
                return self._concluded(journey, place, made)
            if made.answer is not None:
                made.answer.close()
            x.unanswered = None  # a repeat is free: the attempt before it cost nothing
            place = following

    # Where to.

    async def _first(self, journey: Journey) -> Place:
        """The team's own workspace; when that is shut, one that stands in for it."""
        x = journey.x
        assert x.team is not None
        home = x.policy.workspaces[x.team.workspace]
        if not self._platforms[home.platform].serves(journey.draft.route):
            raise unserved(home, journey.draft.route)
        found = await self._enter(journey, home)
        if isinstance(found, Place):
            return found
        elsewhere = await self._elsewhere(journey, home, free=True)
        if elsewhere is None:
            raise refuse(found)
        return elsewhere

    async def _enter(self, journey: Journey, workspace: Workspace) -> Place | Shut:
        """A place in a workspace, or how long it is shut."""
        now = time.monotonic()
        key = self._key(journey, workspace, now)
        if key is None:
            return keyless(workspace)
        lane = Lane(workspace.name, journey.model_class)
        wait, resting = self.places.resting(lane, now)
        if wait and resting is not None:
            return Shut(lane, wait, resting.rest)
        state = self.places.lane(lane)
        admission = await state.enter(now, journey.caller.deadline - now)
        if admission.wait:
            return Shut(lane, admission.wait)
        looking = resting.rest.reason if resting is not None else None
        return Place(workspace, key, key, lane, state, admission.probe, looking)

    def _key(self, journey: Journey, workspace: Workspace, now: float) -> UpstreamKey | None:
        assert journey.x.team is not None
        pool = self.places.pool(workspace.name)
        return pool.choose(workspace.keys, journey.x.team.name, now, but=journey.refused)

    async def _elsewhere(self, journey: Journey, leaving: Workspace, *, free: bool) -> Place | None:
        """The next workspace of the failover list that is open and has room for the team's hold, if it may go there."""
        x = journey.x
        assert x.team is not None
        home = x.policy.workspaces[x.team.workspace]
        if not (x.team.failover and home.failover and is_stateless(journey.draft.route, journey.draft.body)):
            return None
        left = {leaving.name, *journey.left}
        refused, journey.refused = journey.refused, set()
        for name in self.places.by_headroom((n for n in home.failover if n not in left), journey.model_class):
            workspace = x.policy.workspaces[name]
            if not self._platforms[workspace.platform].serves(journey.draft.route):
                continue
            place = await self._enter(journey, workspace)
            if isinstance(place, Shut):
                continue
            paid = False
            try:
                paid = await self._paid(journey, leaving.name, workspace, moves=True, free=free)
            finally:
                if not paid:
                    place.state.leave()
            if paid:
                journey.left.append(leaving.name)
                return place
        journey.refused = refused
        return None

    async def _paid(self, journey: Journey, leaving: str, workspace: Workspace, *, moves: bool, free: bool) -> bool:
        """Whether the retry budget and the workspace's limits allow one more attempt."""
        x = journey.x
        assert x.team is not None
        takes, at_least = workspace_takes(x, workspace) if moves else retry_takes(x, workspace)
        retry = Retry(
            x.hold, x.team.workspace, workspace.name, takes, at_least, leaves=leaving if moves else "", free=free
        )
        try:
            verdict = await self._ledger.retry(retry)
        except StoreDown:
            return False  # nobody knows what the other replicas spend: no repeat is the calm answer
        self._told.gauge("retry_budget", verdict.budget, x.team.workspace)
        return verdict.granted

    # One attempt.

    async def _attempt(self, journey: Journey, place: Place) -> Made:
        x, draft = journey.x, journey.draft
        attempt = Attempt(place.workspace.name, place.key.name)
        x.attempts.append(attempt)
        began = time.monotonic()
        self.places.pool(place.workspace.name).sent(place.key, began)
        answer: LiveAnswer | None = None
        headers, sent = [], False
        try:
            if place.key.federation is not None:
                place.sent = await self.tokens.current(place.key, place.workspace)
            sent = True
            out = self._platforms[place.workspace.platform].prepare(draft, place.workspace, place.sent)
            answer = await self._client.open(out, self._timeouts)
            headers = answer.headers
            attempt.request_id = (lookup(headers, b"request-id") or b"").decode("latin-1")
            made = await self._look(journey, place, answer)
        except UpstreamFailed as error:
            if error.stage == "head":
                x.unanswered = "cut"
            made = Made(Outcome(broken=error))
        except IdentityRefused as error:
            made = Made(Outcome(401, type=IDENTITY, message=str(error), about_key=True))
        except BaseException:
            attempt.outcome = "abandoned"
            x.unanswered = "cancelled" if sent else None
            self._left(place)
            if answer is not None:
                answer.close()
            raise
        finally:
            attempt.seconds = time.monotonic() - began
            x.upstream_seconds += attempt.seconds
        x.upstream_request_id = attempt.request_id
        attempt.outcome = made.outcome.name
        self.places.learn(place, made.outcome, headers, time.monotonic(), time.time())
        if not made.passes:
            self._left(place)
            if made.answer is None and answer is not None:
                answer.close()
        return made

    def _left(self, place: Place) -> None:
        self.places.left(place, time.monotonic())

    async def _look(self, journey: Journey, place: Place, answer: LiveAnswer) -> Made:
        """Read as much of an answer as tells what it is."""
        headers, status = answer.headers, answer.status
        if status < 400:
            held, error = b"", None
            if status == 200 and journey.draft.route.repeat is Repeat.INFERENCE and _is_plain_stream(answer):
                hold = await held_back(answer, journey.draft.route.name, time.monotonic)
                held, error = b"".join(hold.held), hold.error
            outcome = Outcome(status, first_event_error=error, should_retry=should_retry(headers))
            passes = error is None
            left = partial(self._left, place) if passes else _nobody
            return Made(outcome, PassedAnswer(answer, left, held), passes=passes)
        body, whole = await read_up_to(answer, ERROR_BODY_LIMIT)
        plain = decoded(body, lookup(headers, b"content-encoding"))
        type, message, code = read_error(plain)
        outcome = Outcome(
            status,
            complete=whole and type != "",
            type=type,
            message=message,
            code=code,
            retry_after=retry_after(headers, time.time()),
            should_retry=should_retry(headers),
            about_key=about_our_key(status, plain),
        )
        return Made(outcome, ReadAnswer(answer, headers, body, rest=answer), plain)

    # What follows it.

    async def _next(self, journey: Journey, place: Place, made: Made) -> Place | None:
        """The next place, entered and paid for; None when the attempt's answer is the request's."""
        now = time.monotonic()
        outcome = made.outcome
        if made.passes or journey.x.ended == "client_gone":  # nobody waits for a better answer
            return None
        federated = outcome.about_key and place.key.federation is not None and made.answer is not None
        if federated and journey.draft.replayable and place.key.name not in journey.renewed:
            journey.renewed.add(place.key.name)
            await self.tokens.renew(place.key, place.workspace, place.sent.secret)
            return await self._again(journey, place, place.key)
        if outcome.about_key:
            journey.refused.add(place.key.name)
            self.places.bench(place, outcome, now)
        other = self._key(journey, place.workspace, now) if outcome.about_key else None
        tries = Tries(now, journey.repeats, replayable=journey.draft.replayable, other_key=other is not None)
        step = judge_attempt(outcome, journey.draft.route.repeat, journey.caller, tries, random.random())  # noqa: S311
        match step:
            case NextKey() if other is not None:
                return await self._again(journey, place, other)
            case Again():
                return await self._repeat(journey, place, step)
            case _:
                return await self._turn_away(journey, place, outcome)

    async def _again(self, journey: Journey, place: Place, key: UpstreamKey) -> Place | None:
        """The same request with another credential: Claude has not looked at it yet, so it costs no retry."""
        found = await self._enter(journey, place.workspace)
        if isinstance(found, Shut):
            return None
        found.key = found.sent = key
        return found

    async def _repeat(self, journey: Journey, place: Place, step: Again) -> Place | None:
        """In the same workspace, where the team's prompt caches are, unless it is shut or was asked twice already."""
        journey.repeats += 1
        if journey.repeats > 1 or self._is_shut(place):
            elsewhere = await self._elsewhere(journey, place.workspace, free=False)
            if elsewhere is not None:
                self._told.count("retries", elsewhere.workspace.name, step.reason)
                return elsewhere
        if not await self._paid(journey, "", place.workspace, moves=False, free=False):
            return None
        await asyncio.sleep(step.after)
        found = await self._enter(journey, place.workspace)
        if isinstance(found, Shut):
            return None
        self._told.count("retries", place.workspace.name, step.reason)
        return found

    def _is_shut(self, place: Place) -> bool:
        now = time.monotonic()
        return place.state.breaker.state(now) != "closed" or self.places.is_resting(place.lane, now)

    async def _turn_away(self, journey: Journey, place: Place, outcome: Outcome) -> Place | None:
        """A refusal that a repeat can't mend may still be this workspace's alone."""
        now = time.monotonic()
        rests = outcome.broken is None and self.places.is_resting(place.lane, now)
        if not (outcome.about_key or rests) or not journey.draft.replayable:
            return None
        if journey.repeats >= journey.caller.extra or now >= journey.caller.deadline:
            return None
        elsewhere = await self._elsewhere(journey, place.workspace, free=False)
        if elsewhere is not None:
            journey.repeats += 1
            self._told.count("retries", elsewhere.workspace.name, "workspace_key" if outcome.about_key else "resting")
        return elsewhere

    def _concluded(self, journey: Journey, place: Place, made: Made) -> Answer:
        """The last attempt as the request's answer."""
        x, answer, outcome = journey.x, made.answer, made.outcome
        if outcome.broken is not None:
            raise failure(outcome.broken)
        if outcome.about_key or answer is None:
            if answer is not None:
                answer.close()
            raise refused_key(outcome, place.workspace.name, place.key.name)
        if outcome.status >= 400 and made.plain and not is_json(made.plain):
            answer.close()
            x.cf_ray = (lookup(answer.headers, b"cf-ray") or b"").decode("latin-1")
            return ReadAnswer(answer, wrapped_headers(answer.headers), wrapped(answer.status, x.request_id), rest=None)
        return answer


def _nobody() -> None:
    """A refused attempt has left its lane already."""


def _is_plain_stream(answer: Answer) -> bool:
    if not (lookup(answer.headers, b"content-type") or b"").lower().startswith(b"text/event-stream"):
        return False
    return (lookup(answer.headers, b"content-encoding") or b"identity").strip().lower() == b"identity"
