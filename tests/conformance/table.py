"""The table: which probe which clients go through, and what the simulator is told meanwhile.

A new behaviour of the API is a row here and a function of the same name in each client named beside it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

PYTHON = ("python", "python-0x")
SDKS = (*PYTHON, "typescript")
CLIENTS = (*SDKS, "openai", "curl", "claude-code")

# Refusals of the API, each with the exception that the newest Python SDK has for it.
EXCEPTIONS = {
    "rate_limited=1": "RateLimitError",
    "rate_limited_bare": "RateLimitError",
    "ramp=1": "RampLimitExceededError",
    "spend_cap": "EnforcedSpendLimitReachedError",
    "contract_cap": "ContractSpendLimitReachedError",
    "usage_limit": "BadRequestError",
    "usage_limit=workspace": "BadRequestError",
    "billing": "PaymentRequiredError",
    "overloaded": "OverloadedError",
    "unavailable": "ServiceUnavailableError",
    "error": "InternalServerError",
    "timeout": "GatewayTimeoutError",
    "status=418": "APIStatusError",
}
REFUSALS = tuple(EXCEPTIONS)
# A limit of the whole organization silences all of its workspaces: such a case has a simulator and a gateway to itself.
ALONE = frozenset({"usage_limit"})
# What an answer can be made of, in the simulator's words.
KINDS = (
    "refusal",
    "late_refusal",
    "pause",
    "stop",
    "context",
    "redacted",
    "citations",
    "search=2",
    "failed_search=1",
    "echo",
)


@dataclass(frozen=True)
class Row:
    """One probe: who does it, with which arguments, and under which faults of the simulator."""

    clients: tuple[str, ...]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    each: tuple[str, ...] = ()
    """Faults that the client asks for itself, one case each: the gateway remembers what Claude refused."""
    faults: Mapping[str, Any] = field(default_factory=dict)
    leaves: bool = False
    """The client leaves before the end, and the API has to notice it."""
    random: bool = False
    """The client puts ids of its own into the prompt, so that its size differs from run to run."""


ROWS: dict[str, Row] = {
    "messages": Row(SDKS),
    "message": Row(("curl",)),
    "prints": Row(("claude-code",)),
    "both_headers": Row(("claude-code",)),
    "first_contact": Row(("claude-code",)),
    "hello": Row(("curl",)),
    "stream": Row((*SDKS, "curl", "claude-code")),
    "events": Row(SDKS),
    "thinking": Row(SDKS),
    "tools": Row((*SDKS, "claude-code")),
    "kinds": Row(SDKS, {"answers": KINDS}),
    "prompt_cache": Row(SDKS),
    "beta_messages": Row(SDKS),
    "count_tokens": Row(SDKS),
    "models": Row((*SDKS, "openai")),
    "legacy_complete": Row(("python-0x",)),
    "chat": Row(("openai",)),
    "chat_without_max_tokens": Row(("openai",)),
    "chat_stream": Row(("openai",)),
    "chat_tools": Row(("openai",)),
    "chat_errors": Row(("openai",), each=REFUSALS),
    "chat_slow_stream": Row(("openai",)),
    "chat_left_midway": Row(("openai",), leaves=True),
    "big_stream": Row(SDKS),
    "huge_event": Row(SDKS),
    "slow_stream": Row(SDKS),
    "compressed": Row((*SDKS, "curl")),
    "gzipped": Row(("claude-code",), random=True),
    "gzipped_request": Row(("curl",)),
    "chunked_request": Row(("curl",)),
    "expecting": Row(("curl",)),
    "long_headers": Row(("curl",)),
    "large_request": Row(SDKS),
    "too_large": Row(SDKS),
    "asynchronous": Row(SDKS),
    "left_midway": Row((*SDKS, "claude-code"), leaves=True),
    "left_before_the_first_byte": Row(SDKS, leaves=True),
    "errors": Row((*SDKS, "curl"), each=REFUSALS),
    "refusals_told": Row(("claude-code",), each=("usage_limit", "billing", "spend_cap", "overloaded")),
    "broken_streams": Row(SDKS, each=("overloaded_event", "error_event=4")),
    "cut_stream": Row(SDKS),
    "html_error": Row(SDKS),
    "bad_requests": Row(SDKS),
    "unknown_objects": Row(SDKS),
    "retried": Row(SDKS, faults={"rate_limited": {"times": 2, "arg": "0.2", "path": "/v1/messages"}}),
    "batches": Row(SDKS),
    "batch_cancelled": Row(SDKS),
    "batch_pages": Row(SDKS),
    "batch_results": Row(("curl",)),
    "files": Row(SDKS),
    "file_pages": Row(SDKS),
    "file_download": Row(SDKS),
    "upload": Row(("curl",)),
    "skills": Row(SDKS),
    "sessions": Row(SDKS),
    "stored_objects": Row(PYTHON),
}


class Case(NamedTuple):
    """One test; `fault` is one of the row's `each`, or empty."""

    client: str
    probe: str
    fault: str

    def __str__(self) -> str:
        return "-".join(part for part in self if part)

    @property
    def arguments(self) -> dict[str, Any]:
        return {**ROWS[self.probe].arguments, **({"fault": self.fault} if self.fault else {})}

    def workspace(self, way: str) -> str:
        """Each run of each case has one to itself: its lists hold what the probe made, its bill what that cost."""
        return re.sub(r"[^a-z0-9.]", "", f"{way}.{self.client}.{self.probe}.{self.fault}".rstrip("."))


# Clients together, so that a run starts each of them once.
CASES = tuple(
    Case(client, probe, fault)
    for client in CLIENTS
    for probe, row in ROWS.items()
    for fault in row.each or ("",)
    if client in row.clients
)
