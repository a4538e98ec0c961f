"""The second listener, for operators: health, readiness, metrics, the admin API. It never carries a team's request."""

import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from gateway.admin import PREFIX, AdminAnswer, AdminCall


class Ops:
    """Health for the orchestrator, metrics for Prometheus, the admin API for people."""

    def __init__(
        self,
        registry: CollectorRegistry,
        readiness: Callable[[], tuple[bool, dict[str, Any]]],
        *,
        refresh: Callable[[], Awaitable[None]],
        admin: Callable[[AdminCall], Awaitable[AdminAnswer]],
    ) -> None:
        self._registry = registry
        self._readiness = readiness
        self._refresh = refresh  # what is read at the scrape and not kept up to date between two
        self._handle_admin = admin
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> int:
        app = web.Application()
        app.add_routes(
            [
                web.get("/healthz", self._health),
                web.get("/readyz", self._ready),
                web.get("/metrics", self._metrics),
                web.route("*", PREFIX + "{path:.*}", self._admin),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, ssl_context=tls)
        await site.start()
        bound: int = self._runner.addresses[0][1]
        return bound

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _health(self, request: web.Request) -> web.Response:
        return _json({"status": "ok"})

    async def _ready(self, request: web.Request) -> web.Response:
        ready, facts = self._readiness()
        return _json({"ready": ready, **facts}, status=200 if ready else 503)

    async def _metrics(self, request: web.Request) -> web.Response:
        await self._refresh()
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _admin(self, request: web.Request) -> web.Response:
        query: dict[str, list[str]] = {}
        for name, value in request.query.items():
            query.setdefault(name, []).append(value)
        authorization = request.headers.get("authorization", "")
        answer = await self._handle_admin(AdminCall(request.method, request.path, query, authorization, request.read))
        return web.Response(
            status=answer.status,
            body=answer.body,
            headers={"content-type": answer.content_type, "cache-control": "no-store"},
        )


def _json(value: dict[str, Any], *, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")
