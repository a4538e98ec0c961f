"""From rows that were read to the values of `core`: buckets, budgets, teams, workspaces, one `Policy`.

A fault found here is about one row or one list of rows; what joins several parts of the file stands in `rules.py`.
"""

from collections.abc import Iterable, Mapping
from hashlib import sha256

from gateway.core.limits import MOST_UNITS, Bucket, Budget, Kind, Period
from gateway.core.prices import PriceTable
from gateway.core.teams import NO_PRICES, AdminToken, Federation, GatewayKey, Policy, Team, UpstreamKey, Workspace
from gateway.policy.rows import Row
from gateway.policy.scalars import is_id
from gateway.policy.schema import (
    CLAUDE_API,
    KINDS,
    LIMIT,
    Caller,
    Identity,
    Limit,
    Place,
    RealKey,
    Spending,
    TeamKey,
    Token,
)
from gateway.wording import either


def buckets(owner: str, limits: Iterable[Row]) -> tuple[Bucket, ...]:
    """One bucket per kind and pattern; an owner has each of them once."""
    found: dict[tuple[Kind, str], tuple[Bucket, int]] = {}
    for row in limits:
        written = [kind for kind, key in KINDS.items() if row.gave(key)]
        if not written and row.gave_only(LIMIT):
            row.at.fault(f"limits nothing; add {either(key.name for key in KINDS.values())}")
        if written == [Kind.SLOTS] and row.gave(Limit.burst_seconds):
            row.to(Limit.burst_seconds).fault("means nothing for concurrent_requests, which has no rate")
        for kind in written:
            key = KINDS[kind]
            if not row.has(key):
                continue
            bucket = Bucket(
                owner,
                kind,
                row[Limit.models],
                row[key],
                row[Limit.burst_seconds],
                row[Limit.max_wait_seconds],
                row[Limit.shadow],
            )
            fault = _misfit(bucket)
            if fault:
                row.to(key).fault(fault)
            identity = (kind, bucket.pattern)
            if identity in found:
                first = found[identity][1]
                row.to(key).fault(f"the same kind for the models '{bucket.pattern}' stands on line {first} already")
                continue
            found[identity] = (bucket, row.to(key).line)
    return tuple(bucket for bucket, _ in found.values())


def _misfit(bucket: Bucket) -> str | None:
    if bucket.kind is Kind.OBJECT_REQUESTS and bucket.pattern != "*":
        return "object requests name no model; put them into a row without 'models'"
    rate = f"{bucket.per_minute:,} per minute with burst_seconds {bucket.burst_seconds:,}"
    if bucket.capacity < 1:
        least = -(-60 // bucket.per_minute)
        return f"{rate} can never hold one whole unit; set burst_seconds to {least} or more"
    if bucket.capacity > MOST_UNITS:
        return f"{rate} holds {bucket.capacity:,}, more than {MOST_UNITS:,}; lower burst_seconds"
    return None


def budgets(owner: str, rows: Iterable[Row]) -> tuple[Budget, ...]:
    """One budget per period."""
    found: dict[Period, tuple[Budget, int]] = {}
    for row in rows:
        if not row.has(Spending.per):
            continue
        period = row[Spending.per]
        if period in found:
            row.to(Spending.per).fault(f"a budget per {period} stands on line {found[period][1]} already")
            continue
        budget = Budget(
            owner, row[Spending.usd], period, row[Spending.time_zone], row[Spending.mode], row[Spending.hold]
        )
        found[period] = (budget, row.to(Spending.per).line)
    return tuple(budget for budget, _ in found.values())


def workspace(name: str, row: Row) -> Workspace:
    return Workspace(
        name=name,
        platform=row[Place.platform],
        base_url=row[Place.base_url] or CLAUDE_API,
        keys=tuple(key for written in row[Place.keys] if (key := real_key(written)) is not None),
        buckets=buckets(f"workspace:{name}", row[Place.limits]),
        failover=row[Place.failover],
        retry_budget=row[Place.retry_budget],
        isolation=row[Place.isolation],
    )


def real_key(row: Row) -> UpstreamKey | None:
    """A key with a secret or an identity; None when its secret can't be had here."""
    identity = row[RealKey.federation]
    if identity is not None:
        federation = Federation(
            identity[Identity.identity_token_file],
            identity[Identity.federation_rule_id],
            identity[Identity.organization_id],
            identity[Identity.service_account_id],
            identity[Identity.workspace_id],
        )
        return UpstreamKey(row[RealKey.name], "", federation)
    secret = row[RealKey.secret]
    return UpstreamKey(row[RealKey.name], secret) if secret else None


def team(name: str, row: Row) -> Team:
    owner = f"team:{name}"
    return Team(
        name=name,
        workspace=row[Caller.workspace],
        keys=tuple(team_key(name, key) for key in row[Caller.keys]),
        buckets=buckets(owner, row[Caller.limits]),
        budgets=budgets(owner, row[Caller.budgets]),
        models=row[Caller.models],
        on_disconnect=row[Caller.on_disconnect],
        precount=row[Caller.precount],
        store_down=row[Caller.store_down],
        charge_as=row[Caller.unpriced_models],
        failover=row[Caller.failover],
        stored_objects=row[Caller.stored_objects],
        stored_bytes=row[Caller.stored_bytes],
        session_hold_nano=row[Caller.session_hold_usd],
    )


def team_key(team_name: str, row: Row) -> GatewayKey:
    name = row[TeamKey.name]
    owner = f"key:{team_name}/{name}"
    return GatewayKey(
        name=name,
        digest=row[TeamKey.sha256],
        expires=row[TeamKey.expires],
        buckets=buckets(owner, row[TeamKey.limits]),
        budgets=budgets(owner, row[TeamKey.budgets]),
    )


def admin_token(row: Row) -> AdminToken:
    return AdminToken(row[Token.name], row[Token.sha256], row[Token.role])


def assemble(
    version: str,
    workspaces: Mapping[str, Workspace],
    teams: Mapping[str, Team],
    *,
    admin_tokens: tuple[AdminToken, ...] = (),
    alert_webhook: str | None = None,
    prices: PriceTable = NO_PRICES,
) -> Policy:
    """The snapshot with its indexes of keys and of models. The models of the price table are known."""
    charged_as_another = {model for team in teams.values() if team.charge_as for model in team.models if is_id(model)}
    return Policy(
        version=version,
        workspaces=workspaces,
        teams=teams,
        keys={key.digest: (team, key) for team in teams.values() for key in team.keys},
        prices=prices,
        admin_tokens=admin_tokens,
        alert_webhook=alert_webhook,
        known_models=frozenset([*prices.rows, *prices.aliases]) | charged_as_another,
    )


def default_policy(*, base_url: str, secret: str, key_digest: bytes, prices: PriceTable = NO_PRICES) -> Policy:
    """Without a policy file: one workspace, one team that may use every model, no limits."""
    place = Workspace("main", base_url=base_url.rstrip("/"), keys=(UpstreamKey("k1", secret),))
    caller = Team("default", "main", keys=(GatewayKey("first", key_digest),))
    parts = (place.base_url.encode(), sha256(secret.encode()).digest(), key_digest)
    version = sha256(b"".join(sha256(part).digest() for part in parts)).hexdigest()
    return assemble(version, {place.name: place}, {caller.name: caller}, prices=prices)
