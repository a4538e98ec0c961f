"""Every key of the policy file, as tables: its name, its reader, its default and what it means.

A new key is a new row here and a line in `build.py`. The table in the docs is held against `SECTIONS` by a test.
"""

from typing import Literal

from gateway.core.limits import MOST_UNITS, Kind, Period
from gateway.policy.faults import Bad
from gateway.policy.nodes import Entries, Items, Node, Scalar
from gateway.policy.references import address, identity_file, secret, webhook
from gateway.policy.rows import At, Key, Keys, Reader, Row, listed, mapping, named, scalar, table
from gateway.policy.scalars import (
    choice,
    digest,
    flag,
    is_id,
    moment,
    name,
    nano_dollars,
    number,
    pattern,
    prefixed,
    seconds,
    size,
    time_zone,
    uuid,
    whole,
    whole_seconds,
)

MOST_BURST_SECONDS = 86_400
MOST_WAIT_SECONDS = 600.0
MOST_OBJECTS = 10**9
MOST_BYTES = 2**50

NO_ROWS: tuple[Row, ...] = ()
EVERY_MODEL: tuple[str, ...] = ("*",)
NO_NAMES: tuple[str, ...] = ()
NONE_NAMED: dict[str, Row] = {}

CLAUDE_API = "https://api.anthropic.com"
# All the platforms of Claude; which of them this build can reach is `load`'s argument.
PLATFORMS = ("claude", "aws", "bedrock", "vertex", "google", "foundry")


def rows(keys: Keys) -> Reader[tuple[Row, ...]]:
    return listed(lambda node, at: mapping(node, keys, at))


def by_name(keys: Keys) -> Reader[dict[str, Row]]:
    return named(name, lambda node, at: mapping(node, keys, at))


def unpriced(node: Node, at: At) -> str | None:
    """`refuse`, or a mapping that names the priced model whose price is taken; None means refused."""
    if isinstance(node, Scalar):
        if node.text == "refuse":
            return None
    elif isinstance(node, Entries) and list(node.by_key) == ["charge_as"]:
        model = scalar(pattern)(node.by_key["charge_as"].node, at)
        if is_id(model):
            return model
    raise Bad("must be 'refuse' or '{charge_as: MODEL}' with one model of the price table")


def models(node: Node, at: At) -> tuple[str, ...]:
    """Patterns; none at all is refused because it reads like "no restriction" and would mean the opposite."""
    if isinstance(node, Items) and not node.nodes:
        raise Bad("an empty list allows no model at all; leave the key out to allow every model")
    return listed(scalar(pattern))(node, at)


class Limit:
    """A row of limits; each kind in it makes a bucket."""

    models = Key("models", scalar(pattern), "*", "the models it holds for: an id or a pattern")
    burst_seconds = Key(
        "burst_seconds", scalar(whole_seconds(1, MOST_BURST_SECONDS)), 60, "seconds' worth a bucket can hold"
    )
    max_wait_seconds = Key(
        "max_wait_seconds", scalar(seconds(0, MOST_WAIT_SECONDS)), 0.0, "wait this long before refusing"
    )
    shadow = Key("shadow", scalar(flag), default=False, doc="true: count and report, refuse nothing")


def _rate(key: str, doc: str) -> Key[int]:
    return Key(key, scalar(whole(1, MOST_UNITS)), 0, doc)


KINDS: dict[Kind, Key[int]] = {
    Kind.REQUESTS:        _rate("requests_per_minute",        "requests that name a model"),
    Kind.TOKENS:          _rate("tokens_per_minute",          "input without cache reads, plus output"),
    Kind.INPUT:           _rate("input_tokens_per_minute",    "input without cache reads"),
    Kind.OUTPUT:          _rate("output_tokens_per_minute",   "output"),
    Kind.SLOTS:           _rate("concurrent_requests",        "requests running at the same time"),
    Kind.OBJECT_REQUESTS: _rate("object_requests_per_minute", "requests for files, batches, sessions and the like"),
    Kind.COUNT_REQUESTS:  _rate("count_requests_per_minute",  "requests to count tokens"),
}  # fmt: skip
LIMIT = table(Limit, *KINDS.values())


class Spending:
    """A budget."""

    usd = Key("usd", scalar(nano_dollars), 0, "dollars per period", required=True)
    per: Key[Period] = Key("per", scalar(choice("day", "month")), "month", "day or month", required=True)
    time_zone = Key("time_zone", scalar(time_zone), "UTC", "the time zone of the period's midnight")
    mode: Key[Literal["block", "warn"]] = Key(
        "mode", scalar(choice("block", "warn")), "block", "block: refuse beyond it; warn: report only"
    )
    hold: Key[Literal["expected", "maximum"]] = Key(
        "hold", scalar(choice("expected", "maximum")), "expected", "what a running request holds of it"
    )


BUDGET = table(Spending)


class Identity:
    """Instead of a key: the identity that the platform gives this gateway, exchanged at Claude for a short token."""

    identity_token_file = Key(
        "identity_token_file", identity_file, "", "the file with its identity token", required=True
    )
    federation_rule_id = Key(
        "federation_rule_id", scalar(prefixed("fdrl_")), "", "the rule at Claude, fdrl_…", required=True
    )
    organization_id = Key("organization_id", scalar(uuid), "", "the organization at Claude, a UUID", required=True)
    service_account_id: Key[str | None] = Key(
        "service_account_id", scalar(prefixed("svac_")), None, "the service account that it acts as, svac_…"
    )
    workspace_id: Key[str | None] = Key(
        "workspace_id", scalar(prefixed("wrkspc_", "default")), None, "the workspace at Claude, wrkspc_… or default"
    )


