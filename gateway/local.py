"""What the gateway answers itself: the models a team may use, its limits and its usage.

`GET /v1/models` must come within a second (Claude Code gives up after three), so it is served from a short cache:
fresh, else fetched within the deadline, else stale, else the models the gateway knows by name.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, urlencode

import msgspec

from gateway.core.errors import GatewayError
from gateway.core.exchange import Exchange
from gateway.core.headers import lookup, upstream_headers
from gateway.core.http import Headers, UpstreamFailed
from gateway.core.routes import Matched, query_of
from gateway.core.standing import budget_rows, limit_rows
from gateway.platforms.platform import Draft
from gateway.relay import answer_json
from gateway.store.ledger import Ledger
from gateway.upstream import Upstream
from gateway.usage_report import grouped, groups_of, range_of, total
from gateway.wire.incoming import Incoming

_DEADLINE_SECONDS = 0.9
_FRESH_SECONDS = 300.0
_RETRY_SECONDS = 10.0  # after a failed fetch, so that a dead upstream does not cost every caller the deadline
_MOST_LISTS = 64
_MOST_PAGES = 20
_LIFECYCLES = ("active", "deprecated", "retired")

Model = dict[str, Any]
LocalAnswer = Callable[[Exchange, Incoming, Matched, Headers], Awaitable[None]]


class _Page(msgspec.Struct):
    data: list[Model]
    has_more: bool = False


class ModelLists:
    """The models of each workspace as Claude lists them, kept for a few minutes."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._lists: dict[tuple[str, ...], tuple[float, list[Model]]] = {}
        self._fetches: dict[tuple[str, ...], asyncio.Task[None]] = {}
        self._not_before: dict[tuple[str, ...], float] = {}

    async def models(self, x: Exchange, incoming: Incoming, lifecycles: list[str]) -> list[Model]:
        """Every model of the workspace with those lifecycles, in Claude's order."""
        assert x.team is not None
        version = lookup(incoming.headers, b"anthropic-version") or b""
        key = (x.team.workspace, version.decode("latin-1"), *lifecycles)
        now = time.monotonic()
        cached = self._lists.get(key)
        if cached is not None and now - cached[0] < _FRESH_SECONDS:
            return cached[1]
        if key not in self._fetches and now >= self._not_before.get(key, 0.0):
            self._fetches[key] = asyncio.create_task(self._fetch(key, x, incoming.headers, lifecycles))
        if (task := self._fetches.get(key)) is not None:
            await asyncio.wait([task], timeout=_DEADLINE_SECONDS)
            cached = self._lists.get(key)
        if cached is not None:
            return cached[1]
        return [
            {"type": "model", "id": id, "display_name": id, "created_at": "1970-01-01T00:00:00Z"}
            for id, rows in sorted(x.policy.prices.rows.items())
            if not rows[-1].retired
        ]

    async def _fetch(self, key: tuple[str, ...], x: Exchange, headers: Headers, lifecycles: list[str]) -> None:
        own = Exchange.open(x.policy, time.monotonic(), "GET", "/v1/models")
        own.team, own.key, own.route = x.team, x.key, x.route
        assert own.route is not None
        found: list[Model] = []
        query: dict[str, Any] = {"limit": "1000"} | ({"lifecycle[]": lifecycles} if lifecycles else {})
        # Others get this list too: of the headers of the one who happened to ask, only what is in the key counts.
        sent = upstream_headers((name, value) for name, value in headers if name.lower() == b"anthropic-version")
        try:
            for _ in range(_MOST_PAGES):
                draft = Draft(own.route, "GET", "/v1/models?" + urlencode(query, doseq=True), sent)
                answer = await self._upstream.send(own, draft)
                try:
                    body = b"".join([chunk async for chunk in _chunks(answer)])
                finally:
                    answer.close()
                if answer.status != 200:
                    raise GatewayError("unreachable", f"models answered {answer.status}")
                page = msgspec.json.decode(body, type=_Page)
                found.extend(page.data)
                if not page.has_more or not page.data:
                    break
                query["after_id"] = page.data[-1]["id"]
            if len(self._lists) >= _MOST_LISTS:
                self._lists.clear()
            self._lists[key] = (time.monotonic(), [model for model in found if isinstance(model.get("id"), str)])
            self._not_before.pop(key, None)
        except (GatewayError, UpstreamFailed, msgspec.MsgspecError, KeyError):
            if len(self._not_before) >= _MOST_LISTS:
                self._not_before.clear()
            self._not_before[key] = time.monotonic() + _RETRY_SECONDS
        finally:
            self._fetches.pop(key, None)


