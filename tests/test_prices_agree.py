"""The gateway's money against the simulator's: two readings of one fact sheet, written apart."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.answers import from_message
from gateway.core.cost import cost
from gateway.prices_file import default_table
from gateway.simulator import prices as simulated

NOW = datetime(2026, 11, 20, tzinfo=UTC).timestamp()  # the simulator's Claude lives after every change of price so far
OLD = ("4-5", "4-1", "3-5-haiku")


@dataclass(frozen=True)
class Pool:
    """Models and what may be asked of them. What nobody knows is left out: an adviser's speed in fast mode, and what
    Sonnet 4.5 costs above 200,000 tokens; models before 4.6 refuse `inference_geo`."""

    models: tuple[str, ...]
    side_runs: tuple[str, ...] = ("compaction", "advisor_message", "message")
    geos: tuple[str | None, ...] = (None, "not_available")
    speed: str | None = None


NAMES = tuple(simulated.STANDARD)
POOLS = {
    "any model": Pool(tuple(name for name in NAMES if not name.startswith("claude-sonnet-4-5"))),
    "new models": Pool(
        tuple(name for name in NAMES if not any(old in name for old in OLD)),
        geos=(None, "us", "global", "not_available"),
    ),
    "fast mode": Pool(tuple(simulated.FAST), ("compaction", "message"), ("us", "global"), "fast"),
}
tokens = st.integers(0, 60_000)
split = st.fixed_dictionaries({"ephemeral_5m_input_tokens": tokens, "ephemeral_1h_input_tokens": tokens})


def counts(*, least: int) -> dict[str, st.SearchStrategy[object]]:
    return {
        "input_tokens": tokens,
        "output_tokens": st.integers(least, 20_000),
        "cache_read_input_tokens": tokens | st.none(),
        "cache_creation": split,
    }


def totalled(usage: dict[str, object]) -> dict[str, object]:
    """The object with the total of its cache writes, which Claude always gives beside the split."""
    halves = usage["cache_creation"]
    assert isinstance(halves, dict)
    return usage | {"cache_creation_input_tokens": sum(halves.values())}


def usages(pool: Pool) -> st.SearchStrategy[dict[str, object]]:
    def run(*kinds: str, least: int = 1) -> st.SearchStrategy[dict[str, object]]:
        named = {"type": st.sampled_from(kinds), "model": st.sampled_from(pool.models)}
        return st.fixed_dictionaries({**named, **counts(least=least)}).map(totalled)

    def after(earlier: st.SearchStrategy[dict[str, object]], last: str) -> st.SearchStrategy[object]:
        return st.tuples(st.lists(earlier, max_size=3), run(last)).map(lambda runs: [*runs[0], runs[1]])

    fields = {
        **counts(least=0),
        # None at all; an answer with side runs; attempts that gave way, with output or without, before the last one.
        "iterations": st.none()
        | after(run(*pool.side_runs), "message")
        | after(run("message", least=0), "fallback_message"),
        "service_tier": st.sampled_from(["standard", "priority", "batch", None]),
        "server_tool_use": st.none() | st.fixed_dictionaries({"web_search_requests": st.integers(0, 5)}),
        "inference_geo": st.sampled_from(pool.geos),
        "speed": st.just(pool.speed),
    }
    return st.fixed_dictionaries(fields).map(totalled)


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS.keys())
@given(data=st.data())
def test_any_usage(pool: Pool, data: st.DataObject) -> None:
    """Any usage object costs the same to the nano-dollar in both."""
    model, usage = data.draw(st.sampled_from(pool.models)), data.draw(usages(pool))
    answer = {"type": "message", "model": model, "content": [{}], "stop_reason": "end_turn", "usage": usage}
    found = cost(default_table(), from_message(json.dumps(answer).encode()), model=model, when=NOW)

    assert found is not None
    assert simulated.rounded(simulated.cost_e4(model, usage)) == found.nano
