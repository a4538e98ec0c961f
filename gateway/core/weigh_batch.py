"""What a batch asks for: its items weighed one by one and summed by what they are billed as, in steps.

A sum, because a batch is admitted and held as one; an item that cannot be governed refuses the batch with its index.
"""

from dataclasses import dataclass, field

from gateway.core.asked import Tool
from gateway.core.estimate import NAMES, Estimate
from gateway.core.json_fields import Fields, Malformed, Steps, Text, batch_params
from gateway.core.limits import Ref
from gateway.core.text_counts import SAMPLE_BYTES
from gateway.core.weigh import Weighed, weigh_in_steps

# From some number of items on their errors cancel out, so less of each is looked at.
WELL_SAMPLED = 500
SHORT_SAMPLE = 1024
DEFAULT_OUTPUT = 4096  # of an item without max_tokens, which Claude will refuse


@dataclass(slots=True)
class Share:
    """The items of a batch that are billed alike."""

    items: int = 0
    max_tokens: int = 0  # of all together
    sure: float = 0.0
    weak: bool = False
    causes: list[float] = field(default_factory=lambda: [0.0] * len(NAMES))

    @property
    def estimate(self) -> Estimate:
        """The input of all items together."""
        return Estimate({"messages": sum(self.causes)}, tuple(self.causes), 0, self.sure, self.weak)


@dataclass(slots=True)
class WeighedBatch:
    """All items; `shares` by model and inference_geo."""

    items: int = 0
    shares: dict[tuple[str, str | None], Share] = field(default_factory=dict)
    models: set[str] = field(default_factory=set)  # every model that can bill
    tools: set[Tool] = field(default_factory=set)
    refs: set[Ref] = field(default_factory=set)
    default_fallbacks: bool = False
    mcp: bool = False


def weigh_batch_in_steps(body: Text | memoryview) -> Steps[WeighedBatch]:
    """Weigh every item of a batch body."""
    batch = WeighedBatch()
    for params in batch_params(body):
        if params is None:
            yield
        else:
            _add(batch, (yield from _weighed(params, batch.items)))
    return batch


def _weighed(params: Fields, index: int) -> Steps[Weighed]:
    try:
        return (yield from weigh_in_steps(params, sample=SAMPLE_BYTES if index < WELL_SAMPLED else SHORT_SAMPLE))
    except Malformed as error:
        raise Malformed(f"requests[{index}].params: {error}") from None


def _add(batch: WeighedBatch, item: Weighed) -> None:
    estimate = item.input()
    share = batch.shares.setdefault((item.model, item.inference_geo), Share())
    share.items += 1
    share.max_tokens += DEFAULT_OUTPUT if item.max_tokens is None else item.max_tokens
    share.sure += estimate.sure
    share.weak |= estimate.weak
    share.causes = [one + other for one, other in zip(share.causes, estimate.causes, strict=True)]
    batch.items += 1
    batch.models.update(item.models)
    batch.tools.update(item.tools)
    batch.refs.update(item.refs)
    batch.default_fallbacks |= item.default_fallbacks
    batch.mcp |= item.mcp_servers > 0
