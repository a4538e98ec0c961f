"""Stored objects of the managed-agents family: one table of kinds, one set of handlers for all of them.

A kind says where it lives, what may be done with it and what its fresh object carries. What a kind does beyond storing
(a session that runs, a deployment that starts sessions) stands in `managed` and `sessions` and hangs in by a hook.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from gateway.simulator import shapes
from gateway.simulator.errors import ApiError, invalid, not_found
from gateway.simulator.lists import by_page
from gateway.simulator.routes import Route
from gateway.simulator.shapes import fit
from gateway.simulator.world import Answer, Call, Object, Workspace, fresh_id, reply, stamp

Hook = Callable[[Call, Object], None]
ALL = ("list", "create", "get", "update", "delete")


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    name: str  # the `type` of its objects, and the key of the workspace's shelf
    prefix: str  # of its ids
    path: str  # of its collection
    verbs: tuple[str, ...] = ALL
    beta: str = ""
    without: str = ""
    parent: Kind | None = None
    fresh: Object = field(default_factory=dict)  # what a new object carries unless the body says otherwise
    actions: dict[str, Object] = field(default_factory=dict)  # POST …/{id}/ACTION → what it changes
    typed: bool = True  # the object's `type` is the kind's name
    both_cursors: bool = False
    on_create: Hook | None = None
    on_update: Hook | None = None
    on_delete: Hook | None = None
    shape: Any = shapes.Plain
    secrets: tuple[str, ...] = ()  # fields of the body that no answer shows

    @property
    def item(self) -> str:
        return f"{self.path}/{{{self.name}}}"


# A field of any create or update body → the kind that it names; such an object must be in the workspace.
REFERENCES = {
    "agent_id": "agent",
    "environment_id": "environment",
    "vault_id": "vault",
    "memory_store_id": "memory_store",
    "session_id": "session",
    "file_id": "file",
    "user_profile_id": "user_profile",
    "deployment_id": "deployment",
    "vault_ids": "vault",
    "session_ids": "session",
    "skill_id": "skill",
}
UNREAD = ("metadata", "input_schema", "content", "system", "instructions")


def references(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Kinds and ids that a body names, wherever they stand."""
    if isinstance(value, str):
        kind = "agent" if key == "agent" else REFERENCES.get(key)
        if kind and not (kind == "skill" and not value.startswith("skill_")):
            yield kind, value
    elif isinstance(value, list):
        for item in value:
            yield from references(item, key)
    elif isinstance(value, dict):
        if key == "agent" and isinstance(value.get("id"), str):
            yield "agent", value["id"]
        for name, inner in value.items():
            if name not in UNREAD:
                yield from references(inner, name)


def check_references(body: Object, workspace: Workspace) -> None:
    for kind, name in references(body):
        if name not in workspace.of(kind):
            raise missing(kind, name)


def missing(kind: str, name: str) -> ApiError:
    return not_found(f"{kind.replace('_', ' ').capitalize()} not found: {name}")


def find(call: Call, kind: Kind) -> Object:
    """The object of the path, under its parent."""
    if kind.parent:
        find(call, kind.parent)
    name = call.params[kind.name]
    found = call.workspace.of(kind.name).get(name)
    if found is None or (kind.parent and found["_parent"] != call.params[kind.parent.name]):
        raise missing(kind.name, name)
    return found


def siblings(call: Call, kind: Kind) -> list[Object]:
    """All objects of the collection of the path, newest first."""
    everything = reversed(call.workspace.of(kind.name).values())
    if not kind.parent:
        return list(everything)
    find(call, kind.parent)
    return [item for item in everything if item["_parent"] == call.params[kind.parent.name]]