async def _chunks(answer: Any) -> Any:
    while chunk := await answer.read():
        yield chunk


class LocalAnswers:
    """The routes that are answered here, by name."""

    def __init__(self, lists: ModelLists, ledger: Ledger) -> None:
        self._lists = lists
        self._ledger = ledger
        self.answers: dict[str, LocalAnswer] = {
            "models.list": self._models,
            "gateway.limits": self._limits,
            "gateway.usage": self._usage,
        }

    async def _limits(self, x: Exchange, incoming: Incoming, matched: Matched, ours: Headers) -> None:
        """Every limit and budget of the caller's key and team: what is left, when it is full, who holds the slots."""
        assert x.team is not None
        assert x.key is not None
        seen = await self._ledger.peek([*x.key.buckets, *x.team.buckets], [*x.key.budgets, *x.team.budgets])
        now = time.time()
        holders = await self._ledger.holders(x.team.name)
        answer = {
            "team": x.team.name,
            "key": x.key.name,
            "limits": limit_rows(seen.levels, now),
            "budgets": budget_rows(seen.standings),
            "under_way": [
                {"key": one.key, "model": one.model, "kind": one.kind, "seconds": round(max(0.0, now - one.since), 3)}
                for one in holders
            ],
        }
        await answer_json(x, incoming, msgspec.json.encode(answer), ours)

    async def _usage(self, x: Exchange, incoming: Incoming, matched: Matched, ours: Headers) -> None:
        """What the caller's team spent: this month by key, model and route, or `?by=day&from=2026-11-01`."""
        assert x.team is not None
        query = parse_qs(query_of(incoming.target)[1].lstrip("?"))
        by = groups_of(query, "key,model,route")
        first, last, grain = range_of(query, time.time(), days="day" in by)
        rows = await self._ledger.rows(grain, first, last, x.team.name)
        answer = {
            "team": x.team.name,
            "from": first,
            "to": last,
            "by": by,
            "rows": grouped(rows, by),
            "total": total(rows),
        }
        await answer_json(x, incoming, msgspec.json.encode(answer), ours)

    async def _models(self, x: Exchange, incoming: Incoming, matched: Matched, ours: Headers) -> None:
        assert x.team is not None
        query = parse_qs(query_of(incoming.target)[1].lstrip("?"), keep_blank_values=True)
        lifecycles = [value for value in _LIFECYCLES if value in query.get("lifecycle[]", [])]
        models = await self._lists.models(x, incoming, lifecycles)
        allowed = [model for model in models if x.policy.may_use(x.team, model["id"])]
        await answer_json(x, incoming, msgspec.json.encode(page_of(allowed, query)), ours)


def page_of(models: list[Model], query: dict[str, list[str]]) -> dict[str, Any]:
    """One page of a list in scheme A of the fact sheet (`after_id`, `before_id`, `limit`)."""
    said = query.get("limit", ["20"])[-1]
    if not (said.isascii() and said.isdigit() and 1 <= int(said) <= 1000):
        raise GatewayError("malformed", "limit: Input should be a whole number from 1 to 1000")
    limit = int(said)
    ids = [model["id"] for model in models]
    start, end = 0, len(models)
    if "after_id" in query:
        start = _position(ids, query["after_id"][-1], "after_id") + 1
        end = min(end, start + limit)
        more = end < len(models)
    elif "before_id" in query:
        end = _position(ids, query["before_id"][-1], "before_id")
        start = max(0, end - limit)
        more = start > 0
    else:
        end = min(end, limit)
        more = end < len(models)
    data = models[start:end]
    return {
        "data": data,
        "has_more": more,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
    }


def _position(ids: list[str], id: str, name: str) -> int:
    if id not in ids:
        raise GatewayError("malformed", f"{name}: There is no such model in this list.")
    return ids.index(id)
