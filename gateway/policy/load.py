"""A policy file becomes a `Policy`, or `PolicyFaults` with everything that is wrong with it; nothing in between."""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.core.prices import PriceTable
from gateway.core.teams import NO_PRICES, Policy
from gateway.policy.build import admin_token, assemble, team, workspace
from gateway.policy.faults import Bad, Fault, Notice, PolicyFaults
from gateway.policy.nodes import Entries, Node, parse
from gateway.policy.rows import At, Reading, mapping
from gateway.policy.rules import NOTICES, RULES, Whole
from gateway.policy.schema import FILE, Alerts, File
from gateway.prices_file import PriceFileError, read_prices


@dataclass(frozen=True, slots=True)
class Loaded:
    """A policy, what its operator should know, and the files it came from with the digest of what was read."""

    policy: Policy
    notices: tuple[Notice, ...]
    sources: Mapping[Path, bytes]


def load(
    file: Path,
    env: Mapping[str, str],
    *,
    prices: PriceTable | Path | None = None,
    served: Collection[str] = ("claude",),
    need_secrets: bool = True,
    now: float | None = None,
) -> Loaded:
    """Reads the file and all its secrets.

    `env` is what `${env:NAME}` sees. `prices` is the price table, or its file, which then belongs to the sources.
    `served` are the platforms that can be reached. `need_secrets=False` is for a check far from the secrets.
    """
    reading = Reading(file, env, need_secrets=need_secrets)
    policy: Policy | None = None
    try:
        table = _table(prices, reading)
        source = reading.read(file)
        reading.version.update(source)
        root = parse(source, lambda line, message: reading.fault(line, "", message))
        policy = _load(root, reading, table, served, time.time() if now is None else now)
    except OSError as error:
        reading.fault(None, "", f"can't be read: {error.strerror or type(error).__name__}")
    except Bad as bad:
        reading.fault(bad.line, "", bad.message)
    if reading.faults or policy is None:
        raise PolicyFaults(reading.faults, reading.sources)
    return Loaded(policy, tuple(sorted(reading.notices, key=lambda notice: notice.line)), reading.sources)


def load_table(prices: PriceTable | Path) -> tuple[PriceTable, Mapping[Path, bytes]]:
    """A price table without a policy file, and what it was read from."""
    if isinstance(prices, PriceTable):
        return prices, {}
    reading = Reading(prices, {})
    table = _table(prices, reading)
    if table is None:
        raise PolicyFaults(reading.faults, reading.sources)
    return table, reading.sources


def _table(prices: PriceTable | Path | None, reading: Reading) -> PriceTable | None:
    """The table that is given, or read from its file; what is wrong with the file is a fault of the whole."""
    if not isinstance(prices, Path):
        return prices
    try:
        source = reading.read(prices)
        reading.version.update(source)
        return read_prices(source, str(prices))
    except OSError as error:
        why = error.strerror or type(error).__name__
        reading.faults.append(Fault(str(prices), 0, "", f"can't be read: {why}"))
    except PriceFileError as error:
        reading.faults += [Fault(fault.file, fault.line, "", fault.message) for fault in error.faults]
    return None


def _load(
    root: Node | None, reading: Reading, prices: PriceTable | None, served: Collection[str], now: float
) -> Policy:
    if root is None:
        raise Bad("is empty; it needs at least 'workspaces', see config/gateway.yaml for an example")
    row = mapping(root, FILE, At(reading, "", root.line))
    alerts = row[File.alerts]
    workspaces = {name: workspace(name, place) for name, place in row[File.workspaces].items()}
    teams = {name: team(name, caller) for name, caller in row[File.teams].items()}
    policy = assemble(
        reading.version.hexdigest(),
        workspaces,
        teams,
        admin_tokens=tuple(map(admin_token, row[File.admin_tokens])),
        alert_webhook=alerts[Alerts.webhook] if alerts else None,
        prices=prices or NO_PRICES,
    )
    whole = Whole(row, policy, _declared(root), served, prices, now)
    for rule in RULES:
        rule(whole)
    for notice in NOTICES:
        notice(whole)
    return policy


def _declared(root: Node) -> set[str]:
    """Every workspace that is written, so that a fault within one makes no further faults of its teams."""
    entry = root.by_key.get("workspaces") if isinstance(root, Entries) else None
    return set(entry.node.by_key) if entry and isinstance(entry.node, Entries) else set()
