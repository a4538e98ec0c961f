"""Walks an operator through the rotation of a workspace's real key, over all the gateways that use it.

The steps: both keys are in the policy, the new one answers a free call, it is active, the old one is draining, and it
has been silent for so long that it may be revoked. Any step that fails stops the walk before something is taken away.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from gateway.admin_client import ask

POLL_SECONDS = 1.0


class Gateway(Protocol):
    """One running gateway. Its calls raise NotAnswered."""

    @property
    def name(self) -> str: ...

    def keys(self, workspace: str) -> Mapping[str, Mapping[str, Any]] | None:
        """The standing of each key of a workspace, in the policy's order; None when it has no such workspace."""
        ...

    def probe(self, workspace: str, key: str) -> Mapping[str, Any]: ...

    def set(self, workspace: str, key: str, state: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Remote:
    """A gateway behind its ops listener."""

    name: str  # the listener's URL
    token: str | None

    def keys(self, workspace: str) -> Mapping[str, Mapping[str, Any]] | None:
        found = msgspec.json.decode(ask(self.name, self.token, "workspaces"))["workspaces"].get(workspace)
        return None if found is None else found["keys"]

    def probe(self, workspace: str, key: str) -> Mapping[str, Any]:
        body = {"workspace": workspace, "key": key}
        answer: dict[str, Any] = msgspec.json.decode(ask(self.name, self.token, "workspaces/probe", body=body))
        return answer

    def set(self, workspace: str, key: str, state: str) -> None:
        ask(self.name, self.token, "workspaces/keys", body={"workspace": workspace, "key": key, "state": state})


class Stopped(Exception):
    """The walk can't go on; the text says why and what to do."""


@dataclass(slots=True)
class Rotation:
    """One walk. `say` gets its lines, `pause` waits between two looks."""

    workspace: str
    gateways: Sequence[Gateway]
    say: Callable[[str], None]
    pause: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.time
    silent_seconds: float = 60.0

    def run(self, new: str | None = None, old: str | None = None) -> None:
        """From two keys to one that may be revoked. Raises Stopped."""
        new, old = self._pair(new, old)
        self._probe(new)
        for gateway in self.gateways:
            gateway.set(self.workspace, new, "active")
        self.say(f"3. {new} is active: new requests use it.")
        for gateway in self.gateways:
            gateway.set(self.workspace, old, "draining")
        self.say(f"4. {old} is draining: it gets no new requests, those under way finish on it.")
        self._wait_for_silence(old)
        self.say(
            f"5. {old} has been silent for {self.silent_seconds:g} s. Revoke it in the Claude Console, then take it "
            "out of the policy."
        )

    def _pair(self, new: str | None, old: str | None) -> tuple[str, str]:
        """The key that comes and the key that goes, waiting for the operator to add the one that comes."""
        told = False
        while True:
            names = self._names()
            if new is None and len(names) >= 2:
                new = names[-1]
            if new in names:
                break
            if not told:
                example = "      - {name: " + (new or "k2") + ', secret: "${file:/run/secrets/claude-new}"}'
                self.say(
                    f"1. Workspace '{self.workspace}' has {_listed(names)}. Make a key in the Claude Console and add "
                    f"it to the policy below; the gateway takes it up within a second:\n\n{example}\n\n   Waiting …"
                )
                told = True
            self.pause(POLL_SECONDS)
        others = [name for name in names if name != new]
        if old is None:
            if len(others) != 1:
                raise Stopped(f"Which key goes? Workspace '{self.workspace}' has {_listed(names)}. Say it with --old.")
            old = others[0]
        if old not in others:
            raise Stopped(f"Workspace '{self.workspace}' has no other key '{old}', only {_listed(names)}.")
        self.say(f"1. {new} comes, {old} goes.")
        return str(new), old

    def _names(self) -> list[str]:
        """The keys that every gateway has, in the policy's order."""
        found = []
        for gateway in self.gateways:
            keys = gateway.keys(self.workspace)
            if keys is None:
                raise Stopped(f"{gateway.name} has no workspace '{self.workspace}' in its policy.")
            found.append(list(keys))
        return [name for name in found[0] if all(name in names for names in found)]

    def _probe(self, new: str) -> None:
        for gateway in self.gateways:
            said = gateway.probe(self.workspace, new)
            if not said["ok"]:
                reason = said["says"] or f"status {said['status']}"
                raise Stopped(
                    f"{new} does not work on {gateway.name}: {reason}. Nothing was changed; correct the secret and "
                    "start again."
                )
        self.say(f"2. {new} works: Claude lists its models with it.")

    def _wait_for_silence(self, old: str) -> None:
        last = ""
        while True:
            busy = [line for gateway in self.gateways if (line := self._busy(gateway, old))]
            if not busy:
                return
            line = "   Waiting: " + "; ".join(busy)
            if line != last:
                self.say(line)
                last = line
            self.pause(POLL_SECONDS)

    def _busy(self, gateway: Gateway, old: str) -> str:
        """Why the old key is not silent yet on one gateway; empty when it is, or when its policy dropped it."""
        key = (gateway.keys(self.workspace) or {}).get(old)
        if key is None:
            return ""
        if key["under_way"]:
            return f"{key['under_way']} under way on {gateway.name}"
        quiet = self.silent_seconds if key["used"] is None else self.now() - key["used"]
        return "" if quiet >= self.silent_seconds else f"used within {self.silent_seconds:g} s on {gateway.name}"


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "no key"
    return ("the key " if len(names) == 1 else "the keys ") + ", ".join(names)
