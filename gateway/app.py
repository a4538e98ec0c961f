"""The composition root: the only module that names concrete stores, platforms and clients, and their order of life.

Start: policy, store, client, listeners. Stop: unready, go on accepting a while, close the listener, let requests
finish, then the store (so that every settlement is written), then the rest.
"""

import asyncio
import contextlib
import signal
import ssl
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

import structlog
from prometheus_client import CollectorRegistry

from gateway.admin import Admin
from gateway.admin_workspaces import WorkspaceCalls
from gateway.bodies import BufferedBytes
from gateway.budgets import Budgets
from gateway.core.http import Headers, Timeouts
from gateway.core.teams import AdminToken, Policy
from gateway.forecast import Forecast
from gateway.learning import Sharing
from gateway.local import LocalAnswers, ModelLists
from gateway.observe import Observer
from gateway.ops import Ops
from gateway.platforms.claude import ClaudePlatform
from gateway.policy import Outcome, PolicyFaults, Watch
from gateway.proxy import Proxy
from gateway.settings import Settings, SettingsFaults
from gateway.store.embedded import Embedded
from gateway.store.guarded import Guarded
from gateway.store.ledger import Ledger, StoreDown
from gateway.store.ledger import Observer as LedgerObserver
from gateway.store.work import Work
from gateway.store.work_embedded import EmbeddedWork
from gateway.tasks import Tasks
from gateway.upstream import Upstream
from gateway.webhook import Webhook
from gateway.wire.client import HttpClient
from gateway.wire.dial import tls_context
from gateway.wire.pool import PoolLimits
from gateway.wire.proxies import proxies
from gateway.wire.server import Server

_LAST_ALERTS_WITHIN = 2.0  # seconds at the stop


class App:
    """One gateway process."""

    def __init__(
        self,
        settings: Settings,
        policy: Policy,
        ledger: Callable[[LedgerObserver], Ledger],
        log: structlog.typing.FilteringBoundLogger,
        *,
        client: HttpClient,
        marks: Headers | None = None,
        pace: float = 1.0,
    ) -> None:
        self._settings = settings
        self._log = log
        self.policy = policy
        self.registry = CollectorRegistry()
        self.observer = Observer(self.registry, log)
        self._webhook = Webhook(client, self.observer.alerted)
        self._budgets = Budgets(lambda: self.policy, self.observer, self._webhook.post)
        inner = ledger(self._budgets)
        self._ledger = Guarded(inner, observer=self.observer)
        self._client = client
        self.upstream = Upstream(
            client,
            {platform.name: platform for platform in (ClaudePlatform(),)},
            Timeouts(settings.connect_seconds, settings.first_byte_seconds, settings.idle_seconds),
            ledger=self._ledger,
            told=self.observer,
        )
        forecast = Forecast()
        self._sharing = Sharing(forecast.learning.sums, self._ledger, told=self.observer)
        self._tasks = Tasks(
            work_of(settings, inner), self._ledger, self.upstream, lambda: self.policy, self.observer,
            spool_dir=settings.state_dir, pace=pace,
        )  # fmt: skip
        self._proxy = Proxy(
            policy=lambda: self.policy,
            ledger=self._ledger,
            upstream=self.upstream,
            local=LocalAnswers(ModelLists(self.upstream), self._ledger),
            observer=self.observer,
            bodies=BufferedBytes(settings.max_buffered_bytes),
            forecast=forecast,
            tasks=self._tasks,
            session_streams=settings.session_streams,
            public_url=settings.public_url,
            marks=marks,
        )
        self.server = Server(
            self._proxy.handle,
            raw_error=self.observer.broken_head,
            faulted=self.observer.faulted,
            head_seconds=settings.head_seconds,
            body_idle_seconds=settings.body_idle_seconds,
        )
        workspaces = WorkspaceCalls(lambda: self.policy, self.upstream)
        admin = Admin(
            lambda: self.policy, self._ledger, self.observer, tokens=env_tokens(settings), more=workspaces.rows
        )
        self._ops = Ops(self.registry, self._readiness, refresh=self._refresh, admin=admin.handle)
        self._ready = False
        self.port = 0
        self.ops_port = 0

    @classmethod
    def build(
        cls,
        settings: Settings,
        policy: Policy,
        env: Mapping[str, str],
        log: structlog.typing.FilteringBoundLogger,
        *,
        marks: Headers | None = None,
    ) -> "App":
        """The process as its settings describe it."""
        client = client_of(settings, env)
        return cls(settings, policy, lambda observer: ledger_of(settings, observer), log, client=client, marks=marks)

    async def start(self) -> None:
        await self._ledger.start()
        self.upstream.adopt(self.policy)
        await self._tasks.start()
        tls = tls_of(self._settings)
        self.ops_port = await self._ops.start(self._settings.ops_host, self._settings.ops_port, tls=tls)
        self.port = await self.server.start(self._settings.host, self._settings.port, tls=tls)
        self._sharing.start()
        self._ready = True

    async def stop(self, hurry: asyncio.Event) -> None:
        """End well: nobody who is being served is cut before the drain is over, or before `hurry` is set."""
        if self.server.draining:
            return  # a second stop has nothing left to do
        self._ready = False
        self.server.draining = True
        await _wait(hurry, self._settings.drain_delay_seconds)
        self.server.stop_accepting()
        self._proxy.drain()
        deadline = time.monotonic() + self._settings.drain_seconds
        while self.server.running and time.monotonic() < deadline and not hurry.is_set():
            await _wait(hurry, 0.05)
        await self.server.stop()
        await self._proxy.stop(max(0.0, deadline - time.monotonic()) if not hurry.is_set() else 0.0)
        await self._tasks.stop()
        await self.upstream.close()
        await self._sharing.stop()
        await self._ledger.stop()
        await self._webhook.stop(_LAST_ALERTS_WITHIN)
        await self._client.close()
        await self._ops.stop()

    def adopt(self, outcome: Outcome) -> None:
        """Take a reloaded policy for new requests, or keep the last good one and say why."""
        if isinstance(outcome, PolicyFaults):
            self.observer.reloaded(ok=False)
            self._log.error("reload", kept=self.policy.version, faults=[str(fault) for fault in outcome.faults])
            return
        self.policy = outcome.policy
        self.upstream.adopt(self.policy)
        self.observer.reloaded(ok=True)
        notices = [str(notice) for notice in outcome.notices]
        self._log.info("reload", version=self.policy.version, teams=len(self.policy.teams), notices=notices)

    async def _refresh(self) -> None:
        with contextlib.suppress(StoreDown):  # the gauges keep what was last seen; the store has gauges of its own
            await self._budgets.refresh(self._ledger)

    def _readiness(self) -> tuple[bool, dict[str, Any]]:
        return self._ready, {
            "policy": self.policy.version,
            "teams": len(self.policy.teams),
            "running": self.server.running,
        }

    async def run(self, watch: Watch) -> None:
        """Serve until SIGTERM or SIGINT, then drain. A second signal means now."""
        loop = asyncio.get_running_loop()
        watching = asyncio.create_task(watch.run(self.adopt))
        told = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, told.set)
        await told.wait()
        hurry = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, hurry.set)
        self._log.info("draining", running=self.server.running)
        await self.stop(hurry)
        watching.cancel()


