"""The concurrency window of one lane: how many calls may be under way while Claude refuses many of them.

There is none until more than 30 % of the last 50 attempts were answered 529. Then it is half of what was under way, and
half of that again each second that it goes on, down to an eighth. Otherwise each answer makes room for one more, until
what was under way at the beginning fits again and the window is taken away.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

LAST: Final = 50
REFUSED: Final = 15  # of the last 50: more than this many halve the window
EVERY: Final = 1.0
LEAST: Final = 2


@dataclass(slots=True)
class Window:
    recent: deque[bool] = field(default_factory=lambda: deque(maxlen=LAST))  # was it a 529
    refused: int = 0
    under_way: int = 0
    limit: int | None = None
    full: int = 0  # under way when the window was set: it goes when that fits again
    halved: float = float("-inf")

    def has_room(self) -> bool:
        return self.limit is None or self.under_way < self.limit

    def record(self, now: float, *, refused: bool) -> None:
        """Note one answer. A call that never reached Claude says nothing about its load and is not noted."""
        if len(self.recent) == LAST:
            self.refused -= self.recent[0]
        self.recent.append(refused)
        self.refused += refused
        if self.refused > REFUSED:
            if refused and now - self.halved >= EVERY:
                self._halve(now)
        elif self.limit is not None and not refused:
            self.limit += 1
            if self.limit >= self.full:
                self.limit = None

    def _halve(self, now: float) -> None:
        self.halved = now
        if self.limit is None:
            self.full = self.under_way
            if self.full <= LEAST:
                return
            self.limit = max(LEAST, self.full // 2)
        else:
            self.limit = max(LEAST, self.full // 8, self.limit // 2)

    def forget(self) -> None:
        """Claude is back after an outage: what it refused then says nothing about now."""
        self.recent.clear()
        self.refused = 0
        self.limit = None
