"""Message batches through their whole life: in_progress, canceling, ended, results, deletion (fact sheet 1.1).

A batch is worked off by a task of its own a settable time after its creation; what it costs is booked then, one row per
answered request, whether or not anybody reads the results. Canceling keeps what the elapsed share of the time did.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import msgspec

from gateway.simulator.asks import asked, last_text
from gateway.simulator.errors import ApiError, invalid, not_found
from gateway.simulator.lists import by_ids, public
from gateway.simulator.messages import answer
from gateway.simulator.validate import check_message
from gateway.simulator.world import Answer, Call, Live, Object, fresh_id, reply, stamp

CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
MOST_REQUESTS = 100_000
DAY = 86_400
SLICE = 50  # requests worked off before other work gets its turn


def create(call: Call) -> Answer:
    requests = check_requests(call.json())
    batch: Object = {
        "id": fresh_id("msgbatch"),
        "type": "message_batch",
        "processing_status": "in_progress",
        "request_counts": counts(processing=len(requests)),
        "created_at": stamp(call.now),
        "expires_at": stamp(call.now + DAY),
        "ended_at": None,
        "archived_at": None,
        "cancel_initiated_at": None,
        "results_url": None,
        "_requests": requests,
        "_lines": [],
        "_began": call.now,
        "_canceled": asyncio.Event(),
    }
    call.workspace.of("message_batch")[batch["id"]] = batch
    call.world.spawn(work_off(call, batch))
    return shown(call, batch)


def check_requests(body: Object) -> list[Object]:
    requests = body.get("requests")
    if not isinstance(requests, list):
        raise invalid("requests: Field required" if requests is None else "requests: Input should be a valid list")
    if not 1 <= len(requests) <= MOST_REQUESTS:
        raise invalid(f"requests: List should have between 1 and {MOST_REQUESTS} items, not {len(requests)}")
    seen: set[str] = set()
    for n, request in enumerate(requests):
        name = request.get("custom_id") if isinstance(request, dict) else None
        if not isinstance(name, str):
            raise invalid(f"requests.{n}.custom_id: Field required")
        if not CUSTOM_ID.fullmatch(name):
            raise invalid(f"requests.{n}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'")
        if name in seen:
            raise invalid(f"requests.{n}.custom_id: '{name}' is not unique in this batch")
        seen.add(name)
        params = request.get("params")
        if not isinstance(params, dict):
            raise invalid(f"requests.{n}.params: Field required")
        for field in ("stream", "speed", "thread"):
            if params.get(field):
                raise invalid(f"requests.{n}.params.{field}: not supported in a batch")
        if params.get("max_tokens") == 0:
            raise invalid(f"requests.{n}.params.max_tokens: 0 is not supported in a batch")
    return requests


async def work_off(call: Call, batch: Object) -> None:
    """Wait, answer what there was time for, book it, end the batch."""
    options = call.world.options
    share = 1.0
    try:
        await asyncio.wait_for(batch["_canceled"].wait(), options.batch_seconds)
        share = min(1.0, (call.world.now() - batch["_began"]) / options.batch_seconds)
    except TimeoutError:
        pass
    requests = batch["_requests"]
    done = int(len(requests) * share)
    tally = counts()
    lines: list[bytes] = []
    for n, request in enumerate(requests):
        result = perform(call, batch, request) if n < done else {"type": "canceled"}
        tally[result["type"]] += 1
        lines.append(msgspec.json.encode({"custom_id": request["custom_id"], "result": result}) + b"\n")
        if n % SLICE == SLICE - 1:
            await asyncio.sleep(0)
    lines.reverse()  # results come in no particular order; the reverse shows who relies on one
    now = call.world.now()
    batch |= {"processing_status": "ended", "request_counts": tally, "ended_at": stamp(now), "_lines": lines}
    batch["_requests"] = []


def perform(call: Call, batch: Object, request: Object) -> Object:
    """One request's result; only a success costs anything."""
    params = request["params"]
    call.now = call.world.now()
    try:
        model = check_message(params, call, at="params.")
        asks = asked({}, last_text(params))
        if "expire" in asks:
            return {"type": "expired"}
        message = answer(call, params, model, asks)
    except ApiError as error:
        failure = {"type": "error", "error": error.error(), "request_id": fresh_id("req")}
        return {"type": "errored", "error": failure}
    message.usage["service_tier"] = "batch"
    call.world.book.write(
        request_id=call.request_id,
        at=call.now,
        workspace=call.workspace.name,
        key=call.key,
        route=call.route,
        status=200,
        model=model.id,
        usage=message.usage,
        free=message.free,
        ended="ok",
        object_id=batch["id"],
        custom_id=request["custom_id"],
        faults=[],
    )
    return {"type": "succeeded", "message": message.plain()}


def counts(**some: int) -> dict[str, int]:
    return {"processing": 0, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0} | some


def found(call: Call) -> Object:
    name = call.params["batch"]
    batch = call.workspace.of("message_batch").get(name)
    if batch is None:
        raise not_found(f"Message batch not found: {name}")
    return batch


def view(call: Call, batch: Object) -> Object:
    """The batch as this client sees it: the results' address is absolute and at the host that was asked."""
    seen = public(batch)
    if batch["processing_status"] == "ended":
        request = call.request
        seen["results_url"] = f"{request.scheme}://{request.host}/v1/messages/batches/{batch['id']}/results"
    return seen


def shown(call: Call, batch: Object) -> Answer:
    return reply(view(call, batch))


def get(call: Call) -> Answer:
    return shown(call, found(call))


def list_all(call: Call) -> Answer:
    batches = [view(call, batch) for batch in reversed(call.workspace.of("message_batch").values())]
    return reply(by_ids(batches, call.request.query, most=1000))


def cancel(call: Call) -> Answer:
    batch = found(call)
    if batch["processing_status"] == "ended":
        raise invalid(f"Batch {batch['id']} has already ended and cannot be canceled.")
    if batch["processing_status"] == "in_progress":
        batch |= {"processing_status": "canceling", "cancel_initiated_at": stamp(call.now)}
        batch["_canceled"].set()
    return shown(call, batch)


def delete(call: Call) -> Answer:
    batch = found(call)
    if batch["processing_status"] != "ended":
        raise invalid(f"Batch {batch['id']} is still processing. Cancel it first, then delete it once it has ended.")
    del call.workspace.of("message_batch")[batch["id"]]
    return reply({"id": batch["id"], "type": "message_batch_deleted"})


def results(call: Call) -> Answer:
    batch = found(call)
    if batch["processing_status"] != "ended":
        raise invalid(f"Batch {batch['id']} has not ended yet; its results are not available.")
    return Live(in_pieces(batch["_lines"]), "application/x-jsonl")


async def in_pieces(lines: list[bytes]) -> AsyncIterator[bytes]:
    for at in range(0, len(lines), 100):
        yield b"".join(lines[at : at + 100])
