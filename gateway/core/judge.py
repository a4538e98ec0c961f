"""What a body asks for, and whether its team may ask it. Only the few governed fields are read."""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
from msgspec import Raw

from gateway.core.errors import GatewayError
from gateway.core.json_fields import Fields, Malformed, Steps, batch_params, fields, fields_in_steps
from gateway.core.routes import Matched, Route, Weigh
from gateway.core.teams import Policy, Team


@dataclass(frozen=True, slots=True)
class Asked:
    """The governed facts of one inference body."""

    model: str
    models: tuple[str, ...]  # every model that can bill
    stream: bool
    max_tokens: int = 4096


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
            asked = asked_of((yield from fields_in_steps(body)))
    except Malformed as error:
        raise GatewayError("malformed", str(error)) from None
    _allow(policy, team, asked.models)
    return asked


def judge_path(policy: Policy, team: Team, matched: Matched) -> None:
    """404 for a model in the path that the team may not use: for this team it does not exist."""
    model = matched.ids.get("model")
    if model is not None and not policy.may_use(team, model):
        raise GatewayError("not_found", f"model: {model}")


def _asked_of_batch(params: Iterator[Fields | None]) -> Steps[Asked]:
    models: dict[str, None] = {}
    index = 0
    for body in params:
        if body is None:
            yield
            continue
        models.update(dict.fromkeys(asked_of(body, f"requests.{index}.params.").models))
        index += 1
    if not models:
        raise GatewayError("malformed", "requests: A batch needs at least one request.")
    return Asked(next(iter(models)), tuple(models), stream=False)


def asked_of(body: Fields, where: str = "") -> Asked:
    """Read the governed fields; a model that is absent or no string can't be governed and is refused."""
    model = _string(body, "model", where)
    if model is None:
        raise GatewayError("malformed", f"{where}model: Field required")
    if _given(body, "billing_policy"):
        raise GatewayError(
            "not_allowed", f"{where}billing_policy can't be set through the gateway: it would change who pays."
        )
    models = [model, *_fallbacks(body, where), *_advisors(body, where)]
    stream = _given(body, "stream") and bytes(body["stream"]) == b"true"
    return Asked(model, tuple(dict.fromkeys(models)), stream, _most_output(body))


def _allow(policy: Policy, team: Team, models: tuple[str, ...]) -> None:
    for model in models:
        if not policy.may_use(team, model):
            raise GatewayError(
                "not_allowed",
                f"Team '{team.name}' may not use the model '{model[:100]}'. Allowed: {', '.join(team.models)}.",
            )


def _given(body: Fields, key: str) -> bool:
    return key in body and bytes(body[key]) != b"null"


def _string(body: Fields, key: str, where: str) -> str | None:
    if not _given(body, key):
        return None
    try:
        return msgspec.json.decode(body[key], type=str)
    except msgspec.MsgspecError:
        raise GatewayError("malformed", f"{where}{key}: Input should be a valid string") from None


def _most_output(body: Fields) -> int:
    """`max_tokens`, by whichever name it goes; what is no number is Claude's to refuse."""
    for key in ("max_tokens", "max_completion_tokens", "max_tokens_to_sample"):
        if _given(body, key):
            try:
                return max(0, int(msgspec.json.decode(body[key], type=float)))
            except (msgspec.MsgspecError, OverflowError):
                return 4096
    return 4096


def _fallbacks(body: Fields, where: str) -> list[str]:
    """The models a request may be moved to: entries are ids, or objects with a model."""
    if not _given(body, "fallbacks"):
        return []
    try:
        entries = msgspec.json.decode(body["fallbacks"], type=list[Raw])
    except msgspec.MsgspecError:
        raise GatewayError("malformed", f"{where}fallbacks: Input should be a valid list") from None
    found: list[str] = []
    for index, entry in enumerate(entries):
        if _opens(entry, b'"'):
            found.append(msgspec.json.decode(entry, type=str))
            continue
        place = f"{where}fallbacks.{index}"
        model = _string(fields(entry, place), "model", f"{place}.")
        if model is not None:
            found.append(model)
    return found


def _advisors(body: Fields, where: str) -> list[str]:
    """The models that tools name: an advisor bills on its own."""
    if "tools" not in body or not _may_name_a_model(body["tools"]):
        return []
    try:
        tools = msgspec.json.decode(body["tools"], type=list[Raw])
    except msgspec.MsgspecError:
        raise GatewayError("malformed", f"{where}tools: Input should be a valid list") from None
    found: list[str] = []
    for index, tool in enumerate(tools):
        if not _may_name_a_model(tool):
            continue
        place = f"{where}tools.{index}"
        model = _string(fields(tool, place), "model", f"{place}.")
        if model is not None:
            found.append(model)
    return found


def _may_name_a_model(value: Raw) -> bool:
    """Whether a key `model` can be in there: a tenth of the cost of a real look, and most tools have none."""
    text = bytes(value)
    return b'"model"' in text or b"\\u" in text  # a key can be written with escapes


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