def client_of(settings: Settings, env: Mapping[str, str]) -> HttpClient:
    """The way out as the environment prescribes it. SettingsFaults when it can't be gone."""
    authorities = env.get("SSL_CERT_FILE")
    try:
        way = proxies(env)
        tls = tls_context(authorities) if authorities else None
    except ValueError as error:
        raise SettingsFaults([str(error)]) from None
    except OSError as error:
        raise SettingsFaults([f"SSL_CERT_FILE: {authorities} can't be used: {error.strerror or error}"]) from None
    limits = PoolLimits(connections=settings.upstream_connections, age_seconds=settings.upstream_connection_seconds)
    return HttpClient(limits=limits, proxies=way, tls=tls)


def ledger_of(settings: Settings, observer: LedgerObserver) -> Ledger:
    """The shared store when there is one, else the embedded one of this process."""
    if settings.redis_url is None:
        return Embedded(settings.state_dir, observer=observer)
    from gateway.store.redis import RedisLedger  # the driver costs a start without it 60 ms

    return RedisLedger(
        settings.redis_url.get_secret_value(),
        settings.state_dir,
        namespace=settings.redis_namespace,
        timeout_ms=settings.store_timeout_ms,
        observer=observer,
    )


def tls_of(settings: Settings) -> ssl.SSLContext | None:
    """The certificate of both listeners; OSError (ssl's own is one) when it can't be used."""
    if settings.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(settings.tls_cert, settings.tls_key)
    return context


def env_tokens(settings: Settings) -> tuple[AdminToken, ...]:
    """The admin token of the environment."""
    if settings.admin_token is None:
        return ()
    return (AdminToken("env", sha256(settings.admin_token.get_secret_value().encode()).digest(), "write"),)


def work_of(settings: Settings, ledger: Ledger) -> Work:
    """The list of work that goes on after its call, beside the ledger."""
    if isinstance(ledger, Embedded):
        return EmbeddedWork(settings.state_dir)
    from gateway.store.redis import RedisLedger
    from gateway.store.work_redis import RedisWork

    assert isinstance(ledger, RedisLedger)
    return RedisWork(ledger)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
