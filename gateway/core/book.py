"""What a store does with plans and charges: the same decisions as `lua/*.lua`, over a value in memory.

All holds or none; a hold is settled once; every number that was applied is skipped when it comes again. The functions
take the store's time and change the `State` they are given. Nothing here waits, logs or knows where a plan came from.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from gateway.core.buckets import Tank, correct, refill
from gateway.core.limits import UNIT
from gateway.core.plan import FOR_GOOD, SHADOW, SLOTS, Charge, Count, Part, Plan, Spend, Take

MARK_MS = 60_000  # how long a settlement of an unknown hold bars a late reserve with that id
MOST_RETRIES = 50 * UNIT  # what a retry budget can save
ONCE_MS = 40 * 86_400_000  # how long the id of a hold without a lease is known as settled


class Said(IntEnum):
    """The first number of every answer of a store."""

    GRANTED = 0
    REFUSED = 1
    BARRED = 2  # settled before it arrived
    EPOCH = 3  # not the store that the caller knows
    STALE = 4  # outside both periods of the plan: the caller's clock is off
    DONE = 5
    SKIPPED = 6  # at or below the highest number applied
    GAP = 7  # numbers before it have not arrived
    CLOSED = 8  # its month has closed: book it as late


class Reply(NamedTuple):
    """The answer to a reserve: levels after it (before it when refused), in the plan's order."""

    said: int
    now: int = 0
    passed: int = 0  # bits of the shadow buckets that would have refused: nothing was taken from them
    lost: int = 0
    levels: tuple[int, ...] = ()
    standings: tuple[tuple[int, int, int, int], ...] = ()  # spent, held, raise, 0 this period or 1 the next

    @classmethod
    def of(cls, numbers: list[int], plan: Plan) -> "Reply":
        """From the flat list that the script answers: the plan says how many are levels."""
        if len(numbers) < 4:
            return cls(numbers[0], numbers[1])
        said, now, passed, lost, *rest = numbers
        ends = len(plan.takes())
        standings = zip(*[iter(rest[ends:])] * 4, strict=True)
        return cls(said, now, passed, lost, tuple(rest[:ends]), tuple(standings))


class Booked(NamedTuple):
    """The answer to a charge: what the owner's counts became, and by how much."""

    said: int
    now: int = 0
    applied: int = 0  # the highest number applied
    nano: int = 0  # what was booked; the difference, when the hold had been swept
    counts: tuple[tuple[int, int], ...] = ()  # spent and raise of each count, in the charge's order

    @classmethod
    def of(cls, numbers: list[int]) -> "Booked":
        """From the flat list that the script answers."""
        said, now, applied, nano = [*numbers[:4], 0, 0][:4]
        return cls(said, now, applied, nano, tuple(zip(*[iter(numbers[4:])] * 2, strict=True)))


class Spent(NamedTuple):
    """An owner's spend in a period and in the one before it."""

    number: int
    now: int
    before: int

    def at(self, number: int) -> int:
        return self.now if number == self.number else self.before if number == self.number - 1 else 0

    def add(self, number: int, nano: int) -> "Spent":
        """With more booked in a period. Older ones than the last two are no budget's concern any more."""
        if number == self.number:
            return Spent(number, self.now + nano, self.before)
        if number == self.number - 1:
            return Spent(self.number, self.now, self.before + nano)
        if number < self.number:
            return self
        return Spent(number, nano, self.now if number == self.number + 1 else 0)


class Held(NamedTuple):
    """An open hold: when, the bits of the takes that were passed over, and its plan."""

    at: int
    passed: int
    plan: Plan


@dataclass
class State:
    """Everything a store keeps for limits and budgets. Keys are (owner, field) and (owner, period)."""

    tanks: dict[tuple[str, str], Tank] = field(default_factory=dict)
    slots: dict[tuple[str, str], int] = field(default_factory=dict)
    spent: dict[tuple[str, str], Spent] = field(default_factory=dict)
    held: dict[tuple[str, str], int] = field(default_factory=dict)
    raises: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)  # nano, until
    holds: dict[str, Held] = field(default_factory=dict)
    swept: dict[str, Held] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)  # hold -> when the mark ends
    applied: dict[str, int] = field(default_factory=dict)  # writer -> highest number
    rows: dict[tuple[str, str, str], int] = field(default_factory=dict)  # (day or month, row, what)
    retries: dict[str, int] = field(default_factory=dict)  # what is left of a workspace's retry budget; absent: full
    lost: int = 0


