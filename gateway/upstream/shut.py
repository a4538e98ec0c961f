"""What a team is told when nothing is sent for it: the way is shut, for how long, and by whom."""

from dataclasses import dataclass

from gateway.core.errors import GatewayError, whole_seconds
from gateway.core.overload.attempts import Outcome
from gateway.core.overload.keys import SECOND_CHANCE
from gateway.core.overload.lanes import Lane
from gateway.core.overload.rests import Rest
from gateway.core.routes import Route
from gateway.core.teams import Workspace


@dataclass(frozen=True, slots=True)
class Shut:
    """A lane that lets nobody through for so many seconds; a rest says why, else Claude is overloaded."""

    lane: Lane
    seconds: float
    rest: Rest | None = None
    keyless: GatewayError | None = None


def keyless(workspace: Workspace) -> Shut:
    if workspace.keys:
        error = GatewayError(
            "workspace_key",
            f"Claude refuses every key of workspace '{workspace.name}'. This is not about your gateway key: the "
            "platform team must look at the workspace.",
            retry_after=SECOND_CHANCE,
        )
    else:
        error = GatewayError(
            "workspace_key",
            f"Workspace '{workspace.name}' has no key. The platform team must add one to the gateway's policy.",
        )
    return Shut(Lane(workspace.name, ""), SECOND_CHANCE, keyless=error)


def refuse(shut: Shut) -> GatewayError:
    """The refusal, with a wait that is true."""
    if shut.keyless is not None:
        return shut.keyless
    seconds = whole_seconds(shut.seconds)
    unit = "second" if seconds == 1 else "seconds"
    if shut.rest is None:
        return GatewayError(
            "overloaded",
            f"Claude is overloaded or down, and the gateway asks it only now and then. Retry in {seconds} {unit}.",
            retry_after=shut.seconds,
        )
    if shut.rest.reason == "usage_limit":
        # Claude's own words: the clients know them, and they name the date.
        return GatewayError("usage_limit", shut.rest.outcome.message, retry_after=shut.seconds)
    return GatewayError(
        "rate_limited",
        f"The workspace has used what Claude allows it for these models. Retry in {seconds} {unit}.",
        retry_after=shut.seconds,
    )


def refused_key(outcome: Outcome, workspace: str, key: str) -> GatewayError:
    return GatewayError(
        "workspace_key",
        "Claude refused the workspace's own key. This is not about your gateway key: the platform team must "
        "look at the workspace.",
        detail=f"upstream {outcome.status} for key '{key}' of workspace '{workspace}'",
    )


def unserved(workspace: Workspace, route: Route) -> GatewayError:
    return GatewayError("not_found", f"The platform of workspace '{workspace.name}' does not serve {route.path}.")