IDENTITY = table(Identity)


class RealKey:
    """A workspace's key at Claude."""

    name = Key("name", scalar(name), "", "its name in logs and metrics", required=True)
    secret: Key[str | None] = Key("secret", secret, None, "the key, as ${env:NAME} or ${file:PATH}")
    federation: Key[Row | None] = Key(
        "federation", lambda node, at: mapping(node, IDENTITY, at), None, "instead of a secret: workload identity"
    )


REAL_KEY = table(RealKey)


class Place:
    """A workspace."""

    platform = Key("platform", scalar(choice(*PLATFORMS)), "claude", "where Claude is served: " + ", ".join(PLATFORMS))
    surface = Key(
        "surface", scalar(choice("invoke", "mantle", "messages")), "", "bedrock only: which of its three APIs"
    )
    base_url: Key[str | None] = Key("base_url", address, CLAUDE_API, "the API's URL without /v1")
    keys = Key("keys", rows(REAL_KEY), NO_ROWS, "the real keys; a team sticks to one of them")
    limits = Key("limits", rows(LIMIT), NO_ROWS, "a ceiling for all its teams together")
    failover = Key("failover", listed(scalar(name)), NO_NAMES, "workspaces to turn to, in this order")
    retry_budget = Key("retry_budget", scalar(number(0, 1)), 0.25, "retries earned per admitted request")
    isolation: Key[Literal["owned", "off"]] = Key(
        "isolation", scalar(choice("owned", "off")), "owned", "owned: a team sees its own objects only"
    )


WORKSPACE = table(Place)


class TeamKey:
    """A key that a team calls with."""

    name = Key("name", scalar(name), "", "its name in logs and metrics", required=True)
    sha256 = Key("sha256", scalar(digest), b"", "the SHA-256 of the key, 64 hexadecimal digits", required=True)
    expires: Key[float | None] = Key(
        "expires", scalar(moment), None, "a day (00:00 UTC) or a moment from which it is refused"
    )
    limits = Key("limits", rows(LIMIT), NO_ROWS, "limits of this key alone")
    budgets = Key("budgets", rows(BUDGET), NO_ROWS, "budgets of this key alone")


TEAM_KEY = table(TeamKey)


class Caller:
    """A team."""

    workspace = Key("workspace", scalar(name), "", "the workspace its requests go to", required=True)
    keys = Key("keys", rows(TEAM_KEY), NO_ROWS, "the keys it calls with")
    limits = Key("limits", rows(LIMIT), NO_ROWS, "limits of all its keys together")
    budgets = Key("budgets", rows(BUDGET), NO_ROWS, "budgets of all its keys together")
    models = Key("models", models, EVERY_MODEL, "the models it may use: ids and patterns")
    on_disconnect: Key[Literal["cancel", "drain"]] = Key(
        "on_disconnect", scalar(choice("cancel", "drain")), "cancel", "when its client leaves: cancel or drain"
    )
    precount: Key[Literal["adaptive", "estimate", "exact"]] = Key(
        "precount", scalar(choice("adaptive", "estimate", "exact")), "adaptive", "how input is weighed before a call"
    )
    store_down: Key[Literal["open", "closed"]] = Key(
        "store_down", scalar(choice("open", "closed")), "open", "when the store is gone: open or closed"
    )
    unpriced_models: Key[str | None] = Key("unpriced_models", unpriced, None, "refuse, or {charge_as: MODEL}")
    failover = Key("failover", scalar(flag), default=False, doc="true: may be served by its workspace's failover list")
    stored_objects: Key[int | None] = Key(
        "stored_objects", scalar(whole(0, MOST_OBJECTS)), None, "most objects it may keep at Claude"
    )
    stored_bytes: Key[int | None] = Key(
        "stored_bytes", scalar(size(MOST_BYTES)), None, "most bytes of files it may keep, as 50GiB"
    )
    session_hold_usd = Key("session_hold_usd", scalar(nano_dollars), 10**9, "dollars held when it starts a session")


TEAM = table(Caller)


class Token:
    """A token of the admin API."""

    name = Key("name", scalar(name), "", "its name in the audit log", required=True)
    sha256 = Key("sha256", scalar(digest), b"", "the SHA-256 of the token, 64 hexadecimal digits", required=True)
    role: Key[Literal["read", "write"]] = Key(
        "role", scalar(choice("read", "write")), "read", "read or write", required=True
    )


ADMIN_TOKEN = table(Token)


class Alerts:
    """Where events are sent."""

    webhook: Key[str | None] = Key("webhook", webhook, None, "URL that gets one POST per event")


ALERTS = table(Alerts)


class File:
    """The top of the policy file."""

    workspaces = Key("workspaces", by_name(WORKSPACE), NONE_NAMED, "workspaces by name", required=True)
    teams = Key("teams", by_name(TEAM), NONE_NAMED, "teams by name")
    admin_tokens = Key("admin_tokens", rows(ADMIN_TOKEN), NO_ROWS, "who may use the admin API")
    alerts: Key[Row | None] = Key("alerts", lambda node, at: mapping(node, ALERTS, at), None, "where events are sent")


FILE = table(File)

# For the docs: where each table stands in the file.
SECTIONS: dict[str, Keys] = {
    "": FILE,
    "workspaces.NAME": WORKSPACE,
    "workspaces.NAME.keys[]": REAL_KEY,
    "workspaces.NAME.keys[].federation": IDENTITY,
    "teams.NAME": TEAM,
    "teams.NAME.keys[]": TEAM_KEY,
    "limits[]": LIMIT,
    "budgets[]": BUDGET,
    "admin_tokens[]": ADMIN_TOKEN,
    "alerts": ALERTS,
}
