"""A claim and a settlement in the form that both stores work on and that travels to Redis and into the journal.

A `Plan` groups what a claim takes by owner, in levels and nano-dollars. An `Entry` is one numbered settlement as it is
journalled; a `Charge` is that entry as it is applied at a given moment. All are arrays on the wire, read by position:
`lua/prelude.lua` names the same positions.
"""

from collections.abc import Sequence

import msgspec

from gateway.core.buckets import capacity_of
from gateway.core.limits import MOST_UNITS, UNIT, Bucket, Budget, Claim, Kind, Period, Settlement
from gateway.core.periods import closes, day_of, month_of, span

# How a take is settled. A request unit is never given back; tokens become what was used; a slot is freed.
FOR_GOOD, TOKENS, INPUT, OUTPUT, SLOTS = range(5)
SHADOW = 8  # added to the code of a bucket that only reports
CODES = {
    Kind.REQUESTS: FOR_GOOD,
    Kind.COUNT_REQUESTS: FOR_GOOD,
    Kind.OBJECT_REQUESTS: FOR_GOOD,
    Kind.TOKENS: TOKENS,
    Kind.INPUT: INPUT,
    Kind.OUTPUT: OUTPUT,
    Kind.SLOTS: SLOTS,
}
# More than this of one call is no usage but a fault: 10^9 tokens, a million dollars.
CREDIBLE_TOKENS = 10**9
CREDIBLE_NANO = 10**15


class Take(msgspec.Struct, array_like=True):
    """Levels from one bucket of the part's owner; for slots, whole slots and a rate of 0."""

    field: str
    code: int
    rate: int
    capacity: int
    amount: int


class Spend(msgspec.Struct, array_like=True):
    """Nano-dollars on one budget of the part's owner, with the borders of the period around now and of the next."""

    per: Period
    zone: str
    ceiling: int
    block: int
    amount: int
    number: int
    start: int
    end: int
    next_end: int


class Part(msgspec.Struct, array_like=True):
    """What a claim takes from one owner."""

    owner: str
    takes: list[Take]
    spends: list[Spend]
    deposit: int = 0  # into the retry budget of a workspace, in 1/60,000 of a retry


class Plan(msgspec.Struct, array_like=True):
    """A whole claim. Stored with the hold, so that settling and sweeping never consult policy."""

    parts: list[Part]
    team: str
    key: str
    model: str
    kind: str
    nano: int
    leased: bool
    moved: int = 0  # another workspace was asked, so the store's plan may be this one or the one before it

    def takes(self) -> list[Take]:
        return [take for part in self.parts for take in part.takes]

    def spends(self) -> list[Spend]:
        return [spend for part in self.parts for spend in part.spends]


class Opened(msgspec.Struct, tag_field="is", tag="held"):
    """A hold that only this process knows of, written down before its call leaves."""

    hold: str
    at: int  # store milliseconds
    plan: Plan


class Entry(msgspec.Struct, tag_field="is", tag="settled", omit_defaults=True):
    """One settlement as it stands in the journal, numbered by its writer from 1 without a gap."""

    n: int
    hold: str
    at: int  # store milliseconds
    plan: Plan
    input: int = 0
    output: int = 0
    nano: int = 0
    zero: bool = False  # nothing was produced: all but the request unit goes back
    as_held: bool = False  # the true usage isn't known: what was held stands
    estimated: str | None = None
    usage: dict[str, int] = {}
    saved: int = 0
    requests: int = 1


class Count(msgspec.Struct, array_like=True):
    """A period's spend of one owner: every team and key has a day and a month, with a budget or without."""

    part: int  # counted from 1, as Lua does
    per: Period
    number: int
    ceiling: int  # 0: no budget


class Charge(msgspec.Struct, array_like=True):
    """An entry as it is applied. `n` 0 is a sweep: it books a crashed hold at its estimate and keeps it."""

    n: int
    hold: str
    closes: int  # refused from this moment on, unless it is already booked as late
    late: int
    zero: int
    estimated: int
    actual: list[int]  # levels of tokens, input and output; empty: as held
    nano: int
    row: str
    amounts: list[tuple[str, int]]
    parts: list[Part]
    counts: list[Count]
    day: str
    month: str
    once: int = 0  # any process may settle it (no lease), so its id must be remembered
    moved: int = 0  # the store's own plan says what is held


def plan_of(claim: Claim, now: int) -> Plan:
    """The plan of a claim at a store time. Two takes on one bucket become one."""
    # The team and the key stand in every plan: their spend is counted even without a budget, so that a budget that is
    # added in the middle of a month knows what was spent before it.
    team, key = f"team:{claim.team}", f"key:{claim.team}/{claim.key}"
    parts = {team: Part(team, [], []), key: Part(key, [], [])}
    for index, (bucket, units) in enumerate(claim.takes):
        part = parts.get(bucket.owner) or parts.setdefault(bucket.owner, Part(bucket.owner, [], []))
        _add(part, _take(bucket, units, claim.least(index)))
    if claim.retry_deposit:
        owner = f"workspace:{claim.workspace}"
        (parts.get(owner) or parts.setdefault(owner, Part(owner, [], []))).deposit = claim.retry_deposit
    for budget, nano in claim.spends:
        part = parts.get(budget.owner) or parts.setdefault(budget.owner, Part(budget.owner, [], []))
        part.spends.append(_spend(budget, nano, now))
    expected = claim.nano
    if expected is None:
        expected = min((nano for _, nano in claim.spends), default=0)
    return Plan(list(parts.values()), claim.team, claim.key, claim.model, claim.kind, expected, claim.leased)


