"""The API's list answers: scheme A (`after_id`, `before_id`), scheme B (`page`) and B2 (B with `prev_page`).

A cursor of scheme B is bound to the query it came from: used with other filters it is refused.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence

from gateway.simulator.errors import invalid
from gateway.simulator.world import Object

Query = Mapping[str, str]


def limit_of(query: Query, default: int, most: int) -> int:
    value = query.get("limit", str(default))
    if not value.isdigit() or not 1 <= int(value) <= most:
        raise invalid(f"limit: Input should be a valid integer between 1 and {most}")
    return int(value)


def public(item: Object) -> Object:
    """An object without what only the simulator knows."""
    return {key: value for key, value in item.items() if not key.startswith("_")}


def by_ids(items: Sequence[Object], query: Query, *, default: int = 20, most: int = 1000) -> Object:
    """Scheme A over items in the order of the list (newest first)."""
    limit = limit_of(query, default, most)
    ids = [item["id"] for item in items]
    after, before = query.get("after_id"), query.get("before_id")
    for name in (after, before):
        if name is not None and name not in ids:
            raise invalid(f"{'after_id' if name == after else 'before_id'}: {name} is not an id of this list")
    if before is not None:
        end = ids.index(before)
        start = max(0, end - limit)
        more = start > 0
    else:
        start = ids.index(after) + 1 if after is not None else 0
        end = min(len(items), start + limit)
        more = end < len(items)
    page = [public(item) for item in items[start:end]]
    return {
        "data": page,
        "has_more": more,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
    }


def by_page(
    items: Sequence[Object], query: Query, *, default: int = 20, most: int = 1000, both: bool = False
) -> Object:
    """Scheme B; with `both`, scheme B2."""
    limit = limit_of(query, default, most)
    start = offset(query)
    answer: Object = {
        "data": [public(item) for item in items[start : start + limit]],
        "next_page": cursor(start + limit, query) if start + limit < len(items) else None,
    }
    if both:
        answer["prev_page"] = cursor(max(0, start - limit), query) if start else None
    return answer


def cursor(start: int, query: Query) -> str:
    return "page_" + base64.urlsafe_b64encode(f"{start}.{filters(query)}".encode()).decode().rstrip("=")


def offset(query: Query) -> int:
    page = query.get("page")
    if not page:
        return 0
    try:
        text = page.removeprefix("page_")
        start, _, bound = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().partition(".")
        if bound == filters(query):
            return int(start)
    except ValueError:
        pass
    raise invalid("page: not a valid cursor for this list and these filters")


def filters(query: Query) -> str:
    bound = sorted((k, v) for k, v in query.items() if k not in ("page", "limit", "beta"))
    return hashlib.sha256(repr(bound).encode()).hexdigest()[:12]