def over(spent: int, held: int, amount: int, ceiling: int) -> bool:
    """Whether a budget has no room. What holds nothing itself is only asked whether anything is left."""
    return spent + held + amount > ceiling if amount else spent >= ceiling


def reserve(state: State, hold: str, plan: Plan, now: int, wall: int) -> Reply:
    """Hold all of a plan or nothing. `now` moves the buckets, `wall` the budgets; in Redis both are TIME.

    Three cases: the id was settled before it came (barred); it is held already (asked twice: the same answer, nothing
    more is taken); it is new (all takes and spends must pass).
    """
    if state.marks.get(hold, -1) > now:
        return Reply(Said.BARRED, wall)
    levels, ok, passed = look_at_takes(state, plan.parts, now)
    standings = []
    for part in plan.parts:
        for spend in part.spends:
            standing = _standing(state, part.owner, spend, wall)
            if standing is None:
                return Reply(Said.STALE, wall)
            standings.append(standing)
            spent, held, extra, _ = standing
            if spend.block and (state.lost or over(spent, held, spend.amount, spend.ceiling + extra)):
                ok = False
    if hold in state.holds:
        return Reply(Said.GRANTED, wall, state.holds[hold].passed, state.lost, tuple(levels), tuple(standings))
    if not ok or not hold:
        return Reply(Said.REFUSED, wall, passed, state.lost, tuple(levels), tuple(standings))
    position = 0
    for part in plan.parts:
        for take in part.takes:
            if not passed >> position & 1:
                levels[position] -= take.amount
                take_from(state, part.owner, take, levels[position], now)
            position += 1
        for spend in part.spends:
            key = (part.owner, spend.per)
            state.held[key] = state.held.get(key, 0) + spend.amount
        saved = state.retries.get(part.owner)
        if part.deposit and saved is not None:  # a budget that nothing was taken from is full
            state.retries[part.owner] = min(MOST_RETRIES, saved + part.deposit)
    after = [(s, h + spend.amount, x, w) for (s, h, x, w), spend in zip(standings, plan.spends(), strict=True)]
    state.holds[hold] = Held(wall, passed, plan)
    return Reply(Said.GRANTED, wall, passed, state.lost, tuple(levels), tuple(after))


def look_at_takes(state: State, parts: list[Part], now: int) -> tuple[list[int], bool, int]:
    """Every bucket's level, whether all that count have room, and the bits of the shadow buckets that have none."""
    levels: list[int] = []
    ok = True
    passed = 0
    for part in parts:
        for take in part.takes:
            key = (part.owner, take.field)
            if take.code & ~SHADOW == SLOTS:
                level = take.capacity - state.slots.get(key, 0)
            else:
                level = refill(state.tanks.get(key), take.rate, take.capacity, now)
            if level < take.amount:
                if take.code & SHADOW:
                    passed |= 1 << len(levels)
                else:
                    ok = False
            levels.append(level)
    return levels, ok, passed


def take_from(state: State, owner: str, take: Take, level: int, now: int) -> None:
    key = (owner, take.field)
    if take.code & ~SHADOW == SLOTS:
        state.slots[key] = take.capacity - level
    else:
        state.tanks[key] = Tank(level, now, take.rate, take.capacity)


def _standing(state: State, owner: str, spend: Spend, wall: int) -> tuple[int, int, int, int] | None:
    if not spend.start <= wall < spend.next_end:
        return None
    following = int(wall >= spend.end)
    spent = state.spent.get((owner, spend.per), Spent(0, 0, 0)).at(spend.number + following)
    extra, until = state.raises.get((owner, spend.per), (0, 0))
    return spent, state.held.get((owner, spend.per), 0), extra if wall < until else 0, following


