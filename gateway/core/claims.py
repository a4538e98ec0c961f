"""From a judged request to what it claims. Pure: the ledger holds it, `billing` says what became of it."""

from collections.abc import Iterable
from dataclasses import replace
from typing import assert_never

from gateway.core.cost import Ask, held
from gateway.core.errors import GatewayError, whole_seconds
from gateway.core.exchange import Exchange, Expected
from gateway.core.judge import UNBOUNDED_OUTPUT, UNBOUNDED_SEARCHES, Asked
from gateway.core.limits import Bucket, Budget, Claim, Granted, Kind, Ref, Refused, Standing, Verdict
from gateway.core.prices import missing_price
from gateway.core.retries import deposit_of
from gateway.core.routes import Route, Weigh
from gateway.core.standing import rfc3339
from gateway.core.teams import Team, Workspace

# Which buckets a call draws on. Reads of models and the gateway's own answers are free.
_KINDS: dict[Weigh, tuple[Kind, ...]] = {
    Weigh.TOKENS: (Kind.REQUESTS, Kind.TOKENS, Kind.INPUT, Kind.OUTPUT, Kind.SLOTS),
    Weigh.COUNT: (Kind.COUNT_REQUESTS,),
    Weigh.BATCH: (Kind.OBJECT_REQUESTS,),
    Weigh.OBJECT: (Kind.OBJECT_REQUESTS,),
    Weigh.SESSION: (Kind.OBJECT_REQUESTS,),
    Weigh.FREE: (),  # never claimed
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

_PERIODS = {"day": "daily", "month": "monthly"}


def claim_for(x: Exchange, asked: Asked | None, now: float) -> Claim:
    """Everything one request takes, of its key, its team and its workspace. 403 for a model without a price."""
    assert x.team is not None
    assert x.key is not None
    assert x.route is not None
    workspace = x.policy.workspaces[x.team.workspace]
    buckets = [*_matching(x, x.key.buckets), *_matching(x, x.team.buckets), *_matching(x, workspace.buckets)]
    amounts = _amounts(x, asked, now)
    return Claim(
        x.hold,
        x.team.name,
        x.key.name,
        x.team.workspace,
        tuple((bucket, _amount(bucket, x.expected)) for bucket in buckets),
        tuple((budget, amounts[budget.hold]) for budget in (*x.key.budgets, *x.team.budgets) if amounts),
        model=_booked_under(x, now),
        kind=x.route.name,
        at_least=tuple(_least(bucket, x.expected) for bucket in buckets),
        # What makes or names owned objects can't do without the store, whatever the policy.
        store_down="closed" if x.route.weigh in (Weigh.BATCH, Weigh.SESSION) else x.team.store_down,
        leased=not goes_on(x.route),
        nano=amounts.get("expected", 0),
        retry_deposit=deposit_of(workspace.retry_budget),
    )


def workspace_takes(x: Exchange, workspace: Workspace) -> tuple[tuple[tuple[Bucket, int], ...], tuple[int, ...]]:
    """What the request takes of another workspace when it moves there, and the least of each."""
    buckets = _matching(x, workspace.buckets)
    takes = tuple((bucket, _amount(bucket, x.expected)) for bucket in buckets)
    return takes, tuple(_least(bucket, x.expected) for bucket in buckets)


def retry_takes(x: Exchange, workspace: Workspace) -> tuple[tuple[tuple[Bucket, int], ...], tuple[int, ...]]:
    """What one more attempt takes where the hold is already: a request, no more."""
    buckets = [bucket for bucket in _matching(x, workspace.buckets) if bucket.kind in _COUNTED]
    return tuple((bucket, 1) for bucket in buckets), (1,) * len(buckets)


_COUNTED = frozenset({Kind.REQUESTS, Kind.COUNT_REQUESTS, Kind.OBJECT_REQUESTS})


def count_claim(x: Exchange) -> Claim:
    """What an exact count takes before the call itself is claimed: a unit of the caller's own count limits."""
    assert x.team is not None
    assert x.key is not None
    takes = tuple(
        (bucket, 1)
        for bucket in (*x.key.buckets, *x.team.buckets)
        if bucket.kind is Kind.COUNT_REQUESTS and any(x.policy.covers(bucket.pattern, model) for model in x.models)
    )
    return Claim(
        f"{x.hold}.count", x.team.name, x.key.name, x.team.workspace, takes, kind="precount",
        store_down=x.team.store_down,
    )  # fmt: skip


def _matching(x: Exchange, buckets: Iterable[Bucket]) -> list[Bucket]:
    assert x.route is not None
    kinds = _KINDS[x.route.weigh]
    return [
        bucket
        for bucket in buckets
        if bucket.kind in kinds and any(x.policy.covers(bucket.pattern, model) for model in x.models)
    ]


def _booked_under(x: Exchange, now: float) -> str:
    """The model of the ledger row: a name that a client made up never becomes a row of its own."""
    assert x.team is not None
    if not x.model or x.policy.prices.find(x.model, now) is not None:
        return x.policy.canonical(x.model)
    return x.team.charge_as or "other"


def goes_on(route: Route) -> bool:
    """Whether the hold outlives the call. A deployment is only watched: its runs have no call that could hold."""
    return bool(route.starts) and route.weigh in (Weigh.BATCH, Weigh.SESSION)


def _amount(bucket: Bucket, expected: Expected) -> int:
    match bucket.kind:
        case Kind.INPUT:
            return expected.input
        case Kind.OUTPUT:
            return expected.output
        case Kind.TOKENS:
            return expected.input + expected.output
        case _:
            return 1


def _least(bucket: Bucket, expected: Expected) -> int:
    match bucket.kind:
        case Kind.INPUT | Kind.TOKENS:
            return expected.input_at_least
        case Kind.OUTPUT:
            return 0
        case _:
            return 1


def _amounts(x: Exchange, asked: Asked | None, now: float) -> dict[str, int]:
    """The nano-dollars that a budget holds, by its `hold`; none for what is free.

    At least the price of every model is checked, so that nothing unpriced leaves. What runs in a session can't be told
    beforehand: its creation holds a fixed amount, and new events only ask whether anything is left.
    """
    assert x.team is not None
    assert x.key is not None
    assert x.route is not None
    if x.route.weigh is Weigh.SESSION:
        fixed = x.team.session_hold_nano if x.route.starts else 0
        return {"expected": fixed, "maximum": fixed}
    if asked is None or x.route.weigh not in (Weigh.TOKENS, Weigh.BATCH):
        return {}
    expected = Ask(
        asked.models,
        x.expected.prompt,
        x.expected.output,
        fast=x.expected.fast,
        us=x.expected.us,
        batch=x.route.weigh is Weigh.BATCH,
    )
    nano = held(x.policy.prices, expected, when=now, charge_as=x.team.charge_as)
    if nano is None:
        missing = next(model for model in asked.models if x.policy.prices.find(model, now) is None)
        raise GatewayError("not_allowed", missing_price(missing))
    amounts = {"expected": nano}
    if any(budget.hold == "maximum" for budget in (*x.key.budgets, *x.team.budgets)):
        amounts["maximum"] = _dearest(x, asked, expected, now)
    return amounts


def _dearest(x: Exchange, asked: Asked, expected: Ask, now: float) -> int:
    """What the call may cost when everything that it asks for happens: every bound reached, the dearest model, all of
    a marked prompt written to the cache for an hour, each adviser asked as often as it may be."""
    assert x.team is not None
    weighed, prices = asked.weighed, x.policy.prices
    chosen = prices.dearest(now) if weighed is not None and weighed.default_fallbacks else None
    most = replace(
        expected,
        models=(*expected.models, chosen.model) if chosen is not None else expected.models,
        output=x.expected.output_at_most,
        web_searches=x.expected.web_searches,
        cache_write="1h" if weighed is not None and weighed.cacheable else None,
    )
    nano = held(prices, most, when=now, charge_as=x.team.charge_as) or 0
    for tool in weighed.tools if weighed is not None else ():
        if tool.model is not None:
            output = UNBOUNDED_OUTPUT if tool.max_tokens is None else tool.max_tokens
            advice = replace(expected, models=(tool.model,), output=output, fast=False)
            each = held(prices, advice, when=now, charge_as=x.team.charge_as) or 0
            nano += each * (UNBOUNDED_SEARCHES if tool.max_uses is None else tool.max_uses)
    return nano


def admitted(team: Team, claim: Claim, verdict: Verdict, now: float) -> None:
    """Nothing for a granted claim; the refusal, in words, for the other."""
    match verdict:
        case Granted():
            return
        case Refused():
            raise refusal(team, claim, verdict, now)
        case _:
            assert_never(verdict)


def refusal(team: Team, claim: Claim, refused: Refused, now: float) -> GatewayError:
    """What is said to a team whose claim was refused: which limit, how long, and nothing of other teams."""
    match refused.by:
        case Bucket() as bucket:
            return _limit_refusal(team, bucket, refused)
        case Budget() as budget:
            return _budget_refusal(budget, claim, refused, now)
        case Ref() as ref:
            return GatewayError("not_found", f"{ref.kind} {ref.id} was not found.")
        case _:
            assert_never(refused.by)


def _limit_refusal(team: Team, bucket: Bucket, refused: Refused) -> GatewayError:
    seconds = whole_seconds(refused.retry_after_seconds)
    models = "" if bucket.pattern == "*" else f" for {bucket.pattern}"
    limit = f"{bucket.per_minute:,} {_UNITS[bucket.kind]}{models}"
    whose = {"key": "This key", "team": f"Team '{team.name}'"}.get(bucket.owner.partition(":")[0])
    if refused.never:
        return GatewayError(
            "malformed",
            f"The request alone needs more than a full limit of {limit} holds ({bucket.capacity:,}). Send less.",
        )
    said = f"{whose} has used its {limit}." if whose else f"The teams of this workspace have used their {limit}."
    unit = "second" if seconds == 1 else "seconds"
    return GatewayError("rate_limited", f"{said} Retry in {seconds} {unit}.", retry_after=refused.retry_after_seconds)


def _budget_refusal(budget: Budget, claim: Claim, refused: Refused, now: float) -> GatewayError:
    """Claude Code knows these words and does not repeat the call (fact sheet 2.5)."""
    if refused.unavailable:
        return GatewayError(
            "budget_exhausted", "spend limit unavailable: the gateway lost its record of what was spent. "
            "The platform team must rebuild it.", retry_after=refused.retry_after_seconds,
        )  # fmt: skip
    standing = _standing(budget, refused.standings)
    resets = standing.resets if standing is not None else now + refused.retry_after_seconds
    if refused.held:
        return GatewayError(
            "rate_limited",
            "The rest of the budget is held by requests under way. Retry when they have ended.",
            retry_after=refused.retry_after_seconds,
        )
    when = rfc3339(resets).replace("T", " ").removesuffix(":00Z") + " UTC"
    said = f"spend limit reached ({_PERIODS[budget.per]}; resets {when})"
    if standing is None or standing.spent_nano >= standing.ceiling_nano:
        return GatewayError("budget_exhausted", said, retry_after=max(0.0, resets - now))
    # There is money, but less than this call may cost: a smaller one may pass.
    left = standing.ceiling_nano - standing.spent_nano
    asks = next((nano for one, nano in claim.spends if one == budget), 0)
    said += f". The request may cost {_dollars(asks)}"
    if asks > standing.ceiling_nano:
        # Not even an untouched budget would do, so there is no time at which to come again.
        said += f", more than the whole {_PERIODS[budget.per]} budget of {_dollars(standing.ceiling_nano)}. Send less."
        return GatewayError("budget_exhausted", said)
    said += f" and {_dollars(left)} is left. Send less, or wait."
    return GatewayError("budget_exhausted", said, retry_after=max(0.0, resets - now))


def _dollars(nano: int) -> str:
    """Enough digits to tell a cent's fraction, without the noise of an estimate: $1,234.50, $0.0125, under $0.0001."""
    if 0 < nano < 100_000:
        return "under $0.0001"
    return f"${nano / 1e9:,.4f}".removesuffix("00")


def _standing(budget: Budget, standings: tuple[Standing, ...]) -> Standing | None:
    return next((standing for standing in standings if standing.budget == budget), None)
