"""The record of one request: every fact the log line, the metrics and `explain` are made from.

Opened before anything is awaited, closed once. Nothing here holds a prompt, a completion or a key.
"""

import secrets
from dataclasses import dataclass, field
from typing import Literal

from gateway.core.errors import GatewayError, RefusedBy
from gateway.core.judge import Asked
from gateway.core.limits import Claim, Verdict
from gateway.core.routes import Route
from gateway.core.teams import GatewayKey, Policy, Team
from gateway.core.usage import Ended as BodyEnded
from gateway.core.usage import Reason, Usage
from gateway.core.work import Item

Ended = Literal["ok", "refused", "upstream_failed", "client_gone", "cut"]

PENDING = "pending"


@dataclass(slots=True)
class Attempt:
    """One try at the upstream."""

    workspace: str
    key: str
    outcome: str = PENDING  # an HTTP status, or a stage and a fault
    request_id: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Expected:
    """What a request is expected to use, before it is sent: the amounts that are held."""

    input: int = 0  # that counts: cache reads do not
    input_at_least: int = 0
    prompt: int = 0  # all input, cache reads included
    counted: bool = False  # by Claude, not estimated
    output: int = 0
    output_at_most: int = 0
    web_searches: int = 0
    fast: bool = False
    us: bool = False


@dataclass(slots=True)
class Exchange:
    """One request's life, as facts."""

    id: str
    hold: str  # drawn before the reserve is sent, so that settling needs no verdict
    policy: Policy
    started: float
    method: str
    path: str
    team: Team | None = None
    key: GatewayKey | None = None
    route: Route | None = None
    model: str = ""
    models: tuple[str, ...] = ("",)  # every model that can bill
    stream: bool = False
    claim: Claim | None = None
    verdict: Verdict | None = None
    asked: Asked | None = None
    expected: Expected = Expected()
    attempts: list[Attempt] = field(default_factory=list)
    upstream_request_id: str = ""
    cf_ray: str = ""  # kept when an edge error page had to be wrapped
    status: int = 0
    error: GatewayError | None = None
    refused_by: RefusedBy | None = None
    unanswered: Reason | None = None  # it went out whole and no answer came: Claude may have charged for it
    work: Item | None = None  # what the call begins that goes on after it
    kept: bool = False  # the hold is that work's now, and is settled with it
    body_ended: BodyEnded | None = None  # when the upstream's body outlived the client
    usage: Usage | None = None
    estimate_ratio: float | None = None  # the input that Claude billed to the estimate of it, where they compare
    oddities: tuple[str, ...] = ()
    cost_nano: int = 0
    saved_nano: int = 0  # by the prompt cache, against plain input
    charged_as: str | None = None  # the model whose price stood in for a missing one
    booked: str = ""  # the settlement's place in the ledger
    bytes_in: int = 0
    bytes_out: int = 0
    client_seconds: float = 0.0  # spent waiting for the client's body
    upstream_seconds: float = 0.0  # spent waiting for Claude; the rest of the time is the gateway's own
    first_byte: float | None = None
    finished: float | None = None
    ended: Ended = "ok"
    claude_code_session_id: str = ""

    @classmethod
    def open(cls, policy: Policy, now: float, method: str, path: str) -> "Exchange":
        id = "gwr_" + secrets.token_hex(12)
        return cls(id, id, policy, now, method, path)

    @property
    def request_id(self) -> str:
        """What the client sees as `request-id`: Claude's when it answered, else ours."""
        return self.upstream_request_id or self.id

    @property
    def workspace(self) -> str:
        return self.attempts[-1].workspace if self.attempts else (self.team.workspace if self.team else "")

    @property
    def upstream_key(self) -> str:
        return self.attempts[-1].key if self.attempts else ""
