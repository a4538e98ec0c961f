"""Real clients see the same API through the gateway as without it, and what they do costs the same at Claude."""

import json
import time
from typing import Any

import pytest

from tests.conformance.outcome import comparable, differences
from tests.conformance.processes import control, team_key
from tests.conformance.runtime import Runtime
from tests.conformance.table import CASES, CLIENTS, EXCEPTIONS, ROWS, Row, workspace_of

BOOKED_WITHIN = 10.0


def bill(simulator: str, workspace: str, row: Row) -> list[dict[str, Any]]:
    """What the workspace owes: one entry per generation, in no order, for calls may run side by side.

    Without amounts where they are a matter of chance: how much had been sent when a client left, or of random ids.
    """
    kept = [
        "route",
        "model",
        "status",
        "ended",
        "custom_id",
        *([] if row.leaves or row.random else ["usage", "nano_usd"]),
    ]
    found = [
        entry for entry in control(simulator, "bill")["rows"] if entry["workspace"] == workspace and entry["usage"]
    ]
    return sorted(({name: entry.get(name) for name in kept} for entry in found), key=json.dumps)


@pytest.mark.parametrize(("client", "probe"), CASES, indirect=["client"])
def test_same_through_the_gateway(
    client: Runtime, probe: str, request: pytest.FixtureRequest, simulator: str, gateway: str
) -> None:
    """A client's calls have the same outcome through the gateway as straight at the API, and the same bill."""
    name = request.node.callspec.params["client"]
    row = ROWS[probe]
    direct, through = workspace_of(name, probe, "direct"), workspace_of(name, probe, "through")

    def outcome(base_url: str, key: str) -> Any:
        control(simulator, "faults", row.faults)
        return comparable(client.ask(probe, base_url, key, **row.arguments), base_url)

    expected = outcome(simulator, f"ws-{direct}-key")
    seen = outcome(gateway, team_key(through))

    assert [] == list(differences(expected, seen))

    # An answer is booked after its last byte, or when its connection is gone.
    deadline = time.monotonic() + BOOKED_WITHIN
    while (owed := bill(simulator, through, row)) != (due := bill(simulator, direct, row)):
        assert time.monotonic() < deadline, list(differences(due, owed))
        time.sleep(0.05)
    if row.leaves:
        assert ["client_gone"] == [entry["ended"] for entry in owed]


@pytest.mark.parametrize("client", ["python"], indirect=True)
def test_refusals_have_their_own_exceptions(client: Runtime, gateway: str) -> None:
    """The newest SDK knows each refusal that passed the gateway by its own exception."""
    key = team_key(workspace_of("python", "errors", "through"))

    seen = client.ask("errors", gateway, key, faults=list(EXCEPTIONS))

    assert {name: outcome["class"] for name, outcome in seen.items()} == EXCEPTIONS


@pytest.mark.parametrize("client", CLIENTS, indirect=True)
def test_the_table_asks_for_every_probe(client: Runtime, request: pytest.FixtureRequest) -> None:
    """What a client can be asked and what the table asks of it are the same; a probe of one SDK may be another's."""
    name = request.node.callspec.params["client"]
    asked = {probe for client, probe in CASES if client == name or {client, name} == {"python", "python-0x"}}

    assert asked == set(client.probes)
