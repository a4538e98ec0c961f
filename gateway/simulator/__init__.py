"""A Claude API that runs on this machine: for the demo, the tests, load and fault rehearsals.

Written from the fact sheet of the API alone. It imports nothing else of `gateway` and has its own prices and its own
tokenizer, so that agreement with it proves something; where the two disagree with the fact sheet, they are wrong.

    gateway simulate --port 8090 --fault overloaded=0.2         python -m gateway.simulator --port 0

Any key is accepted; `ws-NAME-…` works in workspace NAME. What an answer is made of can be asked for (`asks`), what goes
wrong too (`faults`); `/_simulator/…` reads the bill and turns the knobs (`control`).
"""

from gateway.simulator.app import WORLD, create_app
from gateway.simulator.options import Options, parse_faults
from gateway.simulator.serving import Running, running, serve

__all__ = ["WORLD", "Options", "Running", "create_app", "parse_faults", "running", "serve"]
