"""The policy file: read strictly, all faults at once, watched for changes, never half applied.

`load` makes a `Policy` of it, `default_policy` makes one without a file, `Watch` follows the files, `check` reports.
"""

from gateway.policy.build import assemble, default_policy
from gateway.policy.faults import Fault, Notice, PolicyFaults
from gateway.policy.load import Loaded, load

__all__ = ["Fault", "Loaded", "Notice", "PolicyFaults", "assemble", "default_policy", "load"]