def charge(state: State, writer: str, it: Charge, now: int, wall: int) -> Booked:
    """Apply one numbered settlement, or (n 0) sweep one hold.

    Where the hold is found decides what is booked: open (the difference to it), swept (the difference to its estimate),
    nowhere (all of it, and a mark bars the reserve that may still come).
    """
    applied = state.applied.get(writer, 0)
    if it.n and it.n <= applied:
        return Booked(Said.SKIPPED, wall, applied)
    if it.n and it.n != applied + 1:
        return Booked(Said.GAP, wall, applied)
    if wall >= it.closes:
        return Booked(Said.CLOSED, wall, applied)
    if it.once and it.n and state.marks.get(it.hold, -1) > now:
        state.applied[writer] = it.n
        return Booked(Said.DONE, wall, it.n)
    nano, amounts = it.nano, it.amounts
    hold = state.holds.pop(it.hold, None)
    if hold is not None:
        _release(state, hold, it, now, slots=True)
        if not it.n:
            state.swept[it.hold] = hold
    elif not it.n:
        return Booked(Said.SKIPPED, wall, applied)
    elif (hold := state.swept.pop(it.hold, None)) is not None:
        _release(state, hold, it, now, slots=False)
        nano -= hold.plan.nano
        amounts = _difference(it, hold.plan.nano)
    else:
        state.marks[it.hold] = now + MARK_MS
        if not it.zero:
            _charge_whole(state, it, now)
    counts = tuple(_count(state, it.parts[count.part - 1], count, nano, wall) for count in it.counts)
    for what, amount in amounts:
        for period in (it.day, it.month):
            key = (period, it.row, what)
            state.rows[key] = state.rows.get(key, 0) + amount
    if it.n:
        state.applied[writer] = applied = it.n
        if it.once:
            state.marks[it.hold] = now + ONCE_MS
    return Booked(Said.DONE, wall, applied, nano, counts)


def _difference(it: Charge, estimate: int) -> list[tuple[str, int]]:
    """What a late settlement changes in the row that the sweep booked: the row was a request at its estimate."""
    changed = [("nano", it.nano - estimate)]
    if it.zero:
        changed += [("requests", -1)]
    if it.late:
        changed += [("late_nano", it.nano - estimate)]
    if not it.estimated:
        changed += [("estimated_requests", -1), ("estimated_nano", -estimate)]
    else:
        changed += [("estimated_nano", it.nano - estimate)]
    return changed + [pair for pair in it.amounts if "requests" not in pair[0] and "nano" not in pair[0]]


def _release(state: State, hold: Held, it: Charge, now: int, *, slots: bool) -> None:
    """Turn what was held into what was used. A swept hold's slots and money were let go when it was swept."""
    position = 0
    for part in hold.plan.parts:
        for take in part.takes:
            key = (part.owner, take.field)
            code = take.code & ~SHADOW
            if hold.passed >> position & 1:
                pass
            elif code == SLOTS:
                if slots:
                    state.slots[key] = max(0, state.slots.get(key, 0) - take.amount)
            elif code != FOR_GOOD and it.actual:
                given_back = take.amount - it.actual[code - 1]
                state.tanks[key] = correct(state.tanks.get(key), take.rate, take.capacity, now, given_back)
            position += 1
        if slots:
            for spend in part.spends:
                held = (part.owner, spend.per)
                state.held[held] = max(0, state.held.get(held, 0) - spend.amount)


def _charge_whole(state: State, it: Charge, now: int) -> None:
    for part in it.parts:
        for take in part.takes:
            code = take.code & ~SHADOW
            if code == SLOTS or take.code & SHADOW:
                continue
            used = take.amount if code == FOR_GOOD or not it.actual else it.actual[code - 1]
            key = (part.owner, take.field)
            state.tanks[key] = correct(state.tanks.get(key), take.rate, take.capacity, now, -used)


def _count(state: State, part: Part, count: Count, nano: int, wall: int) -> tuple[int, int]:
    key = (part.owner, count.per)
    spent = state.spent.get(key, Spent(0, 0, 0)).add(count.number, nano)
    state.spent[key] = spent
    extra, until = state.raises.get(key, (0, 0))
    return spent.at(count.number), extra if wall < until else 0
