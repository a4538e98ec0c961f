"""What Claude bills, from table 6.2 of the fact sheet, worked out apart from the gateway.

Prices are nano-dollars per token (1 dollar per million tokens = 1,000). Sums are exact in ten-thousandths of a
nano-dollar, because batch halves and the residency surcharge adds a tenth; one rounding, half up, at the end of a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

E4 = 10_000
SEARCH_NANO = 10_000_000  # $10 per 1,000 searches
SESSION_HOUR_NANO = 80_000_000


class Price(NamedTuple):
    input: int
    write_5m: int
    write_1h: int
    read: int
    output: int

    def times(self, factor: int) -> Price:
        return Price(*(amount * factor for amount in self))


FABLE_5_2 = Price(8_000, 10_000, 16_000, 200, 40_000)
FABLE_5_1 = Price(10_000, 12_500, 20_000, 250, 50_000)
FABLE_5 = Price(10_000, 12_500, 20_000, 1_000, 50_000)
OPUS_5_5 = Price(4_000, 5_000, 8_000, 200, 20_000)
OPUS_5 = Price(5_000, 6_250, 10_000, 500, 25_000)
OPUS_4 = Price(15_000, 18_750, 30_000, 1_500, 75_000)
SONNET_5_5 = Price(2_000, 2_500, 4_000, 100, 10_000)
SONNET_5 = Price(2_000, 2_500, 4_000, 200, 10_000)
SONNET_4 = Price(3_000, 3_750, 6_000, 300, 15_000)
HAIKU_5_5 = Price(100, 125, 200, 10, 500)
HAIKU_5_5_LONG = Price(500, 625, 1_000, 50, 2_500)
HAIKU_4_5 = Price(1_000, 1_250, 2_000, 100, 5_000)
HAIKU_3_5 = Price(800, 1_000, 1_600, 80, 4_000)

STANDARD = {
    "claude-fable-5-2": FABLE_5_2,
    "claude-mythos-5-2": FABLE_5_2,
    "claude-fable-5-1": FABLE_5_1,
    "claude-mythos-5-1": FABLE_5_1,
    "claude-fable-5": FABLE_5,
    "claude-mythos-5": FABLE_5,
    "claude-opus-5-5": OPUS_5_5,
    "claude-opus-5": OPUS_5,
    "claude-opus-4-8": OPUS_5,
    "claude-opus-4-7": OPUS_5,
    "claude-opus-4-6": OPUS_5,
    "claude-opus-4-5-20251101": OPUS_5,
    "claude-opus-4-1-20250805": OPUS_4,
    "claude-sonnet-5-5": SONNET_5_5,  # cache read 200 before 2026-10-07; this Claude lives later
    "claude-sonnet-5": SONNET_5,
    "claude-sonnet-4-6": SONNET_4,
    "claude-sonnet-4-5-20250929": SONNET_4,
    "claude-haiku-5-5": HAIKU_5_5,
    "claude-haiku-4-5-20251001": HAIKU_4_5,
    "claude-3-5-haiku-20241022": HAIKU_3_5,
}
LONG_PROMPT = {"claude-haiku-5-5": (100_000, HAIKU_5_5_LONG)}  # a prompt above it reprices every token, output too
# Fast mode doubles each of them, caching multipliers on top (Opus 5 and 4.8: 10/50; Opus 5.5: 8/40; Fable 5.2: 16/80).
DOUBLED = ("claude-opus-5-5", "claude-opus-5", "claude-opus-4-8", "claude-fable-5-2")
FAST = {name: STANDARD[name].times(2) for name in DOUBLED}


def price_of(model: str, prompt_tokens: int, *, fast: bool) -> Price:
    if fast and model in FAST:
        return FAST[model]
    if model in LONG_PROMPT and prompt_tokens > LONG_PROMPT[model][0]:
        return LONG_PROMPT[model][1]
    return STANDARD[model]


def cost_e4(model: str, usage: Mapping[str, Any]) -> int:
    """What a usage object costs in ten-thousandths of a nano-dollar.

    With `iterations` every entry is priced at its own model and the top level is not; searches have no discount.
    """
    percent = 50 if usage.get("service_tier") == "batch" else 100
    percent *= 110 if usage.get("inference_geo") == "us" else 100  # now in ten-thousandths
    fast = usage.get("speed") == "fast"
    entries = usage.get("iterations") or [usage]
    last_fallback = max((at for at, entry in enumerate(entries) if entry.get("type") == "fallback_message"), default=-1)
    total = 0
    for at, entry in enumerate(entries):
        declined = at < last_fallback and not entry["output_tokens"]  # an attempt that declined in silence is free
        if not declined:
            total += tokens_nano(entry.get("model") or model, entry, fast=fast) * percent
    searches: int = (usage.get("server_tool_use") or {}).get("web_search_requests", 0)
    return total + searches * SEARCH_NANO * E4


def tokens_nano(model: str, counts: Mapping[str, Any], *, fast: bool) -> int:
    uncached: int = counts.get("input_tokens") or 0
    written: int = counts.get("cache_creation_input_tokens") or 0
    read: int = counts.get("cache_read_input_tokens") or 0
    hour: int = (counts.get("cache_creation") or {}).get("ephemeral_1h_input_tokens", 0)
    output: int = counts.get("output_tokens") or 0
    price = price_of(model, uncached + written + read, fast=fast)
    return (
        uncached * price.input
        + (written - hour) * price.write_5m
        + hour * price.write_1h
        + read * price.read
        + output * price.output
    )


def rounded(e4: int) -> int:
    return (e4 + E4 // 2) // E4
