"""What a body asks for, and whether its team may ask it. Only the few governed fields are read."""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

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
    """Judge a buffered body, giving way between steps; None for a route that names no model."""
    if not route.inference:
        return None
    try:
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
    models = [model, *_fallbacks(body, where), *_advisors(body)]
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
        entries = msgspec.json.decode(body["fallbacks"], type=list[msgspec.Raw])
    except msgspec.MsgspecError:
        raise GatewayError("malformed", f"{where}fallbacks: Input should be a valid list") from None
    found: list[str] = []
    for index, entry in enumerate(entries):
        if bytes(entry)[:1] == b'"':
            found.append(msgspec.json.decode(entry, type=str))
            continue
        place = f"{where}fallbacks.{index}."
        model = _string(fields(entry, place), "model", place)
        if model is not None:
            found.append(model)
    return found


class _Tool(msgspec.Struct):
    model: object = None


def _advisors(body: Fields) -> list[str]:
    """The models that tools name: an advisor bills on its own."""
    if not _given(body, "tools"):
        return []
    try:
        tools = msgspec.json.decode(body["tools"], type=list[_Tool])
    except (msgspec.MsgspecError, RecursionError):
        return []  # Claude refuses tools that are no list of objects
    return [tool.model for tool in tools if isinstance(tool.model, str)]
