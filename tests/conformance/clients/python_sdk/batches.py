"""Message batches: their life, their results, their pages."""

import time
from typing import Any

import anthropic

from tests.conformance.clients.python_sdk.seen import HELLO, MODEL, probe, seen


def ended(client: Any, batch_id: str) -> Any:
    deadline = time.monotonic() + 20
    while (batch := client.messages.batches.retrieve(batch_id)).processing_status != "ended":
        if time.monotonic() > deadline:
            raise TimeoutError(f"{batch_id} has not ended within 20 seconds")
        time.sleep(0.1)
    return batch


def deleted(client: Any, batch_id: str) -> Any:
    """A batch that ended may be billed a moment later, and stays until then."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return seen(client.messages.batches.delete(batch_id))
        except anthropic.ConflictError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def batch_of(*custom_ids: str) -> list[dict[str, Any]]:
    params = {"model": MODEL, "max_tokens": 30, "messages": HELLO}
    return [{"custom_id": custom_id, "params": params} for custom_id in custom_ids]


@probe
def batches(client: Any) -> Any:
    """A batch through its life; its results are fetched by the address that the batch names."""
    created = client.messages.batches.create(requests=batch_of("a", "b", "c"))
    done = ended(client, created.id)
    results = {line.custom_id: seen(line) for line in client.messages.batches.results(created.id)}
    listed = [batch.id == created.id for batch in client.messages.batches.list()]
    return {
        "created": seen(created),
        "ended": seen(done),
        "results": dict(sorted(results.items())),
        "listed": listed,
        "deleted": deleted(client, created.id),
        "afterwards": unlisted(client, created.id),
    }


def unlisted(client: Any, batch_id: str) -> Any:
    return [batch.id for batch in client.messages.batches.list() if batch.id == batch_id]


@probe
def batch_cancelled(client: Any) -> Any:
    created = client.messages.batches.create(requests=batch_of("a"))
    cancelled = client.messages.batches.cancel(created.id)
    done = ended(client, created.id)
    return {
        "cancelled": cancelled.processing_status,
        "initiated": cancelled.cancel_initiated_at is not None,
        "counts": seen(done.request_counts),
        "results": sorted([line.custom_id, line.result.type] for line in client.messages.batches.results(created.id)),
    }


@probe
def batch_pages(client: Any) -> Any:
    """Seven batches by pages of three, newest first, then backwards from the middle."""
    made = [client.messages.batches.create(requests=batch_of("a")).id for _ in range(7)]
    place = {batch_id: n for n, batch_id in enumerate(made)}
    page = client.messages.batches.list(limit=3)
    before = client.messages.batches.list(limit=2, before_id=made[3])
    return {
        "all": [place[batch.id] for batch in client.messages.batches.list(limit=3)],
        "first page": [
            [place[batch.id] for batch in page.data],
            page.has_more,
            place[page.first_id],
            place[page.last_id],
        ],
        "before": [place[batch.id] for batch in before.data],
    }
