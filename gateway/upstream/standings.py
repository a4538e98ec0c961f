"""Keys, lanes and rests as plain values, for the admin API and `gateway top`. Never a key's secret."""

from typing import Any

from gateway.core.overload.keys import KeyPool
from gateway.core.teams import Policy, UpstreamKey
from gateway.upstream.lane import LaneState
from gateway.upstream.places import Places


def states(places: Places, policy: Policy, now: float, epoch: float) -> dict[str, Any]:
    """What stands behind each workspace. `epoch` is what must be added to this process's clock for epoch seconds."""
    return {
        name: {
            "keys": {key.name: _key(places.pool(name), key, epoch) for key in workspace.keys},
            "lanes": {model_class: _lane(state, now) for model_class, state in places.lanes_of(name).items()},
            "rests": [
                {
                    "model_class": model_class or None,
                    "reason": resting.rest.reason,
                    "until": round(resting.until + epoch, 3),
                }
                for model_class, resting in places.rests_of(name, now)
            ],
            "organization": places.organization_of(name),
        }
        for name, workspace in policy.workspaces.items()
    }


def _key(pool: KeyPool, key: UpstreamKey, epoch: float) -> dict[str, Any]:
    standing = pool.of(key)
    return {
        "state": standing.state,
        "reason": standing.reason or None,
        "since": round(standing.since + epoch, 3) if standing.since else None,
        "used": round(standing.used + epoch, 3) if standing.used is not None else None,
        "under_way": standing.under_way,
        "kind": "federation" if key.federation is not None else "secret",
    }


def _lane(state: LaneState, now: float) -> dict[str, Any]:
    return {
        "breaker": state.breaker.state(now),
        "window": state.window.limit,
        "under_way": state.window.under_way,
        "headroom": dict(state.headroom),
    }
