"""`gateway rotate`: the walk from two keys to one that may be revoked, and every step at which it stops."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest

from gateway.policy import Loaded
from gateway.rotate import Rotation, Stopped
from tests.proxy.conftest import Start
from tests.proxy.test_admin import TOKEN, ask, command
from tests.proxy.test_keys import KEYS, refusing, used
from tests.proxy.test_retry import post
from tests.until import until
from tests.wire.scripted import Scripted

K1, K2, K3 = KEYS


async def test_the_whole_walk(start: Start) -> None:
    """Against a running gateway: probe, activate, drain, silence; the new key serves, the old one may go."""
    async with Scripted([refusing()]) as upstream:
        gateway = await start(upstream.url, settings={"admin_token": TOKEN}, workspace={"keys": (K1, K2)})
        await post(gateway)
        said = await command(gateway, "rotate", "main", "--new", "k2", "--silent", "0.1")
        await post(gateway)
        states = (await ask(gateway, "GET", "workspaces")).json["workspaces"]["main"]["keys"]

    assert 0 == said.exit_code, said.output
    assert [line[:2] for line in said.output.splitlines() if line[0].isdigit()] == ["1.", "2.", "3.", "4.", "5."]
    assert "k1 has been silent for 0.1 s. Revoke it" in said.output
    assert ("draining", "active") == (states["k1"]["state"], states["k2"]["state"])
    assert "k2" == used(upstream)[-1]
    assert b"/v1/models?limit=1 " in upstream.requests[1].line
    assert "sk-ant" not in said.output + str(states)


async def test_a_key_that_does_not_work_stops_it(start: Start) -> None:
    """A new key that Claude refuses changes nothing: the old one goes on, and the reason is said."""
    async with Scripted([refusing("k2")]) as upstream:
        gateway = await start(upstream.url, settings={"admin_token": TOKEN}, workspace={"keys": (K1, K2)})
        said = await command(gateway, "rotate", "main")
        states = (await ask(gateway, "GET", "workspaces")).json["workspaces"]["main"]["keys"]

    assert 1 == said.exit_code
    assert "k2 does not work on http://127.0.0.1:" in said.output
    assert "authentication_error: invalid x-api-key. Nothing was changed" in said.output
    assert {"active"} == {key["state"] for key in states.values()}


async def test_it_waits_for_the_key_to_be_added(start: Start) -> None:
    """With one key it says what to add, and goes on by itself when the reloaded policy has it."""
    async with Scripted([refusing()]) as upstream:
        gateway = await start(upstream.url, settings={"admin_token": TOKEN}, workspace={"keys": (K1,)})
        walking = asyncio.create_task(command(gateway, "rotate", "main", "--silent", "0"))
        await until(lambda: any(line["event"] == "admin" for line in gateway.lines))
        policy = gateway.app.policy
        main = replace(policy.workspaces["main"], keys=(K1, K3))
        gateway.app.adopt(Loaded(replace(policy, workspaces={"main": main}), (), {}))
        said = await walking

    assert 0 == said.exit_code, said.output
    assert "has the key k1. Make a key in the Claude Console and add it" in said.output
    assert "1. k3 comes, k1 goes." in said.output


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("rotate", "elsewhere"), "has no workspace 'elsewhere' in its policy."),
        (("rotate", "main"), "Which key goes? Workspace 'main' has the keys k1, k2, k3. Say it with --old."),
        (("rotate", "main", "--old", "k9"), "Workspace 'main' has no other key 'k9', only the keys k1, k2, k3."),
        (("rotate", "main", "--new", "k2", "--old", "k2"), "Workspace 'main' has no other key 'k2'"),
    ],
)
async def test_what_it_can_not_do(start: Start, arguments: tuple[str, ...], reason: str) -> None:
    """A name that is wrong or missing is said, and nothing is asked of Claude."""
    async with Scripted([refusing()]) as upstream:
        gateway = await start(upstream.url, settings={"admin_token": TOKEN}, workspace={"keys": KEYS})
        said = await command(gateway, *arguments)

    assert (1, 0) == (said.exit_code, len(upstream.requests))
    assert reason in said.output


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        (
            "workspaces/keys",
            b'{"workspace": "main", "key": "k9", "state": "active"}',
            404,
            "workspace 'main' has no key",
        ),
        ("workspaces/keys", b'{"workspace": "x", "key": "k1", "state": "active"}', 404, "There is no workspace 'x'"),
        ("workspaces/keys", b'{"workspace": "main", "key": "k1", "state": "gone"}', 400, "The body can't be used"),
        ("workspaces/keys", b'{"workspace": "main", "key": "k1", "secret": "x"}', 400, "The body can't be used"),
        ("workspaces/probe", b'{"workspace": "main", "key": "k9"}', 404, "workspace 'main' has no key"),
        ("workspaces/probe", b"", 400, "The body can't be used"),
    ],
)
async def test_admin_calls_that_are_refused(start: Start, path: str, body: bytes, status: int, message: str) -> None:
    """The admin API knows keys by name only: it takes no secret and gives none."""
    gateway = await start("http://127.0.0.1:9", settings={"admin_token": TOKEN}, workspace={"keys": KEYS})
    got = await ask(gateway, "POST", path, body)

    assert status == got.status
    assert got.json["error"]["message"].startswith(message)


async def test_a_probe_says_what_is_wrong(start: Start) -> None:
    """Claude out of reach is told apart from a key that it refuses."""
    gateway = await start("http://127.0.0.1:9", settings={"admin_token": TOKEN})
    said = (await ask(gateway, "POST", "workspaces/probe", b'{"workspace": "main", "key": "k1"}')).json

    assert (False, 0, "Claude could not be reached. Retry in a moment.") == (said["ok"], said["status"], said["says"])


@dataclass
class Fake:
    """A gateway as the walk sees it; `script` changes it at each look."""

    name: str
    standings: dict[str, dict[str, Any]]
    works: bool = True
    states: list[tuple[str, str]] = field(default_factory=list)

    def keys(self, workspace: str) -> Mapping[str, Mapping[str, Any]] | None:
        return self.standings

    def probe(self, workspace: str, key: str) -> Mapping[str, Any]:
        return {"ok": self.works, "status": 200 if self.works else 401, "says": ""}

    def set(self, workspace: str, key: str, state: str) -> None:
        self.states.append((key, state))


def standing(used: float | None = None, under_way: int = 0) -> dict[str, Any]:
    return {"used": used, "under_way": under_way}


def walk(gateways: list[Fake], script: Callable[[float], None], start: float = 1000.0) -> tuple[list[str], float]:
    said: list[str] = []
    clock = [start]

    def pause(seconds: float) -> None:
        clock[0] += seconds
        script(clock[0])

    Rotation("main", gateways, said.append, pause, lambda: clock[0]).run()
    return said, clock[0] - start


def test_silence_is_waited_for_everywhere() -> None:
    """A stream that still runs on one replica, or a use within the last minute on another, keeps the key alive."""
    one = Fake("one", {"k1": standing(950.0, under_way=2), "k2": standing()})
    two = Fake("two", {"k1": standing(1000.0), "k2": standing()})

    def script(now: float) -> None:
        if now == 1030.0:
            one.standings["k1"] = standing(1030.0)

    said, seconds = walk([one, two], script)

    assert 90.0 == seconds
    assert [("k2", "active"), ("k1", "draining")] == one.states == two.states
    assert "2 under way on one; used within 60 s on two" in "\n".join(said)
    assert said[-1].startswith("5. k1 has been silent for 60 s.")


def test_a_key_that_one_replica_refuses() -> None:
    """One gateway that can't use the new key stops the walk for all: none drains the old one."""
    one, two = (
        Fake("one", {"k1": standing(), "k2": standing()}),
        Fake("two", {"k1": standing(), "k2": standing()}, False),
    )
    with pytest.raises(Stopped, match="k2 does not work on two: status 401"):
        walk([one, two], lambda now: None)

    assert [] == one.states + two.states


def test_a_reload_that_one_replica_lacks() -> None:
    """The key counts as added when every gateway has it."""
    one = Fake("one", {"k1": standing(), "k2": standing()})
    two = Fake("two", {"k1": standing()})

    def script(now: float) -> None:
        if now == 1005.0:
            two.standings["k2"] = standing()

    said, seconds = walk([one, two], script)

    assert 5.0 == seconds
    assert said[0].startswith("1. Workspace 'main' has the key k1.")


async def test_states_are_plain_values(start: Start) -> None:
    """What an operator sees: keys, lanes, rests and the organization of every workspace, without one secret."""
    async with Scripted([refusing()]) as upstream:
        gateway = await start(upstream.url, settings={"admin_token": TOKEN})
        await post(gateway)
        said = (await ask(gateway, "GET", "workspaces")).json["workspaces"]["main"]

    assert {"keys", "lanes", "rests", "organization"} == set(said)
    assert {"state", "reason", "since", "used", "under_way", "kind"} == set(said["keys"]["k1"])
    assert {"opus-5": {"breaker": "closed", "window": None, "under_way": 0, "headroom": {}}} == said["lanes"]
    assert "sk-ant" not in msgspec.json.encode(said).decode()
