"""The admin API's view of workspaces: how their keys, lanes and rests are, and an operator's word about a key.

A real key never passes through here in either direction: keys are named, and probed by this process itself.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Literal, TypeVar

import msgspec

from gateway.admin import AdminAnswer, AdminCall, Rows, as_json
from gateway.core.errors import GatewayError
from gateway.core.teams import Policy, Workspace
from gateway.upstream import Upstream


class KeyNamed(msgspec.Struct, forbid_unknown_fields=True):
    """Body of POST workspaces/probe."""

    workspace: str
    key: str


class KeySet(msgspec.Struct, forbid_unknown_fields=True):
    """Body of POST workspaces/keys."""

    workspace: str
    key: str
    state: Literal["active", "draining", "benched"]


class WorkspaceCalls:
    """Rows for `Admin`."""

    def __init__(self, policy: Callable[[], Policy], upstream: Upstream) -> None:
        self._policy = policy
        self._upstream = upstream
        self.rows: Rows = {
            ("GET", "workspaces"): ("read", self._states),
            ("POST", "workspaces/keys"): ("write", self._set),
            ("POST", "workspaces/probe"): ("write", self._probe),
        }

    async def _states(self, call: AdminCall) -> AdminAnswer:
        return as_json({"workspaces": self._upstream.states(self._policy())})

    async def _set(self, call: AdminCall) -> AdminAnswer:
        asked = await _body(call, KeySet)
        workspace = self._workspace(asked.workspace)
        try:
            self._upstream.set_key(workspace, asked.key, asked.state)
        except KeyError as unknown:
            raise GatewayError("not_found", f"{unknown.args[0]}.") from None
        return as_json(self._upstream.states(self._policy())[workspace.name]["keys"][asked.key])

    async def _probe(self, call: AdminCall) -> AdminAnswer:
        asked = await _body(call, KeyNamed)
        workspace = self._workspace(asked.workspace)
        key = next((key for key in workspace.keys if key.name == asked.key), None)
        if key is None:
            raise GatewayError("not_found", f"workspace '{workspace.name}' has no key {asked.key[:60]!r}.")
        return as_json(asdict(await self._upstream.probe(workspace, key)))

    def _workspace(self, name: str) -> Workspace:
        workspace = self._policy().workspaces.get(name)
        if workspace is None:
            raise GatewayError("not_found", f"There is no workspace {name[:60]!r} in the policy.")
        return workspace


T = TypeVar("T")


async def _body(call: AdminCall, type: type[T]) -> T:
    try:
        return msgspec.json.decode(await call.read(), type=type)
    except msgspec.MsgspecError as error:
        raise GatewayError("malformed", f"The body can't be used: {error}.") from None
