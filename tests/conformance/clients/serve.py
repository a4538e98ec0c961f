"""The loop of a client process: one JSON line asks for a probe, one JSON line answers with what the client saw.

Imports the standard library only: it runs beside SDKs of other ages than the development environment's.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

Probe = Callable[..., Any]


def serve(version: str, probes: Mapping[str, Probe]) -> None:
    """Say who is here and what can be asked, then answer until the input ends."""
    # Whatever a library prints must not land between two answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(line: dict[str, Any]) -> None:
        print(json.dumps(line), file=answers, flush=True)

    answer({"version": version, "probes": sorted(probes)})
    for line in sys.stdin:
        ask = json.loads(line)
        try:
            outcome = probes[ask["probe"]](ask["base_url"], ask["key"], **ask["arguments"])
        except Exception:  # noqa: BLE001 - a probe that fails says so and leaves the process to the next one
            answer({"failed": traceback.format_exc()})
        else:
            answer({"outcome": outcome})
