"""What this process knows of its workspaces: their lanes, their rests and their keys. Every change is told once.

The decisions stand in core/overload/; here they meet the clock, the dice and the observer.
"""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.core.headers import lookup
from gateway.core.http import Headers
from gateway.core.overload.attempts import Outcome
from gateway.core.overload.headroom import LOW, headroom_of
from gateway.core.overload.keys import KeyPool, KeyState
from gateway.core.overload.lanes import Lane
from gateway.core.overload.rests import Resting, rest_of
from gateway.core.teams import Policy, UpstreamKey, Workspace
from gateway.upstream.lane import LaneState

# A change of less than this in a share of a limit is not worth a gauge's update.
_NOTICEABLE = 0.01
# Nor is a second look within this many seconds: it would cost as much as all the rest of an attempt.
_LOOK_EVERY = 0.5


class Told(Protocol):
    """Where changes are told: a log line for an operator, and metrics."""

    def overload(self, event: str, **facts: Any) -> None: ...

    def gauge(self, name: str, value: float, *labels: str) -> None: ...

    def count(self, name: str, *labels: str) -> None: ...


@dataclass(slots=True)
class Place:
    """Where one attempt goes. `probe` and `looking`: it is let through to see whether Claude is back."""

    workspace: Workspace
    key: UpstreamKey
    sent: UpstreamKey  # the same, with the token of the moment in place of a federation
    lane: Lane
    state: LaneState
    probe: bool = False
    looking: str | None = None


