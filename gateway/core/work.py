"""Work that goes on after its call: what must be remembered of a batch, a session or a dream until it is paid for.

Rule: what is about to be booked is written down first (`bills`), each under an id that the ledger books once. Whoever
finds it afterwards books it again to no effect, so it does not matter who dies when.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from gateway.core.limits import Budget, Claim, Settlement

# An item whose create has not answered yet comes due after this: its process must have died.
CREATE_SECONDS: Final = 3600.0


KINDS: Final = ("batch", "session", "dream", "run", "deployment", "new")


class Bill(msgspec.Struct, frozen=True, omit_defaults=True):
    """One ledger row's worth, under an id that is booked once; that of the hold releases it."""

    id: str
    model: str
    nano: int = 0
    usage: dict[str, int] = {}
    requests: int = 1
    estimated: str | None = None
    saved: int = 0

    def settlement(self) -> Settlement:
        return Settlement(
            nano=self.nano,
            produced=bool(self.nano or self.usage),
            saved_nano=self.saved,
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
    free: int = 0  # of `nano`: what it had used before the gateway knew it


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
    blind: bool = True  # it costs something even if nobody learns its id
    input: int = 0  # expected in all
    output: int = 0
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


def release(item: Item) -> tuple[Bill, ...]:
    """The hold let go with nothing more to pay."""
    return (Bill(item.hold, item.model, requests=0),) if item.held else ()


def estimate(item: Item, outcome: str, *, share: float = 1.0, reason: str = "no_usage") -> "Settle":
    """The end of work whose usage can't be known: what was held stands, as far as it was not booked already."""
    nano = int(item.nano * share) - (item.progress.nano - item.progress.free)
    if nano <= 0:
        return Settle(release(item), outcome)
    if item.kind in ("batch", "new"):
        # Under the hold alone: one that was never made, or is settled already, then books nothing.
        return Settle((Bill(item.hold, item.model, nano, estimated=reason),), outcome)
    bill = Bill(f"{item.hold}.{item.progress.bills + 1}", item.model, nano, {}, int(not item.progress.bills), reason)
    return Settle((bill, *release(item)), outcome)


@dataclass(frozen=True, slots=True)
class Look:
    """Look again in so many seconds; `bills` is what grew since the last time, `item` what is known now."""

    seconds: float
    item: Item
    bills: tuple[Bill, ...] = ()


@dataclass(frozen=True, slots=True)
class Settle:
    """Book the last of it; then the work is done."""

    bills: tuple[Bill, ...]
    outcome: str
    ended: float = 0.0  # when Claude had finished, for the lag


@dataclass(frozen=True, slots=True)
class Found:
    """Other work came to light; with `instead`, in the place of this."""

    items: tuple[Item, ...]
    seconds: float
    item: Item
    instead: bool = False


Step = Look | Settle | Found
