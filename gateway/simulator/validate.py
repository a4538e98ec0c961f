"""What the API refuses before it generates: a Messages body against the fact sheet, with Claude's wording.

The first fault found is the one reported. Unknown fields are refused, except inside content blocks, tools and schemas.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gateway.simulator.errors import ApiError, invalid, not_found
from gateway.simulator.models import Model, find
from gateway.simulator.shapes import Block, Messages, fit
from gateway.simulator.world import Call

NEW_VERSION = "2026-10-21"
VERSIONS = frozenset({"2023-01-01", "2023-06-01", NEW_VERSION})
SAMPLING = ("temperature", "top_p", "top_k")
COUNTED = frozenset(
    [
        "model",
        "messages",
        "system",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
        "cache_control",
        "speed",
        "mcp_servers",
        "context_management",
        "compaction",
        "billing_policy",
    ]
)
FIELDS = COUNTED | frozenset(
    [
        "max_tokens",
        "stream",
        "stop_sequences",
        "metadata",
        "service_tier",
        "inference_geo",
        "container",
        "diagnostics",
        "thread",
        "fallbacks",
        "fallback_credit_token",
        "user_profile_id",
        "temperature",
        "top_p",
        "top_k",
        "output_format",
    ]
)
# Fields that exist only under a beta header: field to the prefixes that unlock it.
GATED = {
    "thread": ("message-threads-",),
    "fallbacks": ("server-side-fallback-",),
    "fallback_credit_token": ("fallback-credit-", "server-side-fallback-"),
    "context_management": ("context-management-", "compact-"),
    "compaction": ("compact-",),
    "mcp_servers": ("mcp-client-",),
    "billing_policy": ("user-profiles-billing-",),
    "output_format": ("structured-outputs-",),
}
BETA_FORM = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*-(\d{4}-\d{2}-\d{2}|\d{8})")


def check_version(version: str | None) -> str:
    if not version:
        raise invalid("anthropic-version: header is required")
    if version not in VERSIONS:
        raise invalid(f'anthropic-version: "{version}" is not a valid version')
    return version


def check_betas(values: frozenset[str], known: frozenset[str] | None) -> None:
    """With a list of known values everything else is refused; without, what does not look like a beta value."""
    strange = sorted(v for v in values if not (v in known if known is not None else BETA_FORM.fullmatch(v)))
    if strange:
        names = ", ".join(f"`{value}`" for value in strange)
        raise invalid(f"Unexpected value(s) {names} for the `anthropic-beta` header.")


def check_message(body: Mapping[str, Any], call: Call, *, counting: bool = False, at: str = "") -> Model:
    """Refuse what Claude refuses; the model that is to answer. `at` is where the body stands, inside a batch."""
    model = check_model(body.get("model"), at)
    if not counting and "max_tokens" not in body:
        raise invalid(f"{at}max_tokens: Field required")
    if "messages" not in body:
        raise invalid(f"{at}messages: Field required")
    for name, value in body.items():
        check_field(name, value, call, counting=counting, at=at)
    fit(body, Messages, at)
    if not counting:
        check_size(body["max_tokens"], model, call, at)
    check_messages(body["messages"], call, at)
    check_features(body, model, call, at)
    return model


def check_model(name: object, at: str = "") -> Model:
    if name is None:
        raise invalid(f"{at}model: Field required")
    if not isinstance(name, str):
        raise invalid(f"{at}model: Input should be a valid string")
    if not name:
        raise invalid(f"{at}model: String should have at least 1 character")
    model = find(name)
    if model is None:
        raise not_found(f"model: {name}")
    return model


def check_field(name: str, value: Any, call: Call, *, counting: bool, at: str) -> None:
    if name not in (COUNTED if counting else FIELDS) or not allowed(name, call):
        raise invalid(f"{at}{name}: Extra inputs are not permitted")
    if name in SAMPLING:
        check_sampling(name, value, call, at)


def allowed(name: str, call: Call) -> bool:
    prefixes = GATED.get(name)
    return prefixes is None or any(call.beta(prefix) for prefix in prefixes)


def check_sampling(name: str, value: Any, call: Call, at: str) -> None:
    if call.version >= NEW_VERSION:
        raise invalid(f"{at}{name}: not supported from anthropic-version {NEW_VERSION} on; remove the field")
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise invalid(f"{at}{name}: Input should be a valid number")
    if value < 0:
        raise invalid(f"{at}{name}: Input should be greater than or equal to 0")
    if name != "top_k" and value > 1:
        raise invalid(f"{at}{name}: Input should be less than or equal to 1")


def check_size(max_tokens: Any, model: Model, call: Call, at: str) -> None:
    if not isinstance(max_tokens, int) or isinstance(max_tokens, bool):
        raise invalid(f"{at}max_tokens: Input should be a valid integer")
    if max_tokens < 0:
        raise invalid(f"{at}max_tokens: Input should be greater than or equal to 0")
    most = 300_000 if at and call.beta("output-300k-") else model.max_output
    if max_tokens > most:
        what = f"the maximum allowed number of output tokens for {model.id}"
        raise invalid(f"{at}max_tokens: {max_tokens} > {most}, which is {what}")


def check_messages(messages: list[Any], call: Call, at: str) -> None:
    if not messages:
        raise invalid(f"{at}messages: at least one message is required")
    for n, message in enumerate(messages):
        where = f"{at}messages.{n}"
        if not isinstance(message, dict):
            raise invalid(f"{where}: Input should be a valid dictionary")
        role = message.get("role")
        if role not in ("user", "assistant", "system"):
            raise invalid(
                f"{where}.role: " + ("Field required" if role is None else "Input should be 'user' or 'assistant'")
            )
        content = message.get("content")
        if isinstance(content, str):
            if not content and role == "user":
                raise invalid(f"{where}: user messages must have non-empty content")
        elif isinstance(content, list):
            for k, block in enumerate(content):
                check_block(block, role, call, f"{where}.content.{k}")
        else:
            fault = "Field required" if content is None else "Input should be a valid list"
            raise invalid(f"{where}.content: {fault}")


def check_block(block: Any, role: str, call: Call, where: str) -> None:
    fit(block, Block, where)
    kind = block["type"]
    if kind == "text":
        if not isinstance(block.get("text"), str):
            raise invalid(f"{where}.text.text: Field required")
        if not block["text"]:
            raise invalid("messages: text content blocks must be non-empty")
    if call.version >= NEW_VERSION:
        if kind == "document" and role == "assistant":
            raise invalid(f"{where}: `document` blocks are not permitted in assistant messages")
        if kind == "text" and role == "user" and block.get("citations"):
            raise invalid(f"{where}.citations: not permitted in user messages")


def check_features(body: Mapping[str, Any], model: Model, call: Call, at: str) -> None:
    thinking = body.get("thinking") or {}
    if thinking.get("type") == "enabled":
        budget = thinking.get("budget_tokens")
        if budget is None or budget < 1024:
            raise invalid(f"{at}thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
        if budget >= body.get("max_tokens", budget + 1):
            raise invalid(f"{at}`max_tokens` must be greater than `thinking.budget_tokens`.")
    elif thinking and thinking.get("type") not in ("disabled", "adaptive", "between_tools"):
        raise invalid(f"{at}thinking.type: Input should be 'enabled', 'disabled', 'adaptive' or 'between_tools'")
    if body.get("inference_geo") and not model.residency:
        raise invalid(f"{at}inference_geo: not supported for model {model.id}")
    if body.get("speed") == "fast" and (model.fast is None or (model.fast and model.fast not in call.betas)):
        raise invalid(f"{at}speed: fast mode is not available for model {model.id}")
    if body.get("tool_choice") and not body.get("tools") and body["tool_choice"].get("type") != "none":
        raise invalid(f"{at}tool_choice: may only be specified while providing tools")
    named = (body.get("tool_choice") or {}).get("name")
    if named and all(tool.get("name") != named for tool in body.get("tools") or []):
        raise invalid(f"{at}tool_choice: Tool '{named}' not found in provided tools")
    if marks(body) > 4:
        raise invalid(f"{at}A maximum of 4 blocks with cache_control may be provided. Found {marks(body)}.")


def marks(body: Mapping[str, Any]) -> int:
    found = 1 if body.get("cache_control") else 0
    contents = [body.get("system"), body.get("tools"), *(m.get("content") for m in body["messages"])]
    for content in contents:
        if isinstance(content, list):
            found += sum(1 for block in content if isinstance(block, dict) and block.get("cache_control"))
    return found


def too_long(tokens: int, model: Model) -> ApiError:
    return invalid(f"prompt is too long: {tokens} tokens > {model.context} maximum")
