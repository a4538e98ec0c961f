"""How budgets are told: where each one stands, and what happens when its spend goes over a threshold.

The store says a crossing once, whichever replica booked it. Here it becomes one log line, one count and one call of the
policy's webhook, each with the same facts.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.core.limits import Budget, Period, Standing
from gateway.core.periods import span
from gateway.core.standing import rfc3339
from gateway.core.teams import Policy
from gateway.store.ledger import Ledger, Observer

PEEK = 200  # budgets in one question to the store
_WORDS = {"day": "daily", "month": "monthly"}


@dataclass(frozen=True, slots=True)
class Owned:
    """A budget, and whose it is; `key` is empty for a team's own."""

    team: str
    key: str
    budget: Budget

    @property
    def whose(self) -> str:
        return f"Key '{self.key}' of team '{self.team}'" if self.key else f"Team '{self.team}'"


def owned(policy: Policy) -> Iterator[Owned]:
    """Every budget of a policy."""
    for team in policy.teams.values():
        yield from (Owned(team.name, "", budget) for budget in team.budgets)
        for key in team.keys:
            yield from (Owned(team.name, key.name, budget) for budget in key.budgets)


async def standings(ledger: Ledger, budgets: Sequence[Owned]) -> list[tuple[Owned, Standing]]:
    """Where each of these budgets stands now. Raises StoreDown."""
    found: list[tuple[Owned, Standing]] = []
    for start in range(0, len(budgets), PEEK):
        some = budgets[start : start + PEEK]
        seen = await ledger.peek([], [one.budget for one in some])
        found += zip(some, seen.standings, strict=True)
    return found


def record_of(one: Owned, standing: Standing) -> dict[str, Any]:
    """A budget's standing for the admin API; `usd` includes what a raise adds until it ends."""
    return {
        "team": one.team,
        "key": one.key or None,
        "per": one.budget.per,
        "usd": standing.ceiling_nano / 1e9,
        "raised_usd": (standing.ceiling_nano - one.budget.ceiling_nano) / 1e9,
        "spent_usd": standing.spent_nano / 1e9,
        "held_usd": standing.held_nano / 1e9,
        "remaining_usd": max(0, standing.ceiling_nano - standing.spent_nano - standing.held_nano) / 1e9,
        "used_ratio": round(standing.spent_nano / standing.ceiling_nano, 6),
        "resets": rfc3339(standing.resets),
        "mode": one.budget.mode,
    }


def event_of(policy: Policy, crossing: Mapping[str, Any], now: float) -> dict[str, Any]:
    """What is told of a crossing, to people and to programs; `id` is the same however often it is sent."""
    owner, per, percent = crossing["owner"], crossing["per"], crossing["percent"]
    kind, _, name = owner.partition(":")
    team, key = name.partition("/")[::2] if kind == "key" else (name, "")
    budget = next((one.budget for one in owned(policy) if one.budget.owner == owner and one.budget.per == per), None)
    period = span(per, budget.time_zone if budget else "UTC", int(now * 1000))
    spent, ceiling = crossing["spent_nano"], crossing["ceiling_nano"]
    whose = Owned(team, key, budget or Budget(owner, ceiling, per)).whose
    return {
        "event": "budget_threshold",
        "id": f"{owner}/{per}/{period.label}/{percent}/{ceiling}",
        "time": rfc3339(now),
        "team": team,
        "key": key or None,
        "per": per,
        "period": period.label,
        "threshold_percent": percent,
        "spent_usd": spent / 1e9,
        "budget_usd": ceiling / 1e9,
        "used_ratio": round(spent / ceiling, 6),
        "mode": budget.mode if budget else None,
        "resets": rfc3339(period.end / 1000),
        "text": f"{whose} has used {spent / ceiling:.0%} of its {_WORDS[per]} budget: "
        f"${spent / 1e9:,.2f} of ${ceiling / 1e9:,.2f}.",
    }


class Told(Observer, Protocol):
    """The observer of the ledger that also takes budget events."""

    def budget_crossed(self, event: Mapping[str, Any]) -> None: ...

    def budget_used(self, ratios: Mapping[tuple[str, Period], float]) -> None: ...


class Budgets:
    """Stands between the ledger and the observer, and answers what the budgets' gauges ask at each scrape."""

    def __init__(
        self, policy: Callable[[], Policy], observer: Told, webhook: Callable[[str, Mapping[str, Any]], None]
    ) -> None:
        self._policy = policy
        self._observer = observer
        self._webhook = webhook
        self._told: dict[tuple[str, str, int], str] = {}  # the last event of a budget and threshold

    def event(self, name: str, facts: Mapping[str, object]) -> None:
        if name != "budget_threshold":
            self._observer.event(name, facts)
            return
        policy = self._policy()
        event = event_of(policy, facts, time.time())
        # A crashed call that turns out cheaper than its estimate takes the spend back below a threshold.
        place = (event["team"] + "/" + (event["key"] or ""), event["per"], event["threshold_percent"])
        if self._told.get(place) == event["id"]:
            return
        self._told[place] = event["id"]
        self._observer.budget_crossed(event)
        if policy.alert_webhook is not None:
            self._webhook(policy.alert_webhook, event)

    def timed(self, operation: str, seconds: float, *, failed: bool) -> None:
        self._observer.timed(operation, seconds, failed=failed)

    async def refresh(self, ledger: Ledger) -> None:
        """Bring the gauges of the teams' own budgets up to now. Raises StoreDown."""
        found = await standings(ledger, [one for one in owned(self._policy()) if not one.key])
        self._observer.budget_used(
            {(one.team, one.budget.per): standing.spent_nano / standing.ceiling_nano for one, standing in found}
        )
