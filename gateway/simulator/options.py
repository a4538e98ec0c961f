"""What a simulator can be told at start; plain values, so that any command line can fill them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

UNLIMITED = 1_000_000_000


@dataclass(slots=True)
class Options:
    faults: dict[str, float] = field(default_factory=dict)
    """Probability of each fault on every API request, e.g. {"overloaded": 0.2}."""
    fault_args: dict[str, str] = field(default_factory=dict)
    seed: int = 0
    """Seeds the dice of the faults."""
    latency: float = 0.0
    """Seconds before the first byte of an inference answer."""
    tokens_per_second: float = 0.0
    """Speed of generation; 0 is as fast as it goes. Streams are paced by it, plain answers wait for it."""
    tokens_per_event: int = 8
    abort_billing: str = "sent"
    """What an answer costs whose client left: "sent" (input and the output sent so far) or "full" (all of it)."""
    requests_per_minute: int = UNLIMITED
    input_tokens_per_minute: int = UNLIMITED
    output_tokens_per_minute: int = UNLIMITED
    count_requests_per_minute: int = UNLIMITED
    batch_seconds: float = 1.0
    """From the creation of a batch to its end."""
    session_turn_seconds: float = 0.0
    dream_seconds: float = 0.5
    token_seconds: int = 3600
    """Lifetime of the tokens that /v1/oauth/token mints."""
    schedule_seconds: float = 0.0
    """From one run to the next of a deployment with a schedule; 0 runs none by itself."""
    compress: bool = False
    """Gzip every answer to a client that accepts it, as the API does."""
    bill_rows: int = 1_000_000
    strict_betas: bool = False
    """Refuse every anthropic-beta value that is not in the published list; else only what does not look like one."""

    def __post_init__(self) -> None:
        if self.abort_billing not in ("sent", "full"):
            raise ValueError(f"abort_billing is {self.abort_billing!r}; it must be 'sent' or 'full'")


def parse_faults(rules: Sequence[str]) -> tuple[dict[str, float], dict[str, str]]:
    """`overloaded=0.2` or `cut=0.1:5` (probability, then the argument) as the two mappings that Options takes."""
    chances: dict[str, float] = {}
    args: dict[str, str] = {}
    for rule in rules:
        name, _, value = rule.partition("=")
        chance, _, arg = value.partition(":")
        try:
            chances[name] = float(chance or 1)
        except ValueError:
            raise ValueError(
                f"fault {rule!r}: {chance!r} is not a probability; write NAME=0.2 or NAME=0.2:ARG"
            ) from None
        if arg:
            args[name] = arg
    return chances, args