def make(call: Call, kind: Kind, body: Object, parent: str | None = None) -> Object:
    """Store a new object."""
    now = stamp(call.now)
    item: Object = {
        "id": fresh_id(kind.prefix),
        "created_at": now,
        "updated_at": now,
        "archived_at": None,
        "metadata": {},
    }
    item |= {name: list(value) if isinstance(value, list) else value for name, value in kind.fresh.items()}
    item |= shown(kind, body)
    if kind.typed:
        item["type"] = kind.name
    if kind.parent:
        item["_parent"] = parent or call.params[kind.parent.name]
        item[f"{kind.parent.name}_id"] = item["_parent"]
    if kind.on_create:
        kind.on_create(call, item)
    call.workspace.of(kind.name)[item["id"]] = item
    return item


def shown(kind: Kind, body: Object) -> Object:
    return {name: without(value, kind.secrets) for name, value in body.items() if name not in kind.secrets}


def without(value: Any, secrets: tuple[str, ...]) -> Any:
    if isinstance(value, dict) and secrets:
        return {name: without(inner, secrets) for name, inner in value.items() if name not in secrets}
    return value


def list_of(kind: Kind) -> Callable[[Call], Answer]:
    def handle(call: Call) -> Answer:
        archived = call.request.query.get("include_archived") == "true"
        items = [item for item in siblings(call, kind) if archived or not item.get("archived_at")]
        return reply(by_page(items, call.request.query, both=kind.both_cursors))

    return handle


def create_of(kind: Kind) -> Callable[[Call], Answer]:
    def handle(call: Call) -> Answer:
        if kind.parent:
            find(call, kind.parent)
        body = call.json()
        fit(body, kind.shape)
        check_references(body, call.workspace)
        return visible(make(call, kind, body))

    return handle


def get_of(kind: Kind) -> Callable[[Call], Answer]:
    return lambda call: visible(find(call, kind))


def update_of(kind: Kind) -> Callable[[Call], Answer]:
    def handle(call: Call) -> Answer:
        item = find(call, kind)
        body = call.json()
        if item.get("archived_at"):
            raise invalid(f"{item['id']} is archived and cannot be changed.")
        fit({**item, **body}, kind.shape)
        check_references(body, call.workspace)
        item |= {name: value for name, value in shown(kind, body).items() if name not in ("id", "type", "created_at")}
        item["updated_at"] = stamp(call.now)
        if kind.on_update:
            kind.on_update(call, item)
        return visible(item)

    return handle


def delete_of(kind: Kind) -> Callable[[Call], Answer]:
    def handle(call: Call) -> Answer:
        item = find(call, kind)
        del call.workspace.of(kind.name)[item["id"]]
        if kind.on_delete:
            kind.on_delete(call, item)
        return reply({"id": item["id"], "type": f"{kind.name}_deleted"})

    return handle


def action_of(kind: Kind, change: Object) -> Callable[[Call], Answer]:
    def handle(call: Call) -> Answer:
        item = find(call, kind)
        item |= {name: stamp(call.now) if value is NOW else value for name, value in change.items()}
        item["updated_at"] = stamp(call.now)
        return visible(item)

    return handle


NOW = object()  # in an action's change: the time of the call
ARCHIVE: dict[str, Object] = {"archive": {"archived_at": NOW}}


def visible(item: Object) -> Answer:
    return reply({name: value for name, value in item.items() if not name.startswith("_")})


VERBS: dict[str, tuple[str, Callable[[Kind], Callable[[Call], Answer]], bool]] = {
    "list": ("GET", list_of, False),
    "create": ("POST", create_of, False),
    "get": ("GET", get_of, True),
    "update": ("POST", update_of, True),
    "delete": ("DELETE", delete_of, True),
}


def rows(kind: Kind) -> Iterator[Route]:
    """The routes of a kind."""
    for verb in kind.verbs:
        method, handler, on_item = VERBS[verb]
        path = kind.item if on_item else kind.path
        yield Route(method, path, handler(kind), beta=kind.beta, without=kind.without)
    for action, change in kind.actions.items():
        yield Route("POST", f"{kind.item}/{action}", action_of(kind, change), beta=kind.beta, without=kind.without)
