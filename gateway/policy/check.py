"""What `gateway check` says of a policy file: every fault with its place, or a summary and what deserves a look.

The checks themselves stand in `rules.py`. The summary names keys and never shows one, so it is fit for a ticket.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.core.limits import Bucket, Budget, Kind
from gateway.core.prices import PriceTable
from gateway.core.teams import Policy
from gateway.policy.faults import Finding, PolicyFaults
from gateway.policy.load import load
from gateway.policy.scalars import NANO
from gateway.policy.schema import KINDS


@dataclass(frozen=True, slots=True)
class Report:
    """`lines` for people, `data` for `--json`; both say the same."""

    exit_code: int
    lines: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)


def check(
    file: Path,
    env: Mapping[str, str],
    *,
    prices: PriceTable | Path | None = None,
    served: Collection[str] = ("claude",),
    need_secrets: bool = True,
    now: float | None = None,
) -> Report:
    """Loads the file as the gateway would; the arguments are `load`'s."""
    try:
        loaded = load(file, env, prices=prices, served=served, need_secrets=need_secrets, now=now)
    except PolicyFaults as faults:
        lines = [*map(str, faults.faults), f"{file}: {_count(len(faults.faults), 'fault')}"]
        return Report(1, lines, {"ok": False, "file": str(file), "faults": _findings(faults.faults)})
    summary = described(loaded.policy)
    lines = [f"{file}: ok, version {loaded.policy.version[:12]}", *_lines(summary)]
    if loaded.notices:
        lines += ["notices:", *(f"  {notice}" for notice in loaded.notices)]
    return Report(0, lines, {"ok": True, "file": str(file), **summary, "notices": _findings(loaded.notices)})


def described(policy: Policy) -> dict[str, Any]:
    """The policy in plain values, secrets and digests left out."""
    return {
        "version": policy.version,
        "workspaces": {
            place.name: {
                "platform": place.platform,
                "base_url": place.base_url,
                "keys": [key.name for key in place.keys],
                "limits": _limits(place.buckets),
                "failover": list(place.failover),
                "retry_budget": place.retry_budget,
                "isolation": place.isolation,
                "teams": [team.name for team in policy.teams.values() if team.workspace == place.name],
            }
            for place in policy.workspaces.values()
        },
        "teams": {
            team.name: {
                "workspace": team.workspace,
                "keys": [
                    {
                        "name": key.name,
                        "expires": None
                        if key.expires is None
                        else datetime.fromtimestamp(key.expires, UTC).isoformat(),
                        "limits": _limits(key.buckets),
                        "budgets": _budgets(key.budgets),
                    }
                    for key in team.keys
                ],
                "limits": _limits(team.buckets),
                "budgets": _budgets(team.budgets),
                "models": list(team.models),
                "on_disconnect": team.on_disconnect,
                "precount": team.precount,
                "store_down": team.store_down,
                "unpriced_models": "refuse" if team.charge_as is None else {"charge_as": team.charge_as},
                "failover": team.failover,
                "stored_objects": team.stored_objects,
                "stored_bytes": team.stored_bytes,
                "session_hold_usd": team.session_hold_nano / NANO,
            }
            for team in policy.teams.values()
        },
        "admin_tokens": [{"name": token.name, "role": token.role} for token in policy.admin_tokens],
        "alerts": policy.alert_webhook is not None,
    }


def _limits(buckets: Iterable[Bucket]) -> list[dict[str, Any]]:
    return [
        {
            "models": bucket.pattern,
            KINDS[bucket.kind].name: bucket.per_minute,
            "burst_seconds": bucket.burst_seconds,
            "max_wait_seconds": bucket.max_wait_seconds,
            "shadow": bucket.shadow,
        }
        for bucket in buckets
    ]


def _budgets(budgets: Iterable[Budget]) -> list[dict[str, Any]]:
    return [
        {
            "usd": budget.ceiling_nano / NANO,
            "per": budget.per,
            "time_zone": budget.time_zone,
            "mode": budget.mode,
            "hold": budget.hold,
        }
        for budget in budgets
    ]


def _lines(summary: dict[str, Any]) -> list[str]:
    lines = ["workspaces:"]
    for name, place in summary["workspaces"].items():
        keys = f"{_count(len(place['keys']), 'key')}" + (f" ({', '.join(place['keys'])})" if place["keys"] else "")
        lines.append(f"  {name}: {place['platform']} at {place['base_url']}, {keys}, isolation {place['isolation']}")
        lines += [f"    {limit}" for limit in map(_limit_line, place["limits"])]
        if place["failover"]:
            lines.append(f"    fails over to {', '.join(place['failover'])}")
    lines.append("teams:")
    for name, team in summary["teams"].items():
        keys = ", ".join(
            key["name"] + (f" until {key['expires'][:10]}" if key["expires"] else "") for key in team["keys"]
        )
        lines.append(
            f"  {name} on {team['workspace']}: {_count(len(team['keys']), 'key')}" + (f" ({keys})" if keys else "")
        )
        lines.append(f"    models {', '.join(team['models'])}")
        lines += [f"    {line}" for line in _allowance_lines(team)]
        for key in team["keys"]:
            lines += [f"    key {key['name']}: {line}" for line in _allowance_lines(key)]
    if summary["admin_tokens"]:
        tokens = ", ".join(f"{token['name']} ({token['role']})" for token in summary["admin_tokens"])
        lines.append(f"admin tokens: {tokens}")
    return lines


def _allowance_lines(owner: dict[str, Any]) -> list[str]:
    limits = [_limit_line(limit) for limit in owner["limits"]]
    return limits + [
        f"budget of ${budget['usd']:,.2f} per {budget['per']} ({budget['time_zone']}), {budget['mode']}"
        for budget in owner["budgets"]
    ]


_RATES = {key.name: kind for kind, key in KINDS.items()}


def _limit_line(limit: dict[str, Any]) -> str:
    rate, amount = next((name, limit[name]) for name in limit if name in _RATES)
    models = "every model" if limit["models"] == "*" else limit["models"]
    burst = "" if _RATES[rate] is Kind.SLOTS else f", up to {amount * limit['burst_seconds'] // 60:,} at once"
    shadow = ", shadow" if limit["shadow"] else ""
    wait = f", waits up to {limit['max_wait_seconds']:g} s" if limit["max_wait_seconds"] else ""
    return f"{rate} {amount:,} for {models}{burst}{wait}{shadow}"


def _findings(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    return [asdict(finding) for finding in findings]


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
