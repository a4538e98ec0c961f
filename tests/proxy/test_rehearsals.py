"""The rehearsals of tests/bench/overload.py, scaled down: the promises hold with room for a small sample's noise."""

import asyncio

import pytest

from tests.bench.overload import holdback, outage, refusals, rotation


@pytest.mark.parametrize(("share", "calls", "visible"), [(0.25, 1.27, (0.0, 0.05)), (0.10, 1.12, (0.03, 0.17))])
async def test_refusals_at_random(share: float, calls: float, visible: tuple[float, float], measured) -> None:
    """With a fifth of all calls refused few teams notice, and a smaller budget asks Claude less; all are told when to
    come again. (A new budget holds 50 retries, which in 500 requests weigh ten times as much as in 5,000.)"""
    got = await refusals(share, per_second=250, seconds=2.4)

    measured(str(got))
    most = calls * got.requests + (50 if share < 0.25 else 0)
    assert got.calls <= most
    assert visible[0] <= got.visible / got.requests < visible[1]
    assert got.visible == got.with_retry_after


async def test_an_outage(measured) -> None:
    """While Claude is gone it is asked by probes, and soon after it is back everything passes."""
    got = await outage(per_second=100, before=0.5, down=3, after=4)

    measured(str(got))
    assert got.calls < 0.3 * got.offered
    assert got.back_after < 5


async def test_a_rotation(measured) -> None:
    """A changed secret under load, with open streams: nothing fails."""
    got = await rotation(per_second=100, streams=20, step=0.4)

    measured(str(got))
    assert (0, 20) == (got.failed, got.whole)
    assert got.requests > 50


async def test_held_bytes_cost_nothing(measured) -> None:
    """Judging a first event takes microseconds, and it is passed on as soon as it is there."""
    async with asyncio.timeout(20):
        got = await holdback(0.02, times=40)

    measured(str(got))
    assert got.judging < 0.001
    assert got.through - got.straight < 0.2
