"""Work that goes on after its call: what must be remembered of a batch, a session or a dream until it is paid for.

Rule: what is about to be booked is written down first (`bills`), each under an id that the ledger books once. Whoever
finds it afterwards books it again to no effect, so it does not matter who dies when.
"""

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from gateway.core.cost import half_up
from gateway.core.limits import Budget, Claim, Settlement

# An item whose create has not answered yet comes due after this: its process must have died.
CREATE_SECONDS: Final = 3600.0


class Bill(msgspec.Struct, frozen=True, omit_defaults=True):
    """One ledger row's worth, under an id that is booked once; that of the hold releases it."""

    id: str
    model: str
    nano: int = 0
    usage: dict[str, int] = {}
    requests: int = 1
    estimated: str | None = None

    def settlement(self) -> Settlement:
        return Settlement(
            nano=self.nano,
            produced=bool(self.nano or self.usage),
            estimated=self.estimated,
            usage=self.usage,
            requests=self.requests,
        )


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a cumulative usage has been booked: the watermark. `parts` is exact, so the sum is rounded once."""

    counts: dict[str, int] = {}
    parts: int = 0
    nano: int = 0  # booked so far; half_up(parts), or more where Claude's own figure was more
    bills: int = 0  # numbered so far


class Item(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One piece of work. The id is the object's; before that is known, the hold's."""

    id: str
    kind: str  # batch | run | session | dream | deployment, or "new" before the create has answered
    hold: str
    team: str
    key: str
    workspace: str
    route: str  # the kind of its ledger rows
    models: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()  # version and betas of the call that began it
    since: float = 0.0  # epoch seconds
    nano: int = 0  # held, and what it is charged when its usage can't be known
    input: int = 0  # expected in all
    output: int = 0
    requests: int = 1
    held: bool = True  # its hold is open
    running: bool = True  # as last seen
    changed: float = 0.0  # when its usage or status last changed
    progress: Progress = Progress()
    bills: tuple[Bill, ...] = ()  # written down and perhaps booked
    outcome: str = ""  # with bills that are the last: what became of it
    ended: float = 0.0  # when Claude had finished, for the lag
    tries: int = 0  # failures in a row
    failing: float = 0.0  # since when

    @property
    def model(self) -> str:
        return self.models[0] if self.models else ""


def claim_of(item: Item, bill: Bill, budgets: tuple[Budget, ...]) -> Claim:
    """What a bill beside the hold is booked under: it takes nothing, but counts in the team's and the key's budgets."""
    return Claim(
        bill.id,
        item.team,
        item.key,
        item.workspace,
        (),
        tuple((budget, 0) for budget in budgets),
        model=bill.model,
        kind=item.route,
        leased=False,
        nano=0,
    )


def estimate(item: Item, reason: str, outcome: str, *, share: float = 1.0) -> "Settle":
    """The end of work whose usage can't be known: what was held stands, as far as it was not booked already."""
    rest = max(0, int(item.nano * share) - item.progress.nano)
    bill = Bill(item.hold, item.model, rest, requests=int(bool(rest)), estimated=reason if rest else None)
    return Settle((bill,) if item.held else (), outcome)


@dataclass(frozen=True, slots=True)
class Look:
    """Nothing to book yet: look again in so many seconds."""

    seconds: float
    changes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Charge:
    """Book the difference and look again."""

    bills: tuple[Bill, ...]
    seconds: float
    changes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Settle:
    """Book the last of it; then the work is done."""

    bills: tuple[Bill, ...]
    outcome: str
    ended: float = 0.0
    progress: Progress | None = None


Step = Look | Charge | Settle


def advanced(progress: Progress, parts: int, counts: dict[str, int], claimed: int | None) -> tuple[Progress, int]:
    """The watermark moved on by `parts`, and the nano-dollars to book for it; never below what was booked.

    `claimed` is Claude's own cumulative figure, rounded to cents: it stands where the tokens at the model's price are a
    cent or more away from it, because another model ran as well or the prompt's length was priced by the request.
    """
    whole = progress.parts + parts
    nano = half_up(whole)
    if claimed is not None and abs(claimed - nano) >= CENT:
        nano = claimed
    nano = max(nano, progress.nano)
    return Progress(counts, whole, nano, progress.bills), nano - progress.nano


CENT: Final = 10_000_000
