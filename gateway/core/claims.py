"""From a judged request to what it claims, and from its end to what it used. Pure: the ledger does the rest."""

from typing import assert_never

from gateway.core.errors import GatewayError, whole_seconds
from gateway.core.exchange import Exchange
from gateway.core.judge import Asked
from gateway.core.limits import Bucket, Budget, Claim, Granted, Kind, Ref, Refused, Settlement, Verdict
from gateway.core.routes import Weigh
from gateway.core.teams import Team

# Which buckets a call draws on. Reads of models and the gateway's own answers are free.
_KINDS: dict[Weigh, tuple[Kind, ...]] = {
    Weigh.TOKENS: (Kind.REQUESTS, Kind.SLOTS),
    Weigh.COUNT: (Kind.COUNT_REQUESTS,),
    Weigh.BATCH: (Kind.OBJECT_REQUESTS,),
    Weigh.OBJECT: (Kind.OBJECT_REQUESTS,),
    Weigh.SESSION: (Kind.OBJECT_REQUESTS,),
    Weigh.FREE: (),
}

_UNITS: dict[Kind, str] = {
    Kind.REQUESTS: "requests per minute",
    Kind.TOKENS: "tokens per minute",
    Kind.INPUT: "input tokens per minute",
    Kind.OUTPUT: "output tokens per minute",
    Kind.SLOTS: "concurrent requests",
    Kind.COUNT_REQUESTS: "token counts per minute",
    Kind.OBJECT_REQUESTS: "object requests per minute",
}


def claim_for(x: Exchange, asked: Asked | None) -> Claim:
    """Everything one request takes, of its key, its team and its workspace."""
    assert x.team is not None
    assert x.key is not None
    assert x.route is not None
    kinds = _KINDS[x.route.weigh]
    models = asked.models if asked is not None else ("",)
    workspace = x.policy.workspaces[x.team.workspace]
    takes = tuple(
        (bucket, 1)
        for buckets in (x.key.buckets, x.team.buckets, workspace.buckets)
        for bucket in buckets
        if bucket.kind in kinds and any(x.policy.covers(bucket.pattern, model) for model in models)
    )
    return Claim(x.hold, x.team.name, x.key.name, x.team.workspace, takes, model=x.model, kind=x.route.name)


def admitted(team: Team, verdict: Verdict) -> None:
    """Nothing for a granted claim; the refusal, in words, for the other."""
    match verdict:
        case Granted():
            return
        case Refused():
            raise refusal(team, verdict)
        case _:
            assert_never(verdict)


def refusal(team: Team, refused: Refused) -> GatewayError:
    """What is said to a team whose claim was refused: which limit, how long, and nothing of other teams."""
    seconds = whole_seconds(refused.retry_after_seconds)
    match refused.by:
        case Bucket() as bucket:
            return _limit_refusal(team, bucket, refused, seconds)
        case Budget():
            return GatewayError("budget_exhausted", "spend limit reached", retry_after=seconds)
        case Ref() as ref:
            return GatewayError("not_found", f"{ref.kind} {ref.id} was not found.")
        case _:
            assert_never(refused.by)


def _limit_refusal(team: Team, bucket: Bucket, refused: Refused, seconds: int) -> GatewayError:
    models = "" if bucket.pattern == "*" else f" for {bucket.pattern}"
    limit = f"{bucket.per_minute:,} {_UNITS[bucket.kind]}{models}"
    whose = {"key": "This key", "team": f"Team '{team.name}'"}.get(bucket.owner.partition(":")[0])
    if refused.never:
        return GatewayError("malformed", f"The request alone needs more than the limit of {limit} can ever hold.")
    said = f"{whose} has used its {limit}." if whose else f"The teams of this workspace together have used its {limit}."
    unit = "second" if seconds == 1 else "seconds"
    return GatewayError("rate_limited", f"{said} Retry in {seconds} {unit}.", retry_after=refused.retry_after_seconds)


def settlement_for(x: Exchange) -> Settlement:
    """What the ledger books when the request is over."""
    if x.usage is None:
        return Settlement(produced=False)
    run = x.usage.total()
    wrote = run.cache_write_5m + run.cache_write_1h
    return Settlement(
        input=run.input + wrote,
        output=run.output,
        nano=x.cost_nano,
        produced=run.output > 0 or run.input > 0,
        estimated=x.usage.estimated,
    )
