"""Which calls share Claude's capacity, what is left of it, and which could be served elsewhere."""

import pytest

from gateway.core.overload.headroom import headroom_of, reset_of
from gateway.core.overload.lanes import class_of, model_class
from gateway.core.overload.stateless import is_stateless
from gateway.core.routes import ROUTES

BY_NAME = {route.name: route for route in ROUTES}
KNOWN = frozenset({"claude-opus-4-8", "claude-sonnet-5"})


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("claude-opus-4-8", "opus-4"),
        ("claude-opus-4-5-20251101", "opus-4"),
        ("claude-sonnet-4-6", "sonnet-4"),
        ("claude-opus-5", "opus-5"),
        ("claude-opus-5-5", "opus-5-5"),
        ("claude-haiku-4-5", "haiku-4-5"),
        ("claude-haiku-4-5-20251001", "haiku-4-5"),
        ("claude-fable-5-2", "fable-5"),
        ("claude-mythos-5", "mythos-5"),
        ("gpt-9", "other"),
        ("", "other"),
        ("claude-opus-5\nx", "other"),
    ],
)
def test_model_classes(model: str, expected: str) -> None:
    """The classes of the fact sheet: minor versions of Opus 4, Sonnet 4 and Fable 5 share one limit each."""
    assert expected == model_class(model)


@pytest.mark.parametrize(
    ("route", "model", "expected"),
    [
        ("messages", "claude-opus-4-8", "opus-4"),
        ("messages", "claude-invented-1-1", "other"),
        ("count_tokens", "claude-opus-4-8", "count_tokens"),
        ("batches.create", "claude-opus-4-8", "batches"),
        ("files.get", "", "objects"),
        ("sessions.create", "", "objects"),
        ("models.list", "", "models"),
    ],
)
def test_lanes(route: str, model: str, expected: str) -> None:
    """What has limits of its own is a lane of its own; a model nobody knows gets no label."""
    assert expected == class_of(BY_NAME[route], model, KNOWN)


def test_headroom() -> None:
    """The share that is left of each limit, as far as both numbers make sense."""
    headers = [
        (b"Anthropic-RateLimit-Requests-Limit", b"1000"),
        (b"anthropic-ratelimit-requests-remaining", b"250"),
        (b"anthropic-ratelimit-tokens-limit", b"0"),
        (b"anthropic-ratelimit-tokens-remaining", b"0"),
        (b"anthropic-ratelimit-input-tokens-limit", b"100"),
        (b"anthropic-ratelimit-input-tokens-remaining", b"120"),
        (b"anthropic-ratelimit-output-tokens-limit", b"many"),
        (b"anthropic-ratelimit-output-tokens-remaining", b"1"),
        (b"anthropic-ratelimit-unified-status", b"allowed"),
    ]

    assert {"requests": 0.25, "input-tokens": 1.0} == headroom_of(headers)
    assert reset_of(headers, 0.0) is None


@pytest.mark.parametrize(
    ("route", "body", "expected"),
    [
        ("messages", b'{"model":"m","messages":[]}', True),
        ("messages", bytearray(b'{"model":"m"}'), True),
        ("count_tokens", b'{"model":"m"}', True),
        ("messages", b'{"container": "container_1"}', False),
        ("messages", b'{"container": null, "thread":null}', True),
        ("messages", b'{"container":{"skills":[]}}', False),
        ("messages", b'{"source":{"type":"file","file_id" : "file_1"}}', False),
        ("messages", b'{"thread":{"type":"continue","previous_message_id":"msg_1"}}', False),
        ("messages", b'{"text":"write \\"file_id\\": 1"}', True),
        ("messages", b'{"text":"a container, a thread"}', True),
        ("messages", None, False),
        ("batches.create", b'{"requests":[]}', False),
        ("files.list", b"", False),
        ("sessions.create", b"{}", False),
    ],
)
def test_what_could_be_served_elsewhere(route: str, body: object, expected: bool) -> None:
    """Only inference that names nothing of its workspace; a prompt that speaks of such things is still stateless."""
    assert expected == is_stateless(BY_NAME[route], body)
