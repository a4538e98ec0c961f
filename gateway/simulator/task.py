"""What composing an answer needs to know of a request, and what its parts leave behind."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.simulator.asks import Asks
from gateway.simulator.cache import Split, split
from gateway.simulator.models import Model
from gateway.simulator.prompt import Part, parts_of
from gateway.simulator.world import Object, Workspace


@dataclass(slots=True)
class Task:
    body: Object
    model: Model
    parts: list[Part]
    asks: Asks
    workspace: Workspace
    now: float
    per_event: int
    entries: list[Object] = field(default_factory=list)  # usage.iterations, when there is more than one sampling
    searches: int = 0
    fetches: int = 0
    container: Object | None = None

    def split(self, model: Model) -> Split:
        parts = self.parts if model is self.model else parts_of(self.body, model, self.workspace.of("file"))
        return split(parts, model, self.body.get("speed") or "standard", self.workspace, self.now)
