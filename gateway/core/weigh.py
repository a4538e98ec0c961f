"""What a request asks for, as far as limits and money are concerned: the governed fields, and the input measured.

Decided from the very bytes that Claude will get. Types follow the API's leniency (null is absent, 10.0 is 10); a
governed field of another type is refused with its name, because two readings of it could mean two prices.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from msgspec import Raw

from gateway.core.asked import (
    Fallback,
    Tool,
    fallbacks_of,
    flag,
    items,
    member,
    number,
    text,
    tools_of,
    workspace_objects,
)
from gateway.core.blocks import NOTHING, given, word
from gateway.core.content import Content, content_in_steps
from gateway.core.estimate import NO_TOOLS, Estimate, Hidden, estimated
from gateway.core.json_fields import Fields, Malformed, Steps, finish
from gateway.core.limits import Ref
from gateway.core.text_counts import SAMPLE_BYTES
from gateway.core.tokenizers import known_tool_tokens

Kind = Literal["messages", "count", "complete", "chat"]

# The fields that bound the output, by kind. Of two the larger counts: which one Claude obeys is not documented.
_MOST: dict[Kind, tuple[str, ...]] = {
    "messages": ("max_tokens",),
    "count": (),
    "complete": ("max_tokens_to_sample",),
    "chat": ("max_completion_tokens", "max_tokens"),
}
_RARE = frozenset((
    "fallbacks", "mcp_servers", "speed", "inference_geo", "service_tier", "billing_policy", "compaction",
    "context_management", "thread",
))  # fmt: skip
_NAMING = frozenset(("container", "thread", "diagnostics"))
# What count_tokens accepts (fact sheet 7). The last four need the beta headers that the client sent, which go along.
_COUNTABLE = (
    "model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control", "speed",
    "mcp_servers", "context_management", "compaction", "billing_policy",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Weighed:
    """One request: the answer to every question that a limit, a budget or a policy may put to its body."""

    model: str  # as asked; aliases are resolved by policy
    stream: bool
    max_tokens: int | None
    content: Content
    hidden: Hidden
    fallbacks: tuple[Fallback, ...] = ()
    default_fallbacks: bool = False  # the server chooses the models
    tools: tuple[Tool, ...] = ()  # those that can cost
    mcp_servers: int = 0
    speed: str | None = None
    inference_geo: str | None = None
    service_tier: str | None = None
    bill_to: str | None = None
    compacts: bool = False  # an extra, billed pass over the conversation may be made
    stream_usage: bool = True  # False: the usage of a chat/completions stream was not asked for
    thread: str | None = None  # "create", "continue"
    previous_message_id: str | None = None  # of the thread that goes on
    refs: tuple[Ref, ...] = ()

    @property
    def models(self) -> tuple[str, ...]:
        """Every model named that can bill, the asked one first."""
        others = [fallback.model for fallback in self.fallbacks] + [tool.model for tool in self.tools if tool.model]
        return tuple(dict.fromkeys([self.model, *others]))

    @property
    def cacheable(self) -> float:
        """The share of the input that may be read from a cache: what lies before the last breakpoint."""
        return self.content.cacheable

    @property
    def countable(self) -> bool:
        """Whether count_tokens would count it right: it refuses what lives elsewhere and does not see a thread."""
        elsewhere = bool(self.tools) or self.mcp_servers > 0 or self.previous_message_id is not None
        return not (elsewhere or self.content.unknown_documents or None in self.content.images)

    @property
    def grows(self) -> bool:
        """Whether Claude may read more while it runs: then what it used says nothing of the estimate."""
        return bool(self.tools or self.fallbacks or self.mcp_servers) or self.default_fallbacks or self.compacts

    def input(self, model: str | None = None, *, remembered: int = 0) -> Estimate:
        """The estimate of its input for the asked or another model, before learning."""
        return estimated(self.content, model or self.model, self.hidden, remembered=remembered)


def weigh(fields: Fields, kind: Kind = "messages") -> Weighed:
    """All steps at once."""
    return finish(weigh_in_steps(fields, kind))


def weigh_in_steps(fields: Fields, kind: Kind = "messages", sample: int = SAMPLE_BYTES) -> Steps[Weighed]:
    """Read the governed fields, then measure the input, giving way on large bodies."""

    def raw(name: str) -> Raw:
        return fields.get(name, NOTHING)

    model = text(raw("model"), "model")
    if not model:
        raise Malformed("The request body has no 'model'. Name the model to use.")
    most = [number(raw(name), name) for name in _MOST[kind]]
    tools, types = tools_of(raw("tools"))
    content = yield from content_in_steps(fields, sample)
    return Weighed(
        model=model,
        stream=flag(raw("stream"), "stream"),
        max_tokens=max((value for value in most if value is not None), default=None),
        content=content,
        hidden=Hidden(
            any=bool(types),
            forced=word(member(raw("tool_choice"), "tool_choice", "type")) in ("any", "tool"),
            known=sum([known_tool_tokens(one) for one in types]),
        )
        if types
        else NO_TOOLS,
        tools=tools,
        refs=workspace_objects(fields, content.files) if content.files or not _NAMING.isdisjoint(fields) else (),
        **(_rare(raw, kind) if kind == "chat" or not _RARE.isdisjoint(fields) else {}),
    )


def _rare(raw: Callable[[str], Raw], kind: Kind) -> dict[str, Any]:
    """The fields that few bodies have."""
    fallbacks, default_fallbacks = fallbacks_of(raw("fallbacks"))
    include_usage = member(raw("stream_options"), "stream_options", "include_usage")
    return {
        "fallbacks": fallbacks,
        "default_fallbacks": default_fallbacks,
        "mcp_servers": len(items(raw("mcp_servers"), "mcp_servers")),
        "speed": text(raw("speed"), "speed"),
        "inference_geo": text(raw("inference_geo"), "inference_geo"),
        "service_tier": text(raw("service_tier"), "service_tier"),
        "bill_to": text(member(raw("billing_policy"), "billing_policy", "bill_to"), "billing_policy.bill_to"),
        "compacts": given(raw("compaction")) or b'"compact_' in bytes(raw("context_management")),
        "stream_usage": kind != "chat" or flag(include_usage, "stream_options.include_usage"),
        "thread": word(member(raw("thread"), "thread", "type")) or None,
        "previous_message_id": text(
            member(raw("thread"), "thread", "previous_message_id"), "thread.previous_message_id"
        ),
    }


def project_for_count(fields: Fields) -> bytes:
    """The body for count_tokens: the same values, without the keys that it refuses."""
    kept = [b'"%b":%b' % (key.encode(), bytes(fields[key])) for key in _COUNTABLE if key in fields]
    return b"{" + b",".join(kept) + b"}"
