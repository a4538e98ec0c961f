"""What must hold between the parts of a policy file, and what its operator should be told.

Two tables of functions, `RULES` for faults and `NOTICES`; each takes the whole file as it was read. A new check is a
new function and a line in its table.
"""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from ipaddress import ip_address
from urllib.parse import urlsplit

from gateway.core.prices import PriceTable
from gateway.core.teams import Policy
from gateway.policy.rows import Row
from gateway.policy.scalars import is_id
from gateway.policy.schema import Caller, File, Place, RealKey, TeamKey, Token
from gateway.wording import hint


@dataclass(frozen=True, slots=True)
class Whole:
    """The file as read. `declared` holds every workspace that is written, the faulty ones too."""

    row: Row
    policy: Policy
    declared: Collection[str]
    served: Collection[str]
    prices: PriceTable | None  # None: no price table at hand, nothing is said about prices
    now: float

    @property
    def workspaces(self) -> dict[str, Row]:
        return self.row[File.workspaces]

    @property
    def teams(self) -> dict[str, Row]:
        return self.row[File.teams]

    def teams_of(self, workspace: str) -> list[str]:
        return [name for name, row in self.teams.items() if row[Caller.workspace] == workspace]

    def lacks_price(self, model: str) -> bool:
        return self.prices is not None and self.prices.find(model, self.now) is None

    def priced_like(self, model: str) -> str:
        if self.prices is None:
            return ""
        return hint(model, [name for name in (*self.prices.rows, *self.prices.aliases) if not self.lacks_price(name)])


def some_workspace(whole: Whole) -> None:
    if whole.row.has(File.workspaces) and not whole.declared:
        whole.row.to(File.workspaces).fault("there must be at least one workspace")


def teams_name_workspaces(whole: Whole) -> None:
    for row in whole.teams.values():
        wanted = row[Caller.workspace]
        if wanted and wanted not in whole.declared:
            row.to(Caller.workspace).fault(f"there is no workspace '{wanted}'{hint(wanted, whole.declared)}")


def failover_names_workspaces(whole: Whole) -> None:
    for name, row in whole.workspaces.items():
        at = row.to(Place.failover)
        for wanted, times in Counter(row[Place.failover]).items():
            if wanted == name:
                at.fault("a workspace can't fail over to itself")
            elif wanted not in whole.declared:
                at.fault(f"there is no workspace '{wanted}'{hint(wanted, whole.declared)}")
            elif times > 1:
                at.fault(f"'{wanted}' stands here {times} times")


def names_are_unique(whole: Whole) -> None:
    lists = [(row[Place.keys], RealKey.name) for row in whole.workspaces.values()]
    lists += [(row[Caller.keys], TeamKey.name) for row in whole.teams.values()]
    lists.append((whole.row[File.admin_tokens], Token.name))
    for rows, key in lists:
        first: dict[str, int] = {}
        for row in rows:
            name = row[key]
            if name and name in first:
                row.to(key).fault(f"the name '{name}' stands on line {first[name]} already")
            first.setdefault(name, row.to(key).line)


def keys_have_one_credential(whole: Whole) -> None:
    for row in whole.workspaces.values():
        for key in row[Place.keys]:
            secret, federation = key.gave(RealKey.secret), key.gave(RealKey.federation)
            if secret and federation:
                key.to(RealKey.federation).fault("stands beside 'secret'; a key has one of the two")
            elif not secret and not federation:
                key.at.fault("'secret' is missing: the key, as ${env:NAME} or ${file:PATH}; or 'federation'")
            if federation and row[Place.platform] != "claude":
                key.to(RealKey.federation).fault(f"belongs to the platform 'claude', not to '{row[Place.platform]}'")


def digests_are_unique(whole: Whole) -> None:
    """One credential means one caller; the admin API's tokens are no team keys either."""
    credentials = [
        (f"the key of team '{name}'", key[TeamKey.sha256], key.to(TeamKey.sha256))
        for name, row in whole.teams.items()
        for key in row[Caller.keys]
    ]
    credentials += [("an admin token", row[Token.sha256], row.to(Token.sha256)) for row in whole.row[File.admin_tokens]]
    first: dict[bytes, str] = {}
    for whose, digest, at in credentials:
        if digest and digest in first:
            at.fault(f"the same key is {first[digest]} already")
        elif digest:
            first[digest] = f"{whose} on line {at.line}"


def env_token_is_reserved(whole: Whole) -> None:
    for row in whole.row[File.admin_tokens]:
        if row[Token.name] == "env":
            row.to(Token.name).fault("'env' is the name of the token in GATEWAY_ADMIN_TOKEN; choose another one")


