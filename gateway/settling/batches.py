"""A batch's look: wait while it runs, read its results once when it has ended, and say what is to be booked.

Outcomes, each a word in the log and the metric:
  settled       its results were read; canceled and expired ones cost what their results say, perhaps nothing
  incomplete    results lack lines that Claude counts as succeeded, at every try: those are estimated
  results_gone  it ended, and its results can't be had any more: what was held stands, by the share that succeeded
  deleted       Claude does not know it any more: what was held stands
"""

import asyncio
from datetime import datetime

from gateway.core.batch_bills import BatchBills
from gateway.core.meter import BatchMeter
from gateway.core.teams import Policy
from gateway.core.work import Item, Look, Settle, Step, estimate
from gateway.settling.reading import Gone, Object, Reader, Spool, Unreadable

CHUNK = 128 * 1024
QUICKEST, SLOWEST = 2.0, 300.0  # seconds between looks: a twentieth of its age
PATIENCE = 5  # tries before results that lack lines, or are missing, are taken as they are
RESULTS_SECONDS = 29 * 86_400.0  # from creation, as Claude keeps them


async def look(item: Item, reader: Reader, policy: Policy, now: float) -> Step:
    """Raises Unreadable."""
    if now - item.since > RESULTS_SECONDS:
        return estimate(item, "results_gone")
    path = f"/v1/messages/batches/{item.id}"
    try:
        batch = await reader.object(item, "batches.get", path)
    except Gone:
        return estimate(item, "deleted")
    if batch.text("processing_status") != "ended":
        return Look(min(SLOWEST, max(QUICKEST, (now - item.since) / 20)), item)
    succeeded = batch.count("request_counts", "succeeded")
    ended = moment(batch, "ended_at")
    if succeeded == 0:
        return _settled(BatchBills(item, policy.prices, requests=1, when=now, charge_as=None), ended)
    try:
        spool = await reader.spooled(item, "batches.results", f"{path}/results")
    except Gone:
        if item.tries < PATIENCE and not batch.text("archived_at"):
            raise Unreadable("no_results") from None
        return estimate(item, "results_gone", share=_share(batch))
    try:
        bills = await _counted(item, spool, batch, policy, now)
    finally:
        spool.close()
    missing = max(0, (succeeded or 0) - bills.succeeded)
    if not missing:
        return _settled(bills, ended)
    if item.tries < PATIENCE:
        raise Unreadable("missing_lines")
    bills.missing(missing)
    return _settled(bills, ended, "incomplete")


async def _counted(item: Item, spool: Spool, batch: Object, policy: Policy, now: float) -> BatchBills:
    """Every line priced, a piece at a time, so that nobody else waits for long."""
    team = policy.teams.get(item.team)
    bills = BatchBills(
        item, policy.prices, requests=_total(batch), when=now, charge_as=team.charge_as if team is not None else None
    )
    meter = BatchMeter()
    spool.rewind()
    while chunk := spool.read(CHUNK):
        meter.feed(chunk)
        for line in meter.take():
            bills.add(line)
        await asyncio.sleep(0)
    meter.finish(ended="ok")
    for line in meter.take():
        bills.add(line)
    return bills


def _settled(bills: BatchBills, ended: float, outcome: str = "settled") -> Settle:
    return Settle(bills.bills(), outcome, ended)


def _total(batch: Object) -> int:
    kinds = ("processing", "succeeded", "errored", "canceled", "expired")
    return sum(batch.count("request_counts", kind) or 0 for kind in kinds)


def _share(batch: Object) -> float:
    succeeded = batch.count("request_counts", "succeeded")
    return 1.0 if succeeded is None else succeeded / max(1, _total(batch))


def moment(thing: Object, name: str) -> float:
    """A moment that Claude names, as epoch seconds; 0 when it names none."""
    try:
        return datetime.fromisoformat(thing.text(name)).timestamp()
    except (ValueError, OverflowError):
        return 0.0
