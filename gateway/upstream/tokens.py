"""Workload identity: a token of the platform the gateway runs on, exchanged for one of Claude's (fact sheet 2.3).

Rule: one exchange at a time per key, ahead of time and in the background. A request waits for one only when there is no
token at all. The identity token's file is read for each exchange: its platform replaces it every few minutes.
"""

import asyncio
import contextlib
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import msgspec

from gateway.core.faults import read_error
from gateway.core.http import Client, Outgoing, Timeouts, UpstreamFailed, address
from gateway.core.teams import Federation, Policy, UpstreamKey, Workspace
from gateway.upstream.answers import read_up_to

PATH = "/v1/oauth/token"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
BETAS = b"oauth-2025-04-20,oidc-federation-2026-04-01"
LARGEST_IDENTITY = 16 * 1024
AHEAD = 120.0  # seconds before its end a token is replaced; half of its life when that is shorter
MOST_PAUSE = 30.0
EXCHANGE_SECONDS = 30.0


class Told(Protocol):
    def overload(self, event: str, **facts: Any) -> None: ...

    def count(self, name: str, *labels: str) -> None: ...


class IdentityRefused(Exception):
    """Claude, or this machine, has no credential for us; the text holds no token."""


@dataclass(frozen=True, slots=True)
class Token:
    secret: str = field(repr=False)
    lifetime: float
    expires: float


class _Granted(msgspec.Struct):
    access_token: str
    expires_in: float


class Tokens:
    def __init__(self, client: Client, timeouts: Timeouts, told: Told) -> None:
        self._client = client
        self._timeouts = replace(timeouts, first_byte=min(timeouts.first_byte, EXCHANGE_SECONDS))
        self._told = told
        self._held: dict[UpstreamKey, Token] = {}
        self._flights: dict[UpstreamKey, asyncio.Task[None]] = {}
        self._keepers: dict[UpstreamKey, asyncio.Task[None]] = {}

    async def current(self, key: UpstreamKey, workspace: Workspace) -> UpstreamKey:
        """The key with a token that is good now. Raises IdentityRefused, or UpstreamFailed when nobody answers."""
        token = self._held.get(key)
        if token is None or time.monotonic() >= token.expires:
            await self._exchanged(key, workspace)
            token = self._held[key]
        return replace(key, secret=token.secret)

    async def renew(self, key: UpstreamKey, workspace: Workspace, refused: str) -> None:
        """Claude refused a token before its end: one new exchange for all who were refused with it."""
        token = self._held.get(key)
        if token is None or token.secret == refused:
            with contextlib.suppress(IdentityRefused, UpstreamFailed):  # the next attempt says it
                await self._exchanged(key, workspace)

    def adopt(self, policy: Policy) -> None:
        """Keep a token ready for each federated key in force, and no other."""
        wanted = {
            key: workspace for workspace in policy.workspaces.values() for key in workspace.keys if key.federation
        }
        for key in self._keepers.keys() - wanted.keys():
            self._keepers.pop(key).cancel()
            self._held.pop(key, None)
        for key, workspace in wanted.items():
            if key not in self._keepers:
                self._keepers[key] = asyncio.create_task(self._keep(key, workspace))

    async def close(self) -> None:
        tasks = [*self._keepers.values(), *self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, key: UpstreamKey, workspace: Workspace) -> None:
        pause = 1.0
        while True:
            try:
                await self._exchanged(key, workspace)
            except (IdentityRefused, UpstreamFailed):
                await asyncio.sleep(pause)
                pause = min(MOST_PAUSE, pause * 2)
                continue
            pause = 1.0
            while (wait := self._due_in(key)) > 0:  # noqa: ASYNC110 - a renewal meanwhile moves the moment on
                await asyncio.sleep(wait)

    def _due_in(self, key: UpstreamKey) -> float:
        token = self._held[key]
        return token.expires - min(AHEAD, token.lifetime / 2) - time.monotonic()

    async def _exchanged(self, key: UpstreamKey, workspace: Workspace) -> None:
        """One exchange, shared by all who ask while it is under way. One who leaves does not stop it."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = asyncio.create_task(self._exchange(key, workspace))
            flight.add_done_callback(lambda done: self._landed(key, workspace, done))
        await asyncio.shield(flight)

    def _landed(self, key: UpstreamKey, workspace: Workspace, flight: "asyncio.Task[None]") -> None:
        del self._flights[key]
        if flight.cancelled():
            return
        fault = flight.exception()
        self._told.count("exchanges", workspace.name, key.name, "failed" if fault else "ok")
        if fault is not None:
            self._told.overload("token_exchange_failed", workspace=workspace.name, key=key.name, fault=str(fault))

    async def _exchange(self, key: UpstreamKey, workspace: Workspace) -> None:
        assert key.federation is not None
        body = msgspec.json.encode(await asyncio.to_thread(_ask, key.federation))
        origin, prefix = address(workspace.base_url)
        headers = [(b"content-type", b"application/json"), (b"anthropic-beta", BETAS)]
        out = Outgoing("POST", origin, (prefix + PATH).encode(), headers, body, len(body))
        began = time.monotonic()
        try:
            answer = await self._client.open(out, self._timeouts)
            try:
                said, _ = await read_up_to(answer, 64 * 1024)
            finally:
                answer.close()
        except UpstreamFailed as error:
            # Whatever its stage: for the request that needs the token nothing has left yet.
            raise UpstreamFailed("connect", error.fault, f"token exchange: {error.detail}") from None
        if answer.status >= 500 or answer.status == 429:
            raise UpstreamFailed("connect", "refused", f"token exchange: status {answer.status}")
        if answer.status != 200:
            raise IdentityRefused(f"the token endpoint answered {answer.status} {read_error(said)[0]}".strip())
        try:
            granted = msgspec.json.decode(said, type=_Granted)
        except msgspec.MsgspecError:
            raise IdentityRefused("the token endpoint's answer holds no token") from None
        if not granted.access_token.isascii() or not granted.access_token.isprintable() or granted.expires_in <= 0:
            raise IdentityRefused("the token endpoint's answer holds no usable token")
        self._held[key] = Token(granted.access_token, granted.expires_in, began + granted.expires_in)


def _ask(federation: Federation) -> dict[str, str]:
    """The body of an exchange, with the identity token as its file has it now."""
    path = federation.identity_token_file
    try:
        identity = Path(path).read_text("ascii").strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise IdentityRefused(f"the identity token file {path} can't be read: {reason}") from None
    if not identity or len(identity) > LARGEST_IDENTITY:
        raise IdentityRefused(f"the identity token file {path} is empty or longer than {LARGEST_IDENTITY} characters")
    asked = {
        "grant_type": GRANT,
        "assertion": identity,
        "federation_rule_id": federation.federation_rule_id,
        "organization_id": federation.organization_id,
        "service_account_id": federation.service_account_id,
        "workspace_id": federation.workspace_id,
    }
    return {name: value for name, value in asked.items() if value is not None}
