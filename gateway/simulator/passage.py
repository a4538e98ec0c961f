"""One request's passage: what is known of it so far, and its row in the bill when it is over.

What is due depends on how it ended: an answer that reached its end, or whose final usage was already out, is due in
full; one that was broken off is due in full or for what was sent, by the switch, because the fact sheet does not know.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from aiohttp import web

from gateway.simulator.faults import Struck
from gateway.simulator.routes import Route
from gateway.simulator.sending import Sent
from gateway.simulator.world import ORGANIZATION, Call, Charge, Object, World


@dataclass(slots=True)
class Passage:
    world: World
    request: web.Request
    request_id: str
    now: float
    struck: Struck = field(default_factory=dict)
    route: Route | None = None
    call: Call | None = None
    status: int = 0
    ended: str = "ok"
    sent: Sent = field(default_factory=Sent)
    generating_since: float | None = None

    def headers(self) -> dict[str, str]:
        """The API's own headers, as far as the request got."""
        headers = {"request-id": self.request_id}
        call = self.call
        if call and call.key:
            headers["anthropic-organization-id"] = ORGANIZATION
            headers["anthropic-workspace-id"] = call.workspace.id
            if call.limit_class:
                headers |= self.world.limits.headers(call.limit_class, self.now)
        return headers

    def book(self) -> None:
        """Write the row, at what was due when it ended."""
        call = self.call
        facts: Object = {
            "request_id": self.request_id,
            "at": self.now,
            "workspace": call.workspace.name if call else "",
            "key": call.key if call else "",
            "route": call.route if call else f"{self.request.method} {self.request.path}",
            "status": self.status,
            "ended": self.ended,
            "faults": sorted(self.struck),
            # What a caller can mark its requests with, and find again on the other side of a proxy.
            "session": self.request.headers.get("x-claude-code-session-id", ""),
        }
        if call is None or call.charge is None:
            self.world.book.write(model=None, usage=None, **facts)
            return
        usage, output = self.due(call.charge)
        if call.limit_class:
            self.world.limits.produced(call.limit_class, output, self.world.now())
        self.world.book.write(model=call.charge.model, usage=usage, free=call.charge.free, **facts)

    def due(self, charge: Charge) -> tuple[Object, int]:
        whole = self.ended == "ok" or self.sent.finished or self.world.options.abort_billing == "full"
        if whole:
            return charge.usage, charge.output
        output = self.sent.tokens or self.generated(charge.output)
        return charge.after(output), output

    def generated(self, output: int) -> int:
        """Tokens of a plain answer that were generated before its client left."""
        speed = self.world.options.tokens_per_second
        if not speed or self.generating_since is None:
            return 0
        elapsed = self.world.now() - self.generating_since - self.world.options.latency
        return max(0, min(output, int(elapsed * speed)))
