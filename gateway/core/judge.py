"""What a body asks for, and whether its team may ask it. Only the few governed fields are read."""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
from msgspec import Raw

from gateway.core.errors import GatewayError
from gateway.core.json_fields import Fields, Malformed, Steps, batch_params, fields, fields_in_steps
from gateway.core.routes import Matched, Route, Weigh
from gateway.core.teams import Policy, Team
from gateway.core.weigh import Kind, Weighed, weigh_in_steps


@dataclass(frozen=True, slots=True)
class Asked:
    """What an inference body asks for, in numbers. Of a batch: the sums over its requests."""

    model: str
    models: tuple[str, ...]  # every model that can bill
    stream: bool
    input: float  # estimated tokens
    surely: float  # a lower bound of them
    most_output: int
    searches: int = 0  # at most
    fast: bool = False
    us: bool = False
    any_model: bool = False  # Claude may choose one by itself
    weighed: Weighed | None = None  # of a single request


# How each route that names a model is read.
_FORMS: dict[str, Kind] = {
    "messages": "messages",
    "count_tokens": "count",
    "complete": "complete",
    "chat_completions": "chat",
}
# What is held for an answer whose request sets no bound, and for searches without one.
UNBOUNDED_OUTPUT = 4096
UNBOUNDED_SEARCHES = 10


def judge(policy: Policy, team: Team, route: Route, body: bytearray) -> Steps[Asked | None]:
    """Judge a buffered body, giving way between steps; None for a route that runs no model itself."""
    if not route.inference and not route.agent:
        return None
    try:
        if route.agent:
            _allow(policy, team, tuple(_named((yield from fields_in_steps(body)), "")))
            return None
        if route.weigh is Weigh.BATCH:
            asked = yield from _asked_of_batch(batch_params(body))
        else:
            asked = asked_of((yield from weigh_in_steps((yield from fields_in_steps(body)), _FORMS[route.name])))
    except Malformed as error:
        raise GatewayError("malformed", str(error)) from None
    _allow(policy, team, asked.models)
    if asked.any_model:
        _allow_any(policy, team)
    return asked


def judge_path(policy: Policy, team: Team, matched: Matched) -> None:
    """404 for a model in the path that the team may not use: for this team it does not exist."""
    model = matched.ids.get("model")
    if model is not None and not policy.may_use(team, model):
        raise GatewayError("not_found", f"model: {model}")


def _asked_of_batch(params: Iterator[Fields | None]) -> Steps[Asked]:
    """Each request of a batch is weighed by itself; only sums are kept, for there may be 100,000."""
    models: dict[str, None] = {}
    total, surely, output, searches = 0.0, 0.0, 0, 0
    fast = us = any_model = False
    index = 0
    for body in params:
        if body is None:
            yield
            continue
        try:
            one = asked_of((yield from weigh_in_steps(body)))
        except (Malformed, GatewayError) as error:
            raise GatewayError("malformed", f"requests.{index}.params: {error}") from None
        models.update(dict.fromkeys(one.models))
        total, surely, output = total + one.input, surely + one.surely, output + one.most_output
        searches, fast, us = searches + one.searches, fast or one.fast, us or one.us
        any_model = any_model or one.any_model
        index += 1
    if not models:
        raise GatewayError("malformed", "requests: A batch needs at least one request.")
    return Asked(next(iter(models)), tuple(models), False, total, surely, output, searches, fast, us, any_model)


def asked_of(weighed: Weighed) -> Asked:
    """A weighed request as numbers; a payer of its own is refused."""
    if weighed.bill_to is not None:
        raise GatewayError("not_allowed", "billing_policy can't be set through the gateway: it would change who pays.")
    estimate = weighed.input()
    searches = sum(
        UNBOUNDED_SEARCHES if tool.max_uses is None else tool.max_uses
        for tool in weighed.tools
        if tool.type.startswith("web_search")
    )
    bounds = [fallback.max_tokens for fallback in weighed.fallbacks if fallback.max_tokens is not None]
    return Asked(
        model=weighed.model,
        models=weighed.models,
        stream=weighed.stream,
        input=estimate.tokens,
        surely=estimate.sure,
        # A fallback may have a bound of its own, above the request's.
        most_output=max(UNBOUNDED_OUTPUT if weighed.max_tokens is None else weighed.max_tokens, *bounds, 0),
        searches=searches,
        fast="fast" in (weighed.speed, *(fallback.speed for fallback in weighed.fallbacks)),
        us=weighed.inference_geo == "us",
        any_model=weighed.default_fallbacks,
        weighed=weighed,
    )


def _allow(policy: Policy, team: Team, models: tuple[str, ...]) -> None:
    for model in models:
        if not policy.may_use(team, model):
            raise GatewayError(
                "not_allowed",
                f"Team '{team.name}' may not use the model '{model[:100]}'. Allowed: {', '.join(team.models)}.",
            )


def _allow_any(policy: Policy, team: Team) -> None:
    """403 where Claude's own choice of a model could be one that the team may not use."""
    if not all(policy.may_use(team, model) for model, rows in policy.prices.rows.items() if not rows[-1].retired):
        raise GatewayError(
            "not_allowed",
            f"Team '{team.name}' may not use every model, so Claude can't choose the fallbacks. "
            f"Name them in 'fallbacks'. Allowed: {', '.join(team.models)}.",
        )


def _string(body: Fields, key: str, where: str) -> str | None:
    if key not in body or bytes(body[key]) == b"null":
        return None
    try:
        return msgspec.json.decode(body[key], type=str)
    except msgspec.MsgspecError:
        raise GatewayError("malformed", f"{where}{key}: Input should be a valid string") from None


# In these a `model` is the client's own word: data for a tool, or notes.
_NOT_OURS = frozenset({"metadata", "input_schema"})
_DEEPEST = 30


def _named(body: Fields, where: str) -> Iterator[str]:
    """Every model that an agent's body names, wherever: its own, an advisor's, an override's of a session.

    A model is an id, or an object with one. Each object on the way has each key once.
    """
    for key, value in body.items():
        if key == "model" and _opens(value, b'"'):
            yield msgspec.json.decode(value, type=str)
        elif key == "model" and _opens(value, b"{"):
            model = _string(fields(value, f"{where}model"), "id", f"{where}model.")
            if model is not None:
                yield model
        elif key not in _NOT_OURS:
            yield from _named_within(value, where + key)


def _named_within(value: Raw, where: str) -> Iterator[str]:
    if where.count(".") > _DEEPEST:
        raise Malformed(f"The request body is nested more than {_DEEPEST} levels deep.")
    if _opens(value, b"{"):
        yield from _named(fields(value, where), f"{where}.")
    elif _opens(value, b"["):
        for index, item in enumerate(msgspec.json.decode(value, type=list[Raw])):
            yield from _named_within(item, f"{where}.{index}")


def _opens(value: Raw, mark: bytes) -> bool:
    return bytes(memoryview(value)[:1]) == mark
