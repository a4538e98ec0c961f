"""The billing book: what Claude would have billed, one row per generation, also for answers that never arrived.

A row is written when the last byte is out, when the client has gone or when a fault ended the answer; requests that
generated nothing have a row of cost zero, so every attempt can be found. Rows beyond the cap leave the book and are
counted as dropped; totals keep everything since the last clearing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from gateway.simulator.prices import cost_e4, rounded

COUNTED = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")


class Book:
    def __init__(self, rows_kept: int) -> None:
        self.rows: deque[dict[str, Any]] = deque(maxlen=rows_kept)
        self.clear()

    def clear(self) -> None:
        self.rows.clear()
        self.written = 0
        self.totals: dict[str, int] = {"rows": 0, "nano_usd": 0, "exact_e4": 0, "web_search_requests": 0}
        self.totals |= dict.fromkeys(COUNTED, 0)
        self.workspaces: dict[str, int] = {}

    def write(self, *, model: str | None, usage: Mapping[str, Any] | None, free: bool = False, **facts: Any) -> int:
        """Book a row and return its cost in nano-dollars; `free` shows usage that Claude reports but does not bill."""
        exact = cost_e4(model, usage) if model and usage and not free else 0
        self.enter(exact=exact, model=model, usage=usage, **facts)
        return rounded(exact)

    def enter(self, *, exact: int, usage: Mapping[str, Any] | None, **facts: Any) -> None:
        nano = rounded(exact)
        self.written += 1
        self.rows.append({"n": self.written, **facts, "usage": usage, "nano_usd": nano, "exact_e4": exact})
        totals = self.totals
        totals["rows"] += 1
        totals["nano_usd"] += nano
        totals["exact_e4"] += exact
        if usage and exact:
            for kind in COUNTED:
                totals[kind] += usage.get(kind) or 0
            totals["web_search_requests"] += (usage.get("server_tool_use") or {}).get("web_search_requests", 0)
        name = facts["workspace"]
        self.workspaces[name] = self.workspaces.get(name, 0) + nano

    def since(self, n: int) -> dict[str, Any]:
        """The rows after row n, with totals since the last clearing; `last` is what to ask with next time."""
        return {
            "rows": list(self.after(n)),
            "last": self.written,
            "dropped": self.written - len(self.rows),
            "totals": self.totals,
            "workspaces": self.workspaces,
        }

    def after(self, n: int) -> Iterable[dict[str, Any]]:
        return (row for row in self.rows if row["n"] > n)
