"""A look at a session, a dream, a deployment or one of its runs: charge what its usage grew by, until it is over.

Outcomes, each a word in the log and the metric:
  closed      archived, terminated, completed: its last usage was read
  deleted     Claude does not know it any more. Seen idle before: nothing is open. Seen running: what was held stands,
              as far as it was not booked
  no_session  a run that never became a session: nothing was used
  unanswered  its create was never answered, because the gateway died: what was held stands, unless nothing can run
"""

from typing import Any
from urllib.parse import urlencode

import msgspec

from gateway.core.answers import from_session
from gateway.core.growth import grown
from gateway.core.teams import Policy
from gateway.core.work import Found, Item, Look, Settle, Step, estimate, release
from gateway.settling.batches import moment
from gateway.settling.reading import Gone, Object, Reader, Unreadable

LONGEST_RUNNING = 60.0  # seconds between looks while one runs
LONGEST_IDLE = 6 * 3600.0
IDLE_HOLD_SECONDS = 3600.0  # a hold that nothing runs under is let go after so long
PAGES = 20
_PATHS = {"session": ("sessions.get", "/v1/sessions/"), "dream": ("dreams.get", "/v1/dreams/")}
_STILL = frozenset(("idle", "terminated", "completed", "failed", "canceled"))
_OVER = _STILL - {"idle"}


async def look(item: Item, reader: Reader, policy: Policy, now: float) -> Step:
    """A session or a dream. Raises Unreadable."""
    route, path = _PATHS[item.kind]
    try:
        seen = await reader.object(item, route, path + item.id)
    except Gone:
        return estimate(item, "deleted") if item.running else Settle(release(item), "deleted")
    usage = from_session(seen.body)
    if usage.lacks_input or usage.lacks_output:
        raise Unreadable("no_usage")
    team = policy.teams.get(item.team)
    charge_as = team.charge_as if team is not None else None
    progress, bill = grown(item, usage, policy.prices, when=now, charge_as=charge_as)
    bills = (bill,) if bill is not None else ()
    status = seen.text("status")
    running = status not in _STILL
    if not running and (status in _OVER or seen.text("archived_at")):
        return Settle((*bills, *release(item)), "closed", moment(seen, "ended_at"))
    changed = now if bills or running != item.running or not item.changed else item.changed
    after = msgspec.structs.replace(
        item,
        models=(policy.canonical(usage.model),) if usage.model else item.models,
        progress=progress,
        running=running,
        changed=changed,
    )
    if running:
        return Look(min(LONGEST_RUNNING, max(1.0, (now - changed) / 4)), after, bills)
    if item.held and now - changed > IDLE_HOLD_SECONDS:
        after = msgspec.structs.replace(after, held=False)
        return Look(LONGEST_RUNNING, after, (*bills, *release(item)))
    return Look(min(LONGEST_IDLE, max(5.0, (now - changed) / 2)), after, bills)


async def look_at_run(item: Item, reader: Reader, _: Policy, now: float) -> Step:
    """A deployment's run that had no session yet when it was made."""
    try:
        run = await reader.object(item, "deployment_runs.get", f"/v1/deployment_runs/{item.id}")
    except Gone:
        return estimate(item, "deleted")
    if session := run.text("session_id"):
        return Found((msgspec.structs.replace(item, id=session, kind="session"),), 0.0, item, instead=True)
    if run.fields.get("error") is not None:
        return Settle(release(item), "no_session")
    return Look(min(LONGEST_RUNNING, max(1.0, (now - item.since) / 4)), item)


async def look_at_deployment(item: Item, reader: Reader, _: Policy, now: float) -> Step:
    """What its schedule started since the last look; runs that were asked for came through a call of their own."""
    try:
        deployment = await reader.object(item, "deployments.get", f"/v1/deployments/{item.id}")
    except Gone:
        return Settle((), "deleted")
    found = [
        msgspec.structs.replace(
            item, id=str(run["session_id"]), kind="session", hold=f"run.{run['session_id']}", since=now, changed=0.0
        )
        async for run in _scheduled(item, reader)
    ]
    if not found and deployment.text("archived_at"):
        return Settle((), "closed")
    active = deployment.fields.get("schedule") is not None and deployment.text("status") != "paused"
    after = msgspec.structs.replace(item, changed=now)
    return Found(tuple(found), LONGEST_RUNNING if active or found else LONGEST_IDLE, after)


async def _scheduled(item: Item, reader: Reader) -> Any:
    """The runs made since shortly before the last look, newest first."""
    query = {"deployment_id": item.id, "limit": "100"}
    for _ in range(PAGES):
        page: Object = await reader.object(item, "deployment_runs.list", "/v1/deployment_runs?" + urlencode(query))
        runs = page.fields.get("data")
        for run in runs if isinstance(runs, list) else []:
            if not isinstance(run, dict) or run.get("deployment_id") != item.id or not run.get("session_id"):
                continue
            if moment(Object(b"", run), "created_at") < max(item.since, item.changed) - 120:
                return
            trigger = run.get("trigger_context")
            if isinstance(trigger, dict) and trigger.get("type") != "manual":
                yield run
        following = page.text("next_page")
        if not following:
            return
        query["page"] = following


async def look_at_new(item: Item, _: Reader, __: Policy, ___: float) -> Step:
    """A create whose answer never came back to anybody who could write it down."""
    if item.blind:
        return estimate(item, "unanswered", reason="crashed")
    return Settle(release(item), "unanswered")
