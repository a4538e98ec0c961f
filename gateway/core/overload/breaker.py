"""The circuit breaker of one lane: while Claude fails nearly every call, it is asked by a few probes only.

Closed: all pass; it opens when at least `FEWEST` attempts of the last `SPAN` seconds are known and `SHARE` of them
failed. Open: nobody passes until `until`; then one probe each `PROBE_EVERY` seconds (half-open). A probe that succeeds
closes it, one that fails opens it for longer. What began before it opened counts for nothing afterwards.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

FEWEST: Final = 10
MOST: Final = 20
SHARE: Final = 0.8  # a fifth of all calls refused at random comes to 16 of 20 once in 10^8
SPAN: Final = 30.0
FIRST_PAUSE: Final = 1.0
MOST_PAUSE: Final = 2.5  # with a probe's own time this keeps recovery within 5 s
PROBE_EVERY: Final = 0.5

State = Literal["closed", "open", "half_open"]


class Admission(NamedTuple):
    """`wait` 0: go. Else the seconds until it may be worth asking again."""

    wait: float
    probe: bool = False


@dataclass(slots=True)
class Breaker:
    recent: deque[tuple[float, bool]] = field(default_factory=lambda: deque(maxlen=MOST))  # when, failed
    opened: int = 0  # how often in a row
    until: float = 0.0
    next_probe: float = 0.0

    def state(self, now: float) -> State:
        if not self.opened:
            return "closed"
        return "half_open" if now >= self.until else "open"

    def admit(self, now: float) -> Admission:
        if not self.opened:
            return Admission(0.0)
        ready = max(self.until, self.next_probe)
        if now < ready:
            return Admission(ready - now)
        self.next_probe = now + PROBE_EVERY
        return Admission(0.0, probe=True)

    def record(self, now: float, *, failed: bool, probe: bool, roll: float) -> bool:
        """Note how an attempt ended. True when this changed the breaker's mind."""
        if self.opened:
            if not probe:
                return False
            if not failed:
                self.opened = 0
                self.recent.clear()
                return True
            if now >= self.until:  # several probes may fail; the first one says it
                self._open(now, roll)
            return False
        self.recent.append((now, failed))
        if not failed:
            return False
        known = [bad for at, bad in self.recent if now - at <= SPAN]
        if len(known) < FEWEST or sum(known) < SHARE * len(known):
            return False
        self._open(now, roll)
        return True

    def _open(self, now: float, roll: float) -> None:
        pause = min(MOST_PAUSE, FIRST_PAUSE * 2**self.opened)
        self.opened += 1
        self.until = now + pause * (0.75 + 0.25 * roll)  # replicas do not probe at one moment
        self.next_probe = 0.0
