"""Policy as a value: workspaces, teams, keys. One immutable snapshot; a reload swaps the reference.

A request keeps the snapshot it began with. Nothing here reads a file or a clock; `policy.py` builds it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import Literal

from gateway.core.errors import GatewayError
from gateway.core.limits import Bucket, Budget
from gateway.core.prices import PriceTable


@dataclass(frozen=True, slots=True)
class GatewayKey:
    """A team's key, known by its digest only."""

    name: str
    digest: bytes
    expires: float | None = None  # seconds since the epoch
    buckets: tuple[Bucket, ...] = ()
    budgets: tuple[Budget, ...] = ()


@dataclass(frozen=True, slots=True)
class Team:
    """Who calls: its keys, its limits and what it may use."""

    name: str
    workspace: str
    keys: tuple[GatewayKey, ...] = ()
    buckets: tuple[Bucket, ...] = ()
    budgets: tuple[Budget, ...] = ()
    models: tuple[str, ...] = ("*",)
    on_disconnect: Literal["cancel", "drain"] = "cancel"
    precount: Literal["adaptive", "estimate", "exact"] = "adaptive"
    store_down: Literal["open", "closed"] = "open"
    charge_as: str | None = None  # the priced model that an unpriced one is charged as; None: refused
    failover: bool = False
    stored_objects: int | None = None
    stored_bytes: int | None = None
    session_hold_nano: int = 1_000_000_000  # held when a managed-agents session starts (ledger protocol, section 8)


@dataclass(frozen=True, slots=True)
class Federation:
    """How an identity token of the platform the gateway runs on is exchanged for a credential at Claude."""

    identity_token_file: str
    federation_rule_id: str
    organization_id: str
    service_account_id: str | None = None
    workspace_id: str | None = None


@dataclass(frozen=True, slots=True)
class UpstreamKey:
    """A workspace's real key. Its repr hides the secret, so no traceback or log can show it.

    With a federation the policy has no secret: the token of the moment takes its place.
    """

    name: str
    secret: str = field(repr=False)
    federation: Federation | None = None


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where a team's requests go, and with which keys."""

    name: str
    platform: str = "claude"
    base_url: str = "https://api.anthropic.com"
    keys: tuple[UpstreamKey, ...] = ()
    buckets: tuple[Bucket, ...] = ()
    failover: tuple[str, ...] = ()
    retry_budget: float = 0.25
    isolation: Literal["owned", "off"] = "owned"


@dataclass(frozen=True, slots=True)
class AdminToken:
    """A bearer token of the admin API, known by its digest."""

    name: str
    digest: bytes
    role: Literal["read", "write"]


NO_PRICES = PriceTable({})


@dataclass(frozen=True, slots=True)
class Policy:
    """The snapshot: everything a request is judged by."""

    version: str  # a digest of the sources, so that two replicas can be compared
    workspaces: Mapping[str, Workspace]
    teams: Mapping[str, Team]
    keys: Mapping[bytes, tuple[Team, GatewayKey]]  # by SHA-256 digest
    prices: PriceTable = NO_PRICES
    admin_tokens: tuple[AdminToken, ...] = ()
    alert_webhook: str | None = field(default=None, repr=False)  # such URLs carry tokens
    known_models: frozenset[str] = frozenset()  # what may stand in a label: any other name is a client's invention

    def canonical(self, model: str) -> str:
        """The id that a model's prices and limits stand under, for any form of it; itself when it is not known."""
        return self.prices.canonical(model) or model

    def covers(self, pattern: str, model: str) -> bool:
        """Whether a pattern of the policy means a model. `claude-haiku-4-5` means its dated id too, and the reverse."""
        if pattern == "*":
            return True
        canonical = self.canonical(model)
        return fnmatchcase(canonical, pattern) or self.canonical(pattern) == canonical

    def may_use(self, team: Team, model: str) -> bool:
        return any(self.covers(pattern, model) for pattern in team.models)

    def authenticate(self, x_api_key: str | None, bearer: str | None, now: float) -> tuple[Team, GatewayKey]:
        """The team behind a credential. Both headers may be sent when they carry the same key.

        Claude Code with an apiKeyHelper sends both (fact sheet 2.4); two different keys could mean two teams, and
        choosing one of them silently would charge the wrong one.
        """
        credential = x_api_key or bearer
        if not credential:
            raise GatewayError(
                "unauthenticated",
                "No gateway key was sent. Send your team's gateway key as 'x-api-key' or 'Authorization: Bearer'.",
            )
        if x_api_key and bearer and x_api_key != bearer:
            raise GatewayError(
                "unauthenticated",
                "'x-api-key' and 'Authorization' carry different keys. Send one of them, or the same key in both.",
            )
        found = self.keys.get(sha256(credential.encode("utf-8", "surrogateescape")).digest())
        if found is None:
            raise GatewayError(
                "unauthenticated",
                "The gateway key is not known. Ask the platform team for a key of your team; "
                "a key of the Claude Console does not work here.",
            )
        team, key = found
        if key.expires is not None and now >= key.expires:
            raise GatewayError(
                "unauthenticated",
                f"The gateway key '{key.name}' of team '{team.name}' has expired. Ask the platform team for a new one.",
            )
        return team, key
