"""The seam to the list of work that goes on after its call: batches, sessions, dreams, until each is paid for.

Rule: any process may take any item by a short lease; who lets it lapse can change nothing any more. Money is not booked
here: an item says what is to be booked, the ledger books it once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from gateway.core.work import Item


@dataclass(frozen=True, slots=True)
class Leased:
    """An item in this process's hands, and the word that proves it."""

    item: Item
    token: str


@dataclass(frozen=True, slots=True)
class Counts:
    """What is on the list, for the metrics."""

    by_kind: Mapping[str, int]
    overdue_seconds: float = 0.0  # of the item that waits longest past its time


class Work(Protocol):
    """Everything but `start` and `stop` raises StoreDown when the list can't be reached."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def add(self, item: Item, *, due_in: float) -> None:
        """Put an item on the list; one that is there already stays as it is."""
        ...

    async def bind(self, old: str, item: Item, *, due_in: float) -> None:
        """Put an item in the place of another, in one step."""
        ...

    async def drop(self, id: str) -> None:
        """Take an item off the list, whoever has it."""
        ...

    async def nudge(self, id: str, *, due_in: float = 0.0) -> bool:
        """Have an item looked at by then, or again after the look under way. False: there is none."""
        ...

    async def get(self, id: str) -> Item | None: ...

    async def lease(self, *, seconds: float, most: int) -> list[Leased]:
        """Those that are due, the longest overdue first."""
        ...

    async def take(self, id: str, *, seconds: float) -> Leased | None:
        """That one, due or not; None when it is done or another has it."""
        ...

    async def renew(self, leased: Leased, *, seconds: float) -> bool:
        """Keep it for so long from now. This and those below say False when the lease is another's by now."""
        ...

    async def keep(self, leased: Leased, item: Item, *, seconds: float) -> bool:
        """Write the item and keep it leased."""
        ...

    async def let(self, leased: Leased, item: Item, *, due_in: float) -> bool:
        """Write the item and let it go until it is due."""
        ...

    async def done(self, leased: Leased) -> bool:
        """Take the item off the list."""
        ...

    async def counts(self) -> Counts: ...