def platforms_are_served(whole: Whole) -> None:
    for row in whole.workspaces.values():
        platform = row[Place.platform]
        if platform not in whole.served:
            served = ", ".join(sorted(whole.served))
            row.to(Place.platform).fault(
                f"this version can't reach the platform '{platform}' yet; it reaches: {served}"
            )
        if row.gave(Place.surface) and platform != "bedrock":
            row.to(Place.surface).fault(f"belongs to the platform 'bedrock', not to '{platform}'")


def unowned_means_alone(whole: Whole) -> None:
    for name, row in whole.workspaces.items():
        sharers = whole.teams_of(name)
        if row[Place.isolation] == "off" and len(sharers) > 1:
            row.to(Place.isolation).fault(
                f"the teams {_names(sharers)} share this workspace and would see each other's files, batches and "
                "sessions; use 'owned', or give each team its own workspace"
            )


def stand_ins_are_priced(whole: Whole) -> None:
    for row in whole.teams.values():
        model = row[Caller.unpriced_models]
        if model and whole.lacks_price(model):
            row.to(Caller.unpriced_models).fault(
                f"the model '{model}' has no row in the price table{whole.priced_like(model)}"
            )


RULES: tuple[Callable[[Whole], None], ...] = (
    some_workspace,
    teams_name_workspaces,
    failover_names_workspaces,
    names_are_unique,
    keys_have_one_credential,
    digests_are_unique,
    env_token_is_reserved,
    platforms_are_served,
    unowned_means_alone,
    stand_ins_are_priced,
)


def workspace_without_keys(whole: Whole) -> None:
    for name, place in whole.policy.workspaces.items():
        if not place.keys:
            whole.workspaces[name].to(Place.keys).notice("has no real key, so Claude will refuse its teams' requests")


def unencrypted_upstream(whole: Whole) -> None:
    for name, place in whole.policy.workspaces.items():
        parts = urlsplit(place.base_url)
        if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
            whole.workspaces[name].to(Place.base_url).notice("http sends keys and prompts unencrypted; use https")


def shared_workspace(whole: Whole) -> None:
    for name, row in whole.workspaces.items():
        sharers = whole.teams_of(name)
        if len(sharers) > 1 and row[Place.isolation] == "owned":
            row.at.notice(
                f"shared by the teams {_names(sharers)}, who see their own files, batches and sessions only (owned)"
            )


def nobody_calls(whole: Whole) -> None:
    if not whole.teams:
        whole.row.to(File.teams).notice(
            "there is no team in this file, so nobody can call unless the admin API adds one"
        )


def team_without_keys(whole: Whole) -> None:
    for row in whole.teams.values():
        if not row[Caller.keys]:
            row.to(Caller.keys).notice("has no key, so nobody can call as this team")


def team_without_limits(whole: Whole) -> None:
    for name, row in whole.teams.items():
        team = whole.policy.teams[name]
        if not team.buckets and not any(key.buckets for key in team.keys):
            row.to(Caller.limits).notice("has no limits; one team can use up what the workspace is allowed")


def expired_key(whole: Whole) -> None:
    for row in whole.teams.values():
        for key in row[Caller.keys]:
            ends = key[TeamKey.expires]
            if ends is not None and ends <= whole.now:
                when = datetime.fromtimestamp(ends, UTC).strftime("%Y-%m-%d %H:%M UTC")
                key.to(TeamKey.expires).notice(f"the key '{key[TeamKey.name]}' expired on {when}")


def idle_failover(whole: Whole) -> None:
    for row in whole.teams.values():
        place = whole.workspaces.get(row[Caller.workspace])
        if row[Caller.failover] and place is not None and not place[Place.failover]:
            row.to(Caller.failover).notice(
                f"the workspace '{row[Caller.workspace]}' has no failover list, so it does nothing"
            )


def unpriced_models(whole: Whole) -> None:
    """A model without a price is refused at the call or charged as another; say so before somebody wonders."""
    for row in whole.teams.values():
        model = row[Caller.unpriced_models]
        if model:
            row.to(Caller.unpriced_models).notice(f"may use models without a price; they are charged as '{model}'")
            continue
        for name in row[Caller.models]:
            if is_id(name):
                if whole.lacks_price(name):
                    row.to(Caller.models).notice(
                        f"allows '{name}', which has no price and is refused{whole.priced_like(name)}"
                    )
            elif whole.prices is not None and not any(fnmatchcase(priced, name) for priced in whole.prices.rows):
                row.to(Caller.models).notice(f"allows '{name}', which matches no model that has a price")


NOTICES: tuple[Callable[[Whole], None], ...] = (
    workspace_without_keys,
    unencrypted_upstream,
    shared_workspace,
    nobody_calls,
    team_without_keys,
    team_without_limits,
    expired_key,
    idle_failover,
    unpriced_models,
)


def _names(names: list[str]) -> str:
    quoted = [f"'{name}'" for name in names]
    return ", ".join(quoted[:5]) + (f" and {len(quoted) - 5} more" if len(quoted) > 5 else "")


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
