"""What a store's bare numbers mean to the caller: the verdict of a claim, and the thresholds that a booking crossed.

Both stores answer with levels and standings only. Who is to blame, how long to wait and whether an exact count may
help follow from them here, once, in exact integers.
"""

from collections.abc import Sequence
from typing import NamedTuple

from gateway.core.book import Booked, Reply, Said, over
from gateway.core.buckets import wait_ms, whole_units
from gateway.core.limits import (
    THRESHOLDS,
    UNIT,
    Bucket,
    Budget,
    Claim,
    Granted,
    Level,
    Period,
    Ref,
    Refused,
    Standing,
    Verdict,
)
from gateway.core.plan import Charge, Plan, Spend, Take

# When a slot, or money that calls under way hold, comes back is not known. A second is worth another try.
UNKNOWN_WAIT_MS = 1_000
# A store that lost its data is repaired by a person.
UNAVAILABLE_WAIT_MS = 60_000


def verdict_of(claim: Claim, plan: Plan, reply: Reply) -> Verdict:
    """The verdict behind a store's answer. Of several limits without room, the one with the longest wait is named."""
    if reply.said == Said.BARRED:
        # The id was settled before its reserve arrived, so the caller has gone.
        return Refused(Ref("hold", claim.hold), UNKNOWN_WAIT_MS / 1000)
    takes = _takes(claim.takes, plan)
    spends = _spends(claim.spends, plan)
    levels = tuple(_level(bucket, take, level) for (bucket, _, take), level in zip(takes, reply.levels, strict=True))
    standings = tuple(
        _standing(budget, spend, numbers) for (budget, spend), numbers in zip(spends, reply.standings, strict=True)
    )
    warned = tuple(_over_but_warned(spends, reply))
    if reply.said == Said.GRANTED:
        shadows = tuple(bucket for place, (bucket, _, _) in enumerate(takes) if reply.passed >> place & 1)
        return Granted(claim.hold, levels, standings, shadows + warned)

    short = [(row, level) for row, level in zip(takes, reply.levels, strict=True) if level < row[2].amount]
    shadows = tuple(bucket for (bucket, _, _), _ in short if bucket.shadow)
    blamed: list[tuple[int, Refused]] = []
    rest = (levels, standings, shadows + warned)
    for (bucket, _, take), level in short:
        if not bucket.shadow:
            blamed.append(_bucket_refusal(bucket, take, level, rest))
    helped = all(level >= claim.least(index) * UNIT for (bucket, index, _), level in short if not bucket.shadow)
    close = bool(blamed) and helped
    for (budget, spend), (spent, held, extra, _), standing in zip(spends, reply.standings, standings, strict=True):
        if spend.block and (reply.lost or over(spent, held, spend.amount, spend.ceiling + extra)):
            close = False
            blamed.append(_budget_refusal(budget, spend, standing, reply, rest))
    _, worst = max(blamed, key=lambda pair: pair[0])
    if close and not worst.never:
        return Refused(worst.by, worst.retry_after_seconds, *rest, close=True)
    return worst


class Crossing(NamedTuple):
    """A budget went over one of its thresholds."""

    owner: str
    per: Period
    percent: int
    spent_nano: int
    ceiling_nano: int


def crossings_of(it: Charge, booked: Booked) -> list[Crossing]:
    """Every threshold that a booking went over."""
    return [
        Crossing(it.parts[count.part - 1].owner, count.per, percent, spent, count.ceiling + extra)
        for count, (spent, extra) in zip(it.counts, booked.counts, strict=False)
        if count.ceiling
        for percent in crossed(spent - booked.nano, spent, count.ceiling + extra)
    ]


def crossed(before: int, after: int, ceiling: int) -> list[int]:
    """The thresholds, in percent, that a spend went over: (49, 90, 100) crosses 50, 75 and 90."""
    return [percent for percent in THRESHOLDS if before < -(-ceiling * percent // 100) <= after]


def levels_of(buckets: Sequence[Bucket], plan: Plan, reply: Reply) -> tuple[Level, ...]:
    """The levels that a peek found, in the order asked for."""
    rows = _takes([(bucket, 0) for bucket in buckets], plan)
    found = {bucket: _level(bucket, take, level) for (bucket, _, take), level in zip(rows, reply.levels, strict=True)}
    return tuple(found[bucket] for bucket in buckets)


def standings_of(budgets: Sequence[Budget], plan: Plan, reply: Reply) -> tuple[Standing, ...]:
    """The standings that a peek found, in the order asked for."""
    rows = _spends([(budget, 0) for budget in budgets], plan)
    found = {
        budget: _standing(budget, spend, numbers)
        for (budget, spend), numbers in zip(rows, reply.standings, strict=True)
    }
    return tuple(found[budget] for budget in budgets)


def _takes(takes: Sequence[tuple[Bucket, int]], plan: Plan) -> list[tuple[Bucket, int, Take]]:
    """In the plan's order, which groups by owner: the bucket, its place in the claim, and the take."""
    places = {(bucket.owner, bucket.field): (bucket, index) for index, (bucket, _) in enumerate(takes)}
    return [(*places[part.owner, take.field], take) for part in plan.parts for take in part.takes]


def _spends(spends: Sequence[tuple[Budget, int]], plan: Plan) -> list[tuple[Budget, Spend]]:
    places = {(budget.owner, budget.per): budget for budget, _ in spends}
    return [(places[part.owner, spend.per], spend) for part in plan.parts for spend in part.spends]


def _level(bucket: Bucket, take: Take, level: int) -> Level:
    if take.rate == 0:
        return Level(bucket, max(0, level), 0.0)
    return Level(bucket, whole_units(level), wait_ms(level, take.capacity, take.rate) / 1000)


def _standing(budget: Budget, spend: Spend, numbers: tuple[int, int, int, int]) -> Standing:
    spent, held, extra, following = numbers
    resets = spend.next_end if following else spend.end
    return Standing(budget, spent, held, spend.ceiling + extra, resets / 1000)


def _over_but_warned(spends: list[tuple[Budget, Spend]], reply: Reply) -> list[Budget]:
    warned = []
    # A granted claim's own amount is in `held` already.
    granted = reply.said == Said.GRANTED
    for (budget, spend), (spent, held, extra, _) in zip(spends, reply.standings, strict=True):
        amount = 0 if granted else spend.amount
        if not spend.block and spent + held + amount > spend.ceiling + extra:
            warned.append(budget)
    return warned


Rest = tuple[tuple[Level, ...], tuple[Standing, ...], tuple[Bucket | Budget, ...]]


def _bucket_refusal(bucket: Bucket, take: Take, level: int, rest: Rest) -> tuple[int, Refused]:
    if take.amount > take.capacity:
        return 1 << 62, Refused(bucket, 0.0, *rest, never=True)
    wait = UNKNOWN_WAIT_MS if take.rate == 0 else wait_ms(level, take.amount, take.rate)
    return wait, Refused(bucket, wait / 1000, *rest)


def _budget_refusal(budget: Budget, spend: Spend, at: Standing, reply: Reply, rest: Rest) -> tuple[int, Refused]:
    if reply.lost:
        return UNAVAILABLE_WAIT_MS, Refused(budget, UNAVAILABLE_WAIT_MS / 1000, *rest, unavailable=True)
    if at.spent_nano + max(spend.amount, 1) <= at.ceiling_nano:
        return UNKNOWN_WAIT_MS, Refused(budget, UNKNOWN_WAIT_MS / 1000, *rest, held=True)
    wait = round(at.resets * 1000) - reply.now
    return wait, Refused(budget, wait / 1000, *rest)
