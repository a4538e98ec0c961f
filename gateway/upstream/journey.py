"""One request on its way through several attempts: what it carries, and where it may go next.

Rule: a place that was entered is either used for an attempt or left again; a place elsewhere is entered only with the
hold moved there and paid for.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.core.claims import retry_takes, workspace_takes
from gateway.core.exchange import Exchange
from gateway.core.overload.attempts import Client as Caller
from gateway.core.overload.lanes import Lane
from gateway.core.overload.stateless import is_stateless
from gateway.core.retries import Retry
from gateway.core.teams import UpstreamKey, Workspace
from gateway.platforms.platform import Draft, Platform
from gateway.store.ledger import Ledger, StoreDown
from gateway.upstream.places import Place, Places, Told
from gateway.upstream.shut import Shut, keyless, refuse, unserved


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


class Ways:
    """Which places are open to a request."""

    def __init__(self, places: Places, platforms: Mapping[str, Platform], ledger: Ledger, told: Told) -> None:
        self._places = places
        self._platforms = platforms
        self._ledger = ledger
        self._told = told

    async def first(self, journey: Journey) -> Place:
        """The team's own workspace; when that is shut, one that stands in for it."""
        x = journey.x
        assert x.team is not None
        home = x.policy.workspaces[x.team.workspace]
        if not self._platforms[home.platform].serves(journey.draft.route):
            raise unserved(home, journey.draft.route)
        found = await self.enter(journey, home)
        if isinstance(found, Place):
            return found
        elsewhere = await self.elsewhere(journey, home, free=True)
        if elsewhere is None:
            raise refuse(found)
        return elsewhere

    async def enter(self, journey: Journey, workspace: Workspace) -> Place | Shut:
        """A place in a workspace, or how long it is shut."""
        now = time.monotonic()
        key = self.key(journey, workspace, now)
        if key is None:
            return keyless(workspace)
        lane = Lane(workspace.name, journey.model_class)
        wait, resting = self._places.resting(lane, now)
        if wait and resting is not None:
            return Shut(lane, wait, resting.rest)
        state = self._places.lane(lane)
        admission = await state.enter(now, journey.caller.deadline - now)
        if admission.wait:
            return Shut(lane, admission.wait)
        looking = resting.rest.reason if resting is not None else None
        return Place(workspace, key, key, lane, state, admission.probe, looking)

    def key(self, journey: Journey, workspace: Workspace, now: float) -> UpstreamKey | None:
        assert journey.x.team is not None
        pool = self._places.pool(workspace.name)
        return pool.choose(workspace.keys, journey.x.team.name, now, but=journey.refused)

    async def elsewhere(self, journey: Journey, leaving: Workspace, *, free: bool) -> Place | None:
        """The next workspace of the failover list that is open and has room for the team's hold, if it may go there."""
        x = journey.x
        assert x.team is not None
        home = x.policy.workspaces[x.team.workspace]
        if not (x.team.failover and home.failover and is_stateless(journey.draft.route, journey.draft.body)):
            return None
        left = {leaving.name, *journey.left}
        refused, journey.refused = journey.refused, set()
        for name in self._places.by_headroom((n for n in home.failover if n not in left), journey.model_class):
            workspace = x.policy.workspaces[name]
            if not self._platforms[workspace.platform].serves(journey.draft.route):
                continue
            place = await self.enter(journey, workspace)
            if isinstance(place, Shut):
                continue
            paid = False
            try:
                paid = await self.paid(journey, leaving.name, workspace, moves=True, free=free)
            finally:
                if not paid:
                    place.state.leave()
            if paid:
                journey.left.append(leaving.name)
                return place
        journey.refused = refused
        return None

    async def paid(self, journey: Journey, leaving: str, workspace: Workspace, *, moves: bool, free: bool) -> bool:
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

    def is_shut(self, place: Place) -> bool:
        now = time.monotonic()
        return place.state.breaker.state(now) != "closed" or self._places.is_resting(place.lane, now)