def part_of(owner: str, takes: Sequence[tuple[Bucket, int]], at_least: Sequence[int]) -> Part:
    """One owner's part alone, for an attempt at another workspace."""
    part = Part(owner, [], [])
    for index, (bucket, units) in enumerate(takes):
        _add(part, _take(bucket, units, at_least[index] if at_least else units))
    return part


def _add(part: Part, take: Take) -> None:
    same = next((other for other in part.takes if other.field == take.field), None)
    if same is None:
        part.takes.append(take)
    else:
        same.amount += take.amount


def _take(bucket: Bucket, units: int, least: int) -> Take:
    code = CODES[bucket.kind] | (SHADOW if bucket.shadow else 0)
    if bucket.kind is Kind.SLOTS:
        return Take(bucket.field, code, 0, bucket.per_minute, units)
    capacity = capacity_of(bucket)
    # A claim that may yet fit is held at the capacity at most, and the bucket goes into debt when the truth arrives.
    # One that can't fit keeps an amount above the capacity, so that no store can ever grant it.
    fits = least * UNIT <= capacity
    amount = min(units * UNIT, capacity) if fits else min(least, MOST_UNITS + 1) * UNIT
    return Take(bucket.field, code, bucket.per_minute, capacity, amount)


def _spend(budget: Budget, nano: int, now: int) -> Spend:
    this = span(budget.per, budget.time_zone, now)
    after = span(budget.per, budget.time_zone, this.end)
    block = int(budget.mode == "block")
    return Spend(
        budget.per, budget.time_zone, budget.ceiling_nano, block, nano, this.number, this.start, this.end, after.end
    )


def entry_of(n: int, hold: str, at: int, plan: Plan, settlement: Settlement) -> Entry:
    """The entry of a settlement. Numbers that can't be true are not charged: the hold stands, marked `unusable`."""
    tokens = (settlement.input, settlement.output, *settlement.usage.values())
    sound = 0 <= settlement.nano <= CREDIBLE_NANO and abs(settlement.saved_nano) <= CREDIBLE_NANO
    if not sound or not all(0 <= count <= CREDIBLE_TOKENS for count in tokens):
        return held_entry(n, hold, at, plan, "unusable")
    zero = not (settlement.produced or settlement.input or settlement.output or settlement.nano)
    return Entry(
        n,
        hold,
        at,
        plan,
        input=settlement.input,
        output=settlement.output,
        nano=settlement.nano,
        zero=zero,
        estimated=settlement.estimated,
        usage=settlement.usage,
        saved=settlement.saved_nano,
        requests=settlement.requests,
    )


def held_entry(n: int, hold: str, at: int, plan: Plan, reason: str) -> Entry:
    """The entry of a call whose true usage will not be known: what was held is charged."""
    return Entry(n, hold, at, plan, nano=plan.nano, as_held=True, estimated=reason)


def blank_entry(n: int) -> Entry:
    """The entry in place of one that can't be read any more, so that the numbers after it can be applied."""
    return Entry(n, "", 0, Plan([], "", "", "", "", 0, leased=True), zero=True)


def charge_of(entry: Entry, now: int) -> Charge:
    """An entry as it is to be applied at a store time: in its own day, or in today's when its month has closed."""
    plan = entry.plan
    late = now >= closes(entry.at)
    at = now if late else entry.at
    estimated = entry.estimated is not None
    actual = [(entry.input + entry.output) * UNIT, entry.input * UNIT, entry.output * UNIT]
    marks = ["", *(["estimated_"] if estimated else []), *(["late_"] if late else [])]
    amounts = [(mark + what, amount) for mark in marks for what, amount in _counted(entry)]
    amounts += [(kind, count) for kind, count in (*entry.usage.items(), ("cache_saved", entry.saved)) if count]
    return Charge(
        entry.n,
        entry.hold,
        closes(at),
        int(late),
        int(entry.zero),
        int(estimated),
        [] if entry.as_held else actual,
        entry.nano,
        row_name(plan),
        [] if entry.zero else amounts,
        plan.parts,
        _counts(plan, at),
        day_of(at),
        month_of(at),
        int(not plan.leased),
        plan.moved,
    )


def _counted(entry: Entry) -> list[tuple[str, int]]:
    """Requests and money; a row of work that was charged before counts no request again."""
    return [("requests", entry.requests), ("nano", entry.nano)] if entry.requests else [("nano", entry.nano)]


def sweep_of(hold: str, at: int, plan: Plan, now: int) -> Charge:
    """The charge of a hold whose process is dead."""
    return charge_of(held_entry(0, hold, at, plan, "crashed"), now)


def row_name(plan: Plan) -> str:
    """The ledger row that a plan is booked in. JSON, because a team may choose any name."""
    return msgspec.json.encode((plan.team, plan.key, plan.model, plan.kind)).decode()


def _counts(plan: Plan, at: int) -> list[Count]:
    counts = []
    for number, part in enumerate(plan.parts, 1):
        budgets = {spend.per: spend for spend in part.spends}
        counted: tuple[Period, ...] = ("day", "month") if number <= 2 else tuple(budgets)
        for per in counted:
            budget = budgets.get(per)
            zone, ceiling = (budget.zone, budget.ceiling) if budget else ("UTC", 0)
            counts.append(Count(number, per, span(per, zone, at).number, ceiling))
    return counts
