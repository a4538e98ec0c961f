"""The models this Claude knows: ids, aliases, limits and how each tokenizes (fact sheet 1.1, 6.3, 6.4, 7).

A model that is not a row here does not exist: 404, as with the real API.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway.simulator.tokens import CLASSIC, DENSE, Generation


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    id: str
    line: str
    name: str
    released: str
    limit_class: str  # models of one class share a rate limit bucket
    tokenizer: Generation
    frame: int  # tokens around the whole prompt
    hidden: tuple[int, int]  # system tokens that tools add: tool_choice auto or none, any or tool
    cacheable: int  # smallest prefix that is cached
    context: int = 1_000_000
    max_output: int = 128_000
    lifecycle: str = "active"
    retires: str | None = None
    residency: bool = True  # accepts inference_geo
    fast: str | None = None  # None: refused; "": accepted; else the beta value it needs

    @property
    def image_cap(self) -> tuple[int, int]:
        """Longest edge in pixels and most tokens of one image."""
        return (1568, 1568) if self.tokenizer is CLASSIC else (2576, 4784)

    def info(self) -> dict[str, Any]:
        yes, no = {"supported": True}, {"supported": False}
        return {
            "type": "model",
            "id": self.id,
            "display_name": self.name,
            "created_at": f"{self.released}T00:00:00Z",
            "lifecycle": self.lifecycle,
            "deprecated_at": None if self.lifecycle == "active" else f"{self.released}T00:00:00Z",
            "retires_at": f"{self.retires}T00:00:00Z" if self.retires else None,
            "line": self.line,
            "max_input_tokens": self.context,
            "max_tokens": self.max_output,
            "capabilities": {
                "batch": yes,
                "citations": yes,
                "code_execution": yes,
                "context_management": {
                    "supported": True,
                    "clear_thinking_20251015": yes,
                    "clear_tool_uses_20250919": yes,
                    "compact_20260112": yes,
                },
                "effort": {"supported": True, "low": yes, "medium": yes, "high": yes, "max": yes, "xhigh": no},
                "image_input": yes,
                "pdf_input": yes,
                "server_tools": {"supported": True, "code_execution": yes, "web_search": yes},
                "structured_outputs": yes,
                "thinking": {
                    "supported": True,
                    "types": {"adaptive": yes, "between_tools": yes, "disabled": yes, "enabled": yes},
                },
            },
        }


FAST_BETA = "fast-mode-2026-02-01"

# id, line, name, released, limit class, tokenizer, frame, hidden tool tokens, cacheable
ROWS = (
    Model("claude-fable-5-2", "fable", "Claude Fable 5.2", "2026-11-09", "fable-5", DENSE, 6, (354, 474), 512, fast=""),
    Model("claude-mythos-5-2", "mythos", "Claude Mythos 5.2", "2026-11-09", "fable-5", DENSE, 6, (354, 474), 512),
    Model("claude-haiku-5-5", "haiku", "Claude Haiku 5.5", "2026-10-15", "haiku-5-5", DENSE, 6, (354, 474), 1024),
    Model("claude-sonnet-5-5", "sonnet", "Claude Sonnet 5.5", "2026-10-01", "sonnet-5-5", DENSE, 6, (354, 474), 1024),
    Model("claude-fable-5-1", "fable", "Claude Fable 5.1", "2026-09-01", "fable-5", DENSE, 6, (354, 474), 512),
    Model("claude-mythos-5-1", "mythos", "Claude Mythos 5.1", "2026-09-01", "fable-5", DENSE, 6, (354, 474), 512),
    Model("claude-opus-5-5", "opus", "Claude Opus 5.5", "2026-09-15", "opus-5-5", DENSE, 6, (290, 410), 512, fast=""),
    Model("claude-sonnet-5", "sonnet", "Claude Sonnet 5", "2026-06-20", "sonnet-5", DENSE, 6, (354, 474), 1024),
    Model("claude-fable-5", "fable", "Claude Fable 5", "2026-06-01", "fable-5", DENSE, 6, (354, 474), 512),
    Model("claude-mythos-5", "mythos", "Claude Mythos 5", "2026-06-01", "fable-5", DENSE, 6, (354, 474), 512),
    Model("claude-opus-5", "opus", "Claude Opus 5", "2026-07-01", "opus-5", DENSE, 6, (290, 410), 512, fast=FAST_BETA),
    Model(
        "claude-opus-4-8", "opus", "Claude Opus 4.8", "2026-05-01", "opus-4", DENSE, 6, (290, 410), 1024, fast=FAST_BETA
    ),
    Model("claude-opus-4-7", "opus", "Claude Opus 4.7", "2026-04-01", "opus-4", DENSE, 12, (675, 804), 2048),
    Model(
        "claude-opus-4-6",
        "opus",
        "Claude Opus 4.6",
        "2026-02-05",
        "opus-4",
        CLASSIC,
        7,
        (497, 589),
        4096,
        fast=FAST_BETA,
    ),
    Model("claude-sonnet-4-6", "sonnet", "Claude Sonnet 4.6", "2026-02-17", "sonnet-4", CLASSIC, 7, (497, 589), 1024),
    Model(
        "claude-haiku-4-5-20251001",
        "haiku",
        "Claude Haiku 4.5",
        "2025-10-01",
        "haiku-4-5",
        CLASSIC,
        7,
        (496, 588),
        4096,
        context=200_000,
        max_output=64_000,
        residency=False,
    ),
    Model(
        "claude-opus-4-5-20251101",
        "opus",
        "Claude Opus 4.5",
        "2025-11-01",
        "opus-4",
        CLASSIC,
        7,
        (496, 588),
        4096,
        context=200_000,
        max_output=64_000,
        residency=False,
    ),
    Model(
        "claude-sonnet-4-5-20250929",
        "sonnet",
        "Claude Sonnet 4.5",
        "2025-09-29",
        "sonnet-4",
        CLASSIC,
        7,
        (496, 588),
        1024,
        context=200_000,
        max_output=64_000,
        lifecycle="deprecated",
        retires="2026-11-30",
        residency=False,
    ),
    Model(
        "claude-opus-4-1-20250805",
        "opus",
        "Claude Opus 4.1",
        "2025-08-05",
        "opus-4",
        CLASSIC,
        7,
        (313, 315),
        1024,
        context=200_000,
        max_output=32_000,
        lifecycle="retired",
        retires="2026-08-05",
        residency=False,
    ),
    Model(
        "claude-3-5-haiku-20241022",
        "haiku",
        "Claude Haiku 3.5",
        "2024-10-22",
        "haiku-3-5",
        CLASSIC,
        7,
        (264, 355),
        2048,
        context=200_000,
        max_output=8_192,
        lifecycle="retired",
        retires="2026-02-19",
        residency=False,
    ),
)
ALIASES = {
    "claude-haiku-4-5": "claude-haiku-4-5-20251001",
    "claude-opus-4-5": "claude-opus-4-5-20251101",
    "claude-sonnet-4-5": "claude-sonnet-4-5-20250929",
}
MODELS = {model.id: model for model in ROWS}
MODELS |= {alias: MODELS[name] for alias, name in ALIASES.items()}


def find(name: object) -> Model | None:
    """The model of that id or alias that still answers, or None."""
    model = MODELS.get(name) if isinstance(name, str) else None
    return model if model and model.lifecycle != "retired" else None
