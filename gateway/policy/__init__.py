"""The policy file: read strictly, all faults at once, watched for changes, never half applied.

`load` makes a `Policy` of it, `default_policy` makes one without a file, `Watch` follows the files, `check` reports.
"""

from gateway.policy.build import assemble, default_policy
from gateway.policy.check import Report, check
from gateway.policy.faults import Fault, Notice, PolicyFaults
from gateway.policy.load import Loaded, load, load_table
from gateway.policy.watch import Outcome, Watch

__all__ = [
    "Fault",
    "Loaded",
    "Notice",
    "Outcome",
    "PolicyFaults",
    "Report",
    "Watch",
    "assemble",
    "check",
    "default_policy",
    "load",
    "load_table",
]