class Places:
    """`wall` and `now` are the two clocks; `roll` is in [0, 1)."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._lanes: dict[Lane, LaneState] = {}
        self._rests: dict[tuple[str, str], Resting] = {}  # by lane, by (workspace, ""), by ("organization/ID", "")
        self._organizations: dict[str, str] = {}
        self._pools: dict[str, KeyPool] = {}

    def lane(self, lane: Lane) -> LaneState:
        state = self._lanes.get(lane)
        if state is None:
            state = self._lanes[lane] = LaneState()
        return state

    def pool(self, workspace: str) -> KeyPool:
        pool = self._pools.get(workspace)
        if pool is None:
            pool = self._pools[workspace] = KeyPool()
        return pool

    # Rests.

    def resting(self, lane: Lane, now: float) -> tuple[float, Resting | None]:
        """How long a lane has to rest yet, and why. 0 with a rest: this call goes to look whether it is over."""
        longest: tuple[float, Resting | None] = (0.0, None)
        for name in self._names(lane):
            resting = self._rests.get(name)
            if resting is None:
                continue
            if now >= resting.until:
                del self._rests[name]
                continue
            wait = resting.wait(now)
            if wait > longest[0] or longest[1] is None:
                longest = (wait, resting)
        return longest

    def is_resting(self, lane: Lane, now: float) -> bool:
        """Whether calls of the lane are kept back; unlike `resting` it lets nobody through to look."""
        found = (self._rests.get(name) for name in self._names(lane))
        return any(resting is not None and now < resting.until for resting in found)

    def _names(self, lane: Lane) -> Iterator[tuple[str, str]]:
        if not self._rests:
            return
        yield lane
        yield (lane.workspace, "")
        if (organization := self._organizations.get(lane.workspace)) is not None:
            yield (_organization(organization), "")

    def _rest(self, place: Place, outcome: Outcome, headers: Headers, now: float, wall: float) -> bool:
        rest = rest_of(outcome, headers, wall)
        if rest is None:
            return False
        lane = place.lane
        organization = self._organizations.get(lane.workspace)
        if rest.scope == "lane":
            name: tuple[str, str] = lane
        elif rest.scope == "workspace" or organization is None:
            name = (lane.workspace, "")
        else:
            name = (_organization(organization), "")
        known = self._rests.get(name)
        if known is not None and known.until > now and known.rest.reason == rest.reason:
            known.until = max(known.until, now + rest.seconds)
            return True
        self._rests[name] = Resting.begin(rest, now)
        self._told.count("rests", lane.workspace, rest.reason)
        self._told.gauge("rest_until", wall + rest.seconds, *name)
        self._told.overload(
            "rest", workspace=lane.workspace, scope=rest.scope, model_class=name[1] or None, reason=rest.reason,
            seconds=round(rest.seconds, 1), organization=organization if rest.scope == "organization" else None,
        )  # fmt: skip
        return True

    def _wake(self, place: Place, wall: float) -> None:
        for name in list(self._names(place.lane)):
            resting = self._rests.get(name)
            if resting is not None and resting.rest.reason == place.looking:
                del self._rests[name]
                self._told.gauge("rest_until", wall, *name)
                self._told.overload("rest_over", workspace=name[0], model_class=name[1] or None, reason=place.looking)

    # What an attempt taught.

    def learn(self, place: Place, outcome: Outcome, headers: Headers, now: float, wall: float) -> None:
        """Take in how an attempt ended, before anything is decided about the next one."""
        lane, state = place.lane, place.state
        if outcome.broken is not None and outcome.broken.fault in {"tls", "proxy"}:
            return  # a mistake on the way, which its own error names better than a breaker would
        failed = outcome.broken is not None or outcome.status >= 500 or outcome.first_event_error is not None
        changed = state.breaker.record(now, failed=failed, probe=place.probe, roll=random.random())  # noqa: S311 - jitter
        if changed:
            if not failed:
                state.window.forget()
            self._told.gauge("breaker_open", float(failed), *lane)
            self._told.overload("breaker_open" if failed else "breaker_closed", **lane._asdict())
        if outcome.broken is not None:
            return
        before = state.window.limit
        state.window.record(now, refused=outcome.status == 529 or outcome.first_event_error == "overloaded_error")
        if state.window.limit != before:
            self._told.gauge("window", state.window.limit or 0, *lane)
            state.wake()
        if now >= state.look_again or outcome.status in {400, 429}:  # what rests may rest a whole organization
            state.look_again = now + _LOOK_EVERY
            self._learn_from(headers, lane, state)
        rested = self._rest(place, outcome, headers, now, wall)
        if place.looking is not None and not rested:
            self._wake(place, wall)
        if not (failed or outcome.about_key) and self.pool(lane.workspace).worked(place.key, now):
            self._key_changed(place.workspace.name, place.key, "active")
            self._told.overload("key_back", workspace=lane.workspace, key=place.key.name)

    def _learn_from(self, headers: Headers, lane: Lane, state: LaneState) -> None:
        organization = lookup(headers, b"anthropic-organization-id")
        if organization is not None and lane.workspace not in self._organizations:
            self._organizations[lane.workspace] = organization.decode("latin-1")[:64]
        for limit, share in headroom_of(headers).items():
            if abs(state.headroom.get(limit, 2.0) - share) >= _NOTICEABLE:
                state.headroom[limit] = share
                self._told.gauge("headroom", share, *lane, limit)

    # Keys.

    def bench(self, place: Place, outcome: Outcome, now: float) -> None:
        """Claude refused the key itself, and there is no newer token to try."""
        reason = f"{outcome.status} {outcome.code or outcome.type}".strip()
        if self.pool(place.workspace.name).bench(place.key, reason, now):
            self._key_changed(place.workspace.name, place.key, "benched")
            self._told.overload("key_benched", workspace=place.workspace.name, key=place.key.name, reason=reason)

    def left(self, place: Place, now: float) -> None:
        """An attempt is over for good: its answer was relayed, or thrown away."""
        place.state.leave()
        if self.pool(place.workspace.name).done(place.key, now):
            self._silent(place.workspace.name, place.key)

    def _silent(self, workspace: str, key: UpstreamKey) -> None:
        """The policy has dropped the key and no call is out with it: for this process it may be revoked."""
        self._told.overload("key_silent", workspace=workspace, key=key.name)

    def set_key(self, workspace: Workspace, key: str, state: KeyState, now: float) -> None:
        """An operator's word. KeyError when the workspace has no such key."""
        found = next((each for each in workspace.keys if each.name == key), None)
        if found is None:
            raise KeyError(f"workspace '{workspace.name}' has no key '{key}'")
        self.pool(workspace.name).set(found, state, now)
        self._key_changed(workspace.name, found, state)
        self._told.overload("key_set", workspace=workspace.name, key=key, state=state)

    def _key_changed(self, workspace: str, key: UpstreamKey, state: KeyState) -> None:
        for each in ("active", "draining", "benched"):
            self._told.gauge("keys", float(each == state), workspace, key.name, each)

    def adopt(self, policy: Policy) -> None:
        """A policy came into force: its keys are shown, those it no longer has are forgotten."""
        for workspace in policy.workspaces.values():
            pool = self.pool(workspace.name)
            for key in pool.keep(workspace.keys):
                self._silent(workspace.name, key)
            for key in workspace.keys:
                self._key_changed(workspace.name, key, pool.of(key).state)

    def by_headroom(self, names: Iterable[str], model_class: str) -> list[str]:
        """Workspaces in their order, those that are nearly full last, the emptier of them first."""
        shares = {name: self._headroom(Lane(name, model_class)) for name in names}
        return sorted(shares, key=lambda name: 0.0 if shares[name] >= LOW else 1.0 - shares[name])

    def _headroom(self, lane: Lane) -> float:
        state = self._lanes.get(lane)
        return 1.0 if state is None else state.least_headroom

    def lanes_of(self, workspace: str) -> dict[str, LaneState]:
        return {lane.model_class: state for lane, state in self._lanes.items() if lane.workspace == workspace}

    def rests_of(self, workspace: str, now: float) -> list[tuple[str, Resting]]:
        """The rests in force that concern a workspace, by model class; "" for all of it."""
        names = [(workspace, name) for name in self.lanes_of(workspace)]
        names += [(workspace, ""), (_organization(self.organization_of(workspace) or ""), "")]
        found = [(name[1], self._rests.get(name)) for name in names]
        return [(name, resting) for name, resting in found if resting is not None and now < resting.until]

    def organization_of(self, workspace: str) -> str | None:
        return self._organizations.get(workspace)


def _organization(id: str) -> str:
    return f"organization/{id}"
