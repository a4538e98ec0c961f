"""The seam between requests and the store that limits and bills them.

A hold's id is drawn before `reserve` is called and is settled exactly once by that id, whether or not a verdict was
seen. `StoreDown` is the only error that `reserve` raises on purpose: the claim then stays open until it is settled.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from gateway.core.limits import Bucket, Budget, Claim, Level, Period, Settlement, Standing, Verdict
from gateway.core.retries import Retry, RetryVerdict

Grain = Literal["day", "month"]


class StoreDown(Exception):
    """The store did not answer in time, or can't be reached, or answered that it can't serve."""


class StoreUnfit(Exception):
    """The store must not be used as it is: too old, of another layout, or already in use. The text says what to do."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one team spent with one key on one model by one kind of call, in one UTC day or month."""

    period: str  # "2026-11-20" or "2026-11"
    team: str
    key: str
    model: str
    kind: str
    amounts: Mapping[str, int]  # requests, nano, estimated_requests, estimated_nano, late_requests, tokens by kind


@dataclass(frozen=True, slots=True)
class Holder:
    """A hold that is open now."""

    hold: str
    team: str
    key: str
    model: str
    kind: str
    since: float  # epoch seconds of the store


@dataclass(frozen=True, slots=True)
class Peek:
    """Levels and standings as they are now; asking takes nothing."""

    levels: tuple[Level, ...] = ()
    standings: tuple[Standing, ...] = ()


@dataclass(frozen=True, slots=True)
class Health:
    """How the ledger is: for /readyz and the metrics. `ok` False never stops the process."""

    kind: str  # "embedded" | "redis"
    ok: bool
    detail: str = ""
    data_lost: bool = False
    holds_open: int = 0  # of this process
    unconfirmed: int = 0  # settlements that the store has not confirmed
    lag_seconds: float = 0.0  # age of the oldest of them
    journal_ok: bool = True
    live_processes: int = 1
    warnings: tuple[str, ...] = field(default=())


class Observer(Protocol):
    """Where the ledger tells what happened. Both calls are synchronous, rare or cheap, and must not raise."""

    def event(self, name: str, facts: Mapping[str, object]) -> None:
        """One thing worth a log line: once per outage, never per request."""
        ...

    def timed(self, operation: str, seconds: float, *, failed: bool) -> None:
        """One call to the store, for `gateway_store_seconds` and `gateway_store_errors_total`."""
        ...


class Silent:
    """An observer that hears nothing."""

    def event(self, name: str, facts: Mapping[str, object]) -> None:
        pass

    def timed(self, operation: str, seconds: float, *, failed: bool) -> None:
        pass


class Ledger(Protocol):
    """Limits and money. The proxy sees `reserve` and `settle`; the rest is for app, ops and tasks."""

    async def start(self) -> None:
        """Open files and connections. Raises StoreUnfit; a store that is only unreachable does not stop the start."""
        ...

    async def stop(self) -> None:
        """Send and write down what is queued, then let go of everything."""
        ...

    async def reserve(self, claim: Claim) -> Verdict:
        """Hold all of the claim or nothing, in one round trip. Raises StoreDown."""
        ...

    def settle(self, hold: str, settlement: Settlement) -> str:
        """Book what was really used, once; never waits. A hold that was refused, settled or never asked for is let be.

        Returns the settlement's place in the ledger, "WRITER/NUMBER" for the log line, or "" when nothing is booked.
        """
        ...

    async def note(self, hold: str) -> None:
        """Write down that an open claim goes on without the store's word, so that a crash leaves an estimated row.

        Raises StoreDown when that can't be written down either, and memory has taken what it may.
        """
        ...

    async def recall(self, hold: str) -> bool:
        """Take up a hold without a lease, made by whatever process, so that this one may settle it. False: it is gone.

        Two that settle it both are one settlement: its id is remembered for 40 days.
        """
        ...

    async def retry(self, retry: Retry) -> RetryVerdict:
        """Pay for one more attempt and take its units, in one round trip; when it moves, so does the hold. Raises
        StoreDown: then the attempt must not be made."""
        ...

    def leave(self, hold: str) -> None:
        """Let a hold without a lease go on by itself: this process is done with it, whoever recalls it settles it."""
        ...

    async def finish(self, hold: str, settlement: Settlement) -> None:
        """Settle a hold without a lease and return when the store has it; nothing when that was done before.

        Raises StoreDown: it may or may not be booked, and doing it again books it once.
        """
        ...

    async def book(self, claim: Claim, settlement: Settlement) -> None:
        """Book, under an id of its own, what nothing is held for, and return when the store has it; once per id.

        Raises StoreDown like `finish`.
        """
        ...

    async def peek(self, buckets: Sequence[Bucket], budgets: Sequence[Budget]) -> Peek: ...

    async def holders(self, team: str) -> list[Holder]: ...

    async def rows(self, grain: Grain, first: str, last: str, team: str | None = None) -> list[Row]:
        """Rows of the periods first..last, both included."""
        ...

    async def raise_budget(self, owner: str, per: Period, nano: int, until: float) -> None:
        """Add `nano` to a ceiling until an epoch second; 0 takes an earlier raise back."""
        ...

    async def share(self, taken: Mapping[int, Mapping[str, float]], days: Sequence[int]) -> dict[int, dict[str, float]]:
        """Add what this process learned, by day since 1970 and field, to everybody's sums; return those of `days`.

        Raises StoreDown: then the next call brings the same `taken`, of which nothing is added twice. One at a time.
        """
        ...

    @property
    def health(self) -> Health: ...
