"""The life of a request between its admission and its answer: one attempt after another, as long as each is free.

Rule: nothing that can be relayed is thrown away before another attempt is sure to be made: its lane is open, its key is
there, the retry budget has paid for it.
"""

import asyncio
import random
import time
from collections.abc import Mapping
from typing import Any

from gateway.core.exchange import Exchange
from gateway.core.faults import failure, is_json, wrapped, wrapped_headers
from gateway.core.headers import lookup
from gateway.core.http import Answer, Client, Timeouts
from gateway.core.overload.attempts import Again, NextKey, Outcome, Tries, client_of, judge_attempt
from gateway.core.overload.keys import KeyState
from gateway.core.overload.lanes import class_of
from gateway.core.teams import Policy, UpstreamKey, Workspace
from gateway.platforms.platform import Draft, Platform
from gateway.store.ledger import Ledger
from gateway.upstream.answers import ReadAnswer
from gateway.upstream.attempt import Attempts, Made
from gateway.upstream.journey import Journey, Ways
from gateway.upstream.places import Place, Places, Told
from gateway.upstream.probing import Probed, probe
from gateway.upstream.shut import Shut, refused_key
from gateway.upstream.standings import states
from gateway.upstream.tokens import Tokens

# Claude's refusals under load often name no time. Clients that are told different ones do not come back together.
_BUSY = frozenset({503, 529})
MOST_TOLD = 3


class Upstream:
    """The way to Claude, for all workspaces."""

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
        self._told = told
        self.places = Places(told)
        self.tokens = Tokens(client, timeouts, told)
        self._ways = Ways(self.places, platforms, ledger, told)
        self._attempts = Attempts(client, platforms, timeouts, self.places, self.tokens)

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
        place = await self._ways.first(journey)
        while True:
            made = await self._attempts.make(journey, place)
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

    async def _next(self, journey: Journey, place: Place, made: Made) -> Place | None:
        """The next place, entered and paid for; None when the attempt's answer is the request's."""
        now = time.monotonic()
        outcome = made.outcome
        if made.passes or journey.x.ended == "client_gone":  # nobody waits for a better answer
            return None
        federated = outcome.about_key and place.key.federation is not None and made.answer is not None
        if federated and place.key.name not in journey.renewed:
            journey.renewed.add(place.key.name)
            await self.tokens.renew(place.key, place.workspace, place.sent.secret)
            return await self._again(journey, place, place.key) if journey.draft.replayable else None
        if outcome.about_key:
            journey.refused.add(place.key.name)
            self.places.bench(place, outcome, now)
        other = self._ways.key(journey, place.workspace, now) if outcome.about_key else None
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
        found = await self._ways.enter(journey, place.workspace)
        if isinstance(found, Shut):
            return None
        found.key = found.sent = key
        return found

    async def _repeat(self, journey: Journey, place: Place, step: Again) -> Place | None:
        """In the same workspace, where the team's prompt caches are, unless it is shut or was asked twice already."""
        journey.repeats += 1
        if journey.repeats > 1 or self._ways.is_shut(place):
            elsewhere = await self._ways.elsewhere(journey, place.workspace, free=False)
            if elsewhere is not None:
                self._told.count("retries", elsewhere.workspace.name, step.reason)
                return elsewhere
        if not await self._ways.paid(journey, "", place.workspace, moves=False, free=False):
            return None
        await asyncio.sleep(step.after)
        found = await self._ways.enter(journey, place.workspace)
        if isinstance(found, Shut):
            return None
        self._told.count("retries", place.workspace.name, step.reason)
        return found

    async def _turn_away(self, journey: Journey, place: Place, outcome: Outcome) -> Place | None:
        """A refusal that a repeat can't mend may still be this workspace's alone."""
        now = time.monotonic()
        rests = outcome.broken is None and self.places.is_resting(place.lane, now)
        if not (outcome.about_key or rests) or not journey.draft.replayable:
            return None
        if journey.repeats >= journey.caller.extra or now >= journey.caller.deadline:
            return None
        elsewhere = await self._ways.elsewhere(journey, place.workspace, free=False)
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
            answer = ReadAnswer(
                answer, wrapped_headers(answer.headers), wrapped(answer.status, x.request_id), rest=None
            )
        if (
            outcome.status in _BUSY
            and lookup(answer.headers, b"retry-after") is None
            and outcome.should_retry is not False
        ):
            answer.headers = [*answer.headers, (b"retry-after", b"%d" % random.randint(1, MOST_TOLD))]  # noqa: S311
        return answer
