"""The retry budget of a workspace, and one more attempt under a hold: what both stores do for it, in one step.

Each admission deposits a share of a retry, each further attempt takes a whole one, and no more than `MOST` are ever
saved. So over any time retries are at most `MOST` plus the share of the admissions, over all replicas together. A new
budget is full. The attempt also takes its request unit where it goes; failing over moves the workspace's part of the
hold there. All of it or none. `store/lua/retry.lua` says the same in Lua.
"""

from dataclasses import dataclass
from typing import NamedTuple

from gateway.core.book import MOST_RETRIES, Held, Said, State, look_at_takes, take_from
from gateway.core.buckets import correct, wait_ms
from gateway.core.limits import UNIT, Bucket
from gateway.core.plan import FOR_GOOD, SHADOW, SLOTS, Part, Plan, Take, part_of

MOST = MOST_RETRIES

# When a slot comes back is not known. A second is worth another try.
UNKNOWN_WAIT_SECONDS = 1.0


def deposit_of(share: float) -> int:
    """What one admission deposits: 0.25 of a retry is 15,000."""
    return round(share * UNIT)


@dataclass(frozen=True, slots=True)
class Retry:
    """One more attempt, before it is made."""

    hold: str
    payer: str  # the workspace whose budget pays: the one that the request was admitted to
    workspace: str  # the one that is asked
    takes: tuple[tuple[Bucket, int], ...]  # of its buckets, in whole units
    at_least: tuple[int, ...] = ()
    leaves: str = ""  # the workspace whose part of the hold becomes the asked one's
    free: bool = False  # nothing was sent yet, so this is the first attempt


@dataclass(frozen=True, slots=True)
class RetryVerdict:
    """Whether the attempt may be made. `budget` is what is left of it, in retries."""

    granted: bool
    budget: float
    by: Bucket | None = None  # the bucket without room; None with a refusal: the budget, or the hold is gone
    retry_after_seconds: float = 0.0


class Asked(NamedTuple):
    """A retry in the form that both stores work on."""

    payer: str  # an owner, as all names of this form
    cost: int
    part: Part
    leaves: str  # "" when the hold stays where it is

    @property
    def owners(self) -> tuple[str, ...]:
        """Whose levels are touched, in the script's order."""
        return (self.payer, self.part.owner, *([self.leaves] if self.leaves else []))


class Tried(NamedTuple):
    """The answer to a retry: levels after it, before it when refused."""

    said: int
    now: int = 0
    budget: int = MOST
    passed: int = 0
    levels: tuple[int, ...] = ()

    @classmethod
    def of(cls, numbers: list[int]) -> "Tried":
        """From the flat list that the script answers."""
        if len(numbers) < 4:
            return cls(numbers[0], numbers[1])
        said, now, budget, passed, *levels = numbers
        return cls(said, now, budget, passed, tuple(levels))


def asked_of(retry: Retry) -> Asked:
    owner = f"workspace:{retry.workspace}"
    part = part_of(owner, retry.takes, retry.at_least)
    leaves = f"workspace:{retry.leaves}" if retry.leaves else ""
    return Asked(f"workspace:{retry.payer}", 0 if retry.free else UNIT, part, leaves)


def moved(plan: Plan, asked: Asked) -> Plan:
    """The plan after a move. What was held in the workspace that is left keeps its places and holds nothing, so that
    every other take keeps its place too."""
    parts = [
        replace_takes(part, [_emptied(take) for take in part.takes]) if part.owner == asked.leaves else part
        for part in plan.parts
    ]
    return Plan(
        [*parts, asked.part], plan.team, plan.key, plan.model, plan.kind, plan.nano, leased=plan.leased, moved=1
    )


def replace_takes(part: Part, takes: list[Take]) -> Part:
    return Part(part.owner, takes, part.spends)


def _emptied(take: Take) -> Take:
    code = take.code & ~SHADOW
    kept = SLOTS if code == SLOTS else FOR_GOOD  # slots are counted otherwise than levels
    return Take(take.field, kept | (take.code & SHADOW), take.rate, take.capacity, 0)


def retry(state: State, hold: str, asked: Asked, now: int) -> Tried:
    """Take all or nothing. A hold that is not there can't be moved (BARRED); staying needs none."""
    held = state.holds.get(hold)
    if asked.leaves and held is None:
        return Tried(Said.BARRED, now)
    budget = state.retries.get(asked.payer, MOST)
    levels, ok, passed = look_at_takes(state, [asked.part], now)
    if not ok or budget < asked.cost:
        return Tried(Said.REFUSED, now, budget, passed, tuple(levels))
    if asked.cost:
        budget -= asked.cost
        state.retries[asked.payer] = budget
    for place, take in enumerate(asked.part.takes):
        if not passed >> place & 1:
            levels[place] -= take.amount
            take_from(state, asked.part.owner, take, levels[place], now)
    if asked.leaves and held is not None:
        _leave(state, held, asked.leaves, now)
        bits = held.passed | passed << len(held.plan.takes())
        state.holds[hold] = Held(held.at, bits, moved(held.plan, asked))
    return Tried(Said.GRANTED, now, budget, passed, tuple(levels))


def _leave(state: State, held: Held, owner: str, now: int) -> None:
    """Give back what was held of a workspace, but for the request unit."""
    place = -1
    for part in held.plan.parts:
        for take in part.takes:
            place += 1
            code = take.code & ~SHADOW
            if part.owner != owner or code == FOR_GOOD or held.passed >> place & 1:
                continue
            key = (owner, take.field)
            if code == SLOTS:
                state.slots[key] = max(0, state.slots.get(key, 0) - take.amount)
            else:
                state.tanks[key] = correct(state.tanks.get(key), take.rate, take.capacity, now, take.amount)


def verdict_of(retry: Retry, asked: Asked, tried: Tried) -> RetryVerdict:
    """What a store's bare numbers mean to the caller."""
    budget = tried.budget / UNIT
    if tried.said != Said.REFUSED:
        return RetryVerdict(tried.said == Said.GRANTED, budget)
    buckets = {bucket.field: bucket for bucket, _ in retry.takes}
    worst: tuple[float, Bucket] | None = None
    for take, level in zip(asked.part.takes, tried.levels, strict=True):
        if level >= take.amount or take.code & SHADOW:
            continue
        wait = UNKNOWN_WAIT_SECONDS if take.rate == 0 else wait_ms(level, take.amount, take.rate) / 1000
        if worst is None or wait > worst[0]:
            worst = (wait, buckets[take.field])
    return RetryVerdict(False, budget, *((worst[1], worst[0]) if worst else ()))
