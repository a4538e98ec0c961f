"""What a request used and cost, once it is over.

Never a silent zero: what Claude did not say is the hold's estimate, and marked as such.
"""

from gateway.core.cost import cost
from gateway.core.exchange import Exchange
from gateway.core.limits import Settlement
from gateway.core.meter import Meter
from gateway.core.routes import Weigh
from gateway.core.usage import Ended as MeteredEnd
from gateway.core.usage import Usage, filled, unknown

# How the meter must read a body's end.
_METERED_END: dict[str, MeteredEnd] = {
    "ok": "ok",
    "refused": "ok",
    "upstream_failed": "cut",
    "cut": "cut",
    "client_gone": "cancelled",
}


def bill(x: Exchange, meter: Meter | None, now: float) -> None:
    """Put the usage and its cost on the exchange; neither for what Claude never charges."""
    usage = _usage(x, meter)
    if usage is None or x.team is None:
        return
    x.oddities = usage.oddities
    x.usage = filled(usage, input=x.expected.prompt, output=x.expected.output)
    charged = cost(x.policy.prices, x.usage, model=x.model, when=now, charge_as=x.team.charge_as)
    if charged is None:
        # Admitted with a price, answered by a model without one: the hold stands for it.
        x.cost_nano = (x.claim.nano if x.claim else None) or 0
        x.oddities = (*x.oddities, "unpriced")
        return
    x.cost_nano, x.saved_nano, x.charged_as = charged.nano, charged.saved_nano, charged.charged_as
    x.oddities = (*x.oddities, *charged.notes)


def _usage(x: Exchange, meter: Meter | None) -> Usage | None:
    if x.route is None or x.route.weigh is not Weigh.TOKENS:
        return None
    if meter is not None:
        return meter.finish(ended=x.body_ended or _METERED_END[x.ended])
    if x.unanswered is not None:
        return unknown(x.unanswered)
    return None


def settlement_for(x: Exchange) -> Settlement:
    """What the ledger books."""
    if x.usage is None and x.unanswered is not None and x.work is not None and x.work.blind and x.claim is not None:
        # A create that went out and was not answered: it may run, and nobody will ever read what it used.
        return Settlement(nano=x.claim.nano or 0, produced=True, estimated=x.unanswered)
    if x.usage is None:
        return Settlement(produced=False)
    run = x.usage.total()
    wrote = run.cache_write_5m + run.cache_write_1h
    return Settlement(
        input=run.input + wrote,
        output=run.output,
        nano=x.cost_nano,
        saved_nano=x.saved_nano,
        produced=bool(x.cost_nano or run.output or run.input or wrote),
        estimated=x.usage.estimated,
        usage={
            "input": run.input,
            "output": run.output,
            "cache_read": run.cache_read,
            "cache_write_5m": run.cache_write_5m,
            "cache_write_1h": run.cache_write_1h,
            "web_searches": x.usage.web_searches,
        },
    )
