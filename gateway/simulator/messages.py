"""POST /v1/messages, count_tokens and the models: from a request to a message, plain or as a stream."""

from __future__ import annotations

import msgspec

from gateway.simulator import threads
from gateway.simulator.asks import Asks, asked, last_text
from gateway.simulator.compose import compose
from gateway.simulator.errors import invalid, not_found
from gateway.simulator.lists import by_ids
from gateway.simulator.message import Message, at_usage
from gateway.simulator.models import MODELS, ROWS, Model
from gateway.simulator.prompt import parts_of
from gateway.simulator.references import check_references
from gateway.simulator.task import Task
from gateway.simulator.validate import check_message, too_long
from gateway.simulator.world import Answer, Call, Charge, Object, Reply, Stream, reply


def create(call: Call) -> Answer:
    body = call.json()
    message = generate(call, body)
    if body.get("stream"):
        return Stream(message.events())
    return Reply(msgspec.json.encode(message.plain()), paced=True)


def generate(call: Call, body: Object) -> Message:
    """Answer a Messages body within the limits and put the charge on the call."""
    model = check_message(body, call)
    call.limit_class = model.limit_class
    limits = call.world.limits
    limits.take(model.limit_class, {"requests": 1, "input": 0, "output": 0}, call.now)
    message = answer(call, body, model, asked(call.request.headers, last_text(body)))
    usage = message.usage
    # The input is known only now; a bucket that it overdraws refuses the next request.
    uncached = usage["input_tokens"] + usage["cache_creation_input_tokens"]
    limits.bucket(model.limit_class, "input", call.now).level -= uncached
    call.charge = Charge(model.id, usage, usage["output_tokens"], message.free, lambda sent: at_usage(message, sent))
    return message


def answer(call: Call, body: Object, model: Model, asks: Asks) -> Message:
    """The message for a valid body, its cache and its thread remembered."""
    check_references(body, call.workspace)
    now, workspace = call.now, call.workspace
    thread = threads.resume(body, workspace, now) if body.get("thread") else None
    parts = parts_of(body, model, workspace.of("file"))
    if thread:
        parts = [*thread.parts, *parts]
    total = sum(part.tokens for part in parts) + model.frame
    if total > model.context:
        raise too_long(total, model)
    message = compose(Task(body, model, parts, asks, workspace, now, call.world.options.tokens_per_event))
    if body.get("thread"):
        threads.keep(body, parts, thread, message=message, workspace=workspace, now=now)
    return message


def count(call: Call) -> Answer:
    body = call.json()
    model = check_message(body, call, counting=True)
    call.world.limits.take("token_count", {"count": 1}, call.now)
    parts = parts_of(body, model, call.workspace.of("file"))
    return reply({"input_tokens": sum(part.tokens for part in parts) + model.frame})


def list_models(call: Call) -> Answer:
    wanted = call.request.query.getall("lifecycle[]", call.request.query.getall("lifecycle", ["active", "deprecated"]))
    strange = set(wanted) - {"active", "deprecated", "retired"}
    if strange:
        raise invalid(f"lifecycle: Input should be 'active', 'deprecated' or 'retired', not {min(strange)!r}")
    return reply(by_ids([model.info() for model in ROWS if model.lifecycle in wanted], call.request.query, most=1000))


def get_model(call: Call) -> Answer:
    model: Model | None = MODELS.get(call.params["model"])
    if model is None:
        raise not_found(f"model: {call.params['model']}")
    return reply(model.info())
