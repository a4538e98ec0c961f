"""`gateway ledger verify|rebuild|accept-empty`: a store opened for an audit, and its outcome in words.

Rule: a command beside running gateways takes nothing of theirs. On Redis it is a process of its own, whose journal is
thrown away; the embedded store serves one process, so its gateway must be stopped.
"""

import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import msgspec

from gateway.app import ledger_of
from gateway.core.audit import Difference, Report
from gateway.core.statement import dollars
from gateway.settings import Settings
from gateway.store.audit import Books
from gateway.store.ledger import Health, Ledger, Silent

MOST_SHOWN = 40


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Ledger]:
    """The ledger of these settings. Raises StoreUnfit, and StoreDown when it does not answer."""
    with tempfile.TemporaryDirectory(prefix="gateway-audit-") as scratch:
        if settings.redis_url is not None:
            settings = settings.model_copy(update={"state_dir": Path(scratch), "store_timeout_ms": 10_000})
        ledger = ledger_of(settings, Silent())
        await ledger.start()
        try:
            yield ledger
        finally:
            await ledger.stop()


async def audited(settings: Settings, audit: Callable[[Books], Awaitable[Report]]) -> Report:
    """The report of one audit."""
    async with opened(settings) as ledger:
        return await audit(cast("Books", ledger))  # both stores keep books, and `Ledger` is what requests need


async def accept_empty(settings: Settings) -> Health:
    """Take back that data was lost; how the ledger was before."""
    async with opened(settings) as ledger:
        before = ledger.health
        await cast("Books", ledger).accept_empty()
        return before


def lines(report: Report) -> list[str]:
    """The report for people."""
    if report.first is None or report.last is None:
        said = ["The files hold no settlement."]
    else:
        said = [f"{report.settlements:,} settlements from {_moment(report.first)} to {_moment(report.last)}"]
    if report.pending:
        said.append(f"{report.pending:,} more are not in the store yet: their gateway sends them")
    if report.unsettled:
        said.append(f"{report.unsettled:,} calls were under way when the files end")
    for writer, numbers in report.missing.items():
        said.append(
            f"no file has {len(numbers):,} settlements of {writer}, the first is {numbers[0]}: name its files too"
        )
    said += [f"unreadable: {place}" for place in report.damaged]
    if report.unplaced:
        said.append(f"{report.unplaced:,} log lines cost something and name no place in the ledger")
    said += _differences("in the store and not in the files, as estimates of crashed calls:", report.estimated_only)
    said += _differences("these numbers differ:", report.differences)
    said.append("The store agrees with the files." if report.agrees else "The store does NOT agree with the files.")
    return said


def data(report: Report) -> dict[str, Any]:
    """The report for programs."""
    return {"agrees": report.agrees, **msgspec.to_builtins(report)}


def _differences(heading: str, differences: tuple[Difference, ...]) -> list[str]:
    if not differences:
        return []
    shown = [
        f"  {period} {row} {what}: store {_amount(what, store)}, files {_amount(what, files)}"
        for period, row, what, store, files in differences[:MOST_SHOWN]
    ]
    rest = len(differences) - len(shown)
    return [heading, *shown, *([f"  and {rest:,} more"] if rest else [])]


def _amount(what: str, amount: int) -> str:
    return dollars(amount, per=1) if what.endswith("nano") or what == "cache_saved" else f"{amount:,}"


def _moment(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
