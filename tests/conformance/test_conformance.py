"""Real clients see the same API through the gateway as without it, and what they do costs the same at Claude."""

import json
import time
from typing import Any

import pytest

from tests.conformance.conftest import Place
from tests.conformance.outcome import comparable, differences
from tests.conformance.processes import control, team_key
from tests.conformance.runtime import Runtime
from tests.conformance.table import CASES, CLIENTS, EXCEPTIONS, ROWS, Case, Row

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


@pytest.mark.parametrize("case", CASES, ids=str)
def test_same_through_the_gateway(case: Case, client: Runtime, place: Place) -> None:
    """A client's calls have the same outcome through the gateway as straight at the API, and the same bill."""
    row = ROWS[case.probe]
    direct, through = case.workspace("direct"), case.workspace("through")

    def outcome(base_url: str, key: str) -> Any:
        control(place.simulator, "faults", row.faults)
        return comparable(client.ask(case.probe, base_url, key, **case.arguments), base_url)

    expected = outcome(place.simulator, f"ws-{direct}-key")
    seen = outcome(place.gateway, team_key(through))

    assert [] == list(differences(expected, seen))

    # An answer is booked after its last byte, or when its connection is gone.
    deadline = time.monotonic() + BOOKED_WITHIN
    while (owed := bill(place.simulator, through, row)) != (due := bill(place.simulator, direct, row)):
        assert time.monotonic() < deadline, list(differences(due, owed))
        time.sleep(0.05)
    if row.leaves:
        assert ["client_gone"] == [entry["ended"] for entry in owed]
    if (case.client, case.probe) == ("python", "errors"):
        assert EXCEPTIONS[case.fault] == seen["class"]


@pytest.mark.parametrize("name", CLIENTS)
def test_the_table_asks_for_every_probe(name: str, client: Runtime) -> None:
    """What a client can be asked and what the table asks of it are the same; a probe of one SDK may be another's."""
    asked = {case.probe for case in CASES if case.client == name or {case.client, name} == {"python", "python-0x"}}

    assert asked == set(client.probes)
