"""What is wrong with a policy file, and what is merely odd: values with a place, never with a secret.

A message that quotes what somebody wrote does so through `wording.shown`. A resolved secret reaches no message at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


class Bad(Exception):
    """One value that can't stand; its reader raises it, the mapping around it knows where it is."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence about one place of a file."""

    file: str
    line: int  # 0: the file as a whole
    path: str  # "teams.search.limits[0]"; empty at the top
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


class Fault(Finding):
    """The policy can't be used."""


class Notice(Finding):
    """The policy can be used, and somebody should know."""


class PolicyFaults(Exception):
    """All faults of one attempt to load, and the files it read, with digests: until one changes, it fails again."""

    def __init__(self, faults: list[Fault], sources: Mapping[Path, bytes]) -> None:
        self.faults = sorted(faults, key=lambda fault: fault.line)
        self.sources = sources
        super().__init__("\n".join(map(str, self.faults)))
