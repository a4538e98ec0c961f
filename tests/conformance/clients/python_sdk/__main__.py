"""What the Python SDK does with an API, by probe; the same files run under the newest release and the last 0.x."""

import anthropic

# Imported for the probes they offer.
from tests.conformance.clients.python_sdk import batches, messages, objects, refusals, streams  # noqa: F401
from tests.conformance.clients.python_sdk.seen import PROBES
from tests.conformance.clients.serve import serve

serve(anthropic.__version__, PROBES)
