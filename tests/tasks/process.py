"""A gateway in a process of its own that stops dead before one step, for tests that kill it there. Run as a program.

Arguments: the simulator's URL, the store's URL or "", the state directory, the step ("work.keep", "ledger.finish" …)
and at which of its calls to stop. It prints its port, then "halted" when it has come to the step, and waits to be
killed.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import structlog

from gateway.app import App, ledger_of
from gateway.settings import Settings
from gateway.wire.client import HttpClient
from tests.proxy.conftest import _keep, _Lines, policy_for
from tests.tasks.conftest import PACE, PURSE

LEASE_SECONDS = 0.4
CREATE_SECONDS = 0.4


class Halting:
    """Passes every call on, but never returns from the one before which it is to stop."""

    def __init__(self, inner: Any, name: str, at: str, nth: int) -> None:
        self._inner, self._name, self._at, self._nth = inner, name, at, nth

    def __getattr__(self, what: str) -> Any:
        found = getattr(self._inner, what)
        if f"{self._name}.{what}" != self._at:
            return found

        def call(*args: Any, **more: Any) -> Any:
            self._nth -= 1
            if self._nth:
                return found(*args, **more)
            print("halted", flush=True)
            # Whether it is waited for or not: nothing else of this process happens any more.
            while True:
                sys.stdin.read(1)

        return call


def quickened(app: App) -> App:
    app._tasks._worker.lease_seconds = LEASE_SECONDS
    app._tasks._create_seconds = CREATE_SECONDS
    return app


def opened(simulator: str, store: str, directory: Path, lines: list[dict[str, Any]]) -> App:
    settings = Settings(
        _env_file=None, port=0, ops_port=0, state_dir=directory, redis_url=store or None, store_timeout_ms=1000
    )
    log = structlog.wrap_logger(_Lines(lines), processors=[_keep])
    policy = policy_for(simulator, budgets=(PURSE,))
    app = App(settings, policy, lambda observer: ledger_of(settings, observer), log, client=HttpClient(), pace=PACE)
    return quickened(app)


async def main(simulator: str, store: str, directory: str, step: str, nth: str) -> None:
    app = opened(simulator, store, Path(directory), [])
    await app.start()
    inner: Any = app._ledger._inner
    owner, confirm = (inner, "_confirmed") if store else (inner._commits, "surely")
    setattr(owner, confirm, getattr(Halting(owner, "ledger", step.replace("confirm", confirm), int(nth)), confirm))
    work = Halting(app._tasks._work, "work", step, int(nth))
    ledger = Halting(app._ledger, "ledger", step, int(nth))
    app._tasks._work = app._tasks._worker._work = work
    app._tasks._ledger = app._tasks._worker._ledger = app._proxy._ledger = ledger
    app._proxy._waiting._ledger = ledger
    print(app.port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
