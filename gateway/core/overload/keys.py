"""The key pool of a workspace: which real key a team's request goes out with.

A team sticks to one key (rendezvous hash), so that its prompt caches and pinned objects stay together, and another
key's coming or going moves only its own share. Only Claude's refusal of a key benches it; limits belong to the
workspace and say nothing about a key.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Literal

from gateway.core.teams import UpstreamKey

KeyState = Literal["active", "draining", "benched"]

# A 401 may have been Claude's own mistake. When no other key is left, a benched one is tried again this often.
SECOND_CHANCE: Final = 30.0
BY_HAND: Final = "by hand"


@dataclass(slots=True)
class Standing:
    """How one key is. `used` is when it went out last, `under_way` the calls that are out with it."""

    state: KeyState = "active"
    reason: str = ""  # why it is benched
    since: float = 0.0
    used: float | None = None
    under_way: int = 0
    next_chance: float = 0.0

    def become(self, state: KeyState, reason: str, now: float, next_chance: float) -> None:
        self.state, self.reason, self.since, self.next_chance = state, reason, now, next_chance


class KeyPool:
    """The standings of one workspace's keys. A changed secret under an old name is a new key."""

    def __init__(self) -> None:
        self._standings: dict[UpstreamKey, Standing] = {}
        self._dropped: set[UpstreamKey] = set()

    def of(self, key: UpstreamKey) -> Standing:
        standing = self._standings.get(key)
        if standing is None:
            standing = self._standings[key] = Standing()
        return standing

    def choose(self, keys: Iterable[UpstreamKey], team: str, now: float, *, but: Iterable[str]) -> UpstreamKey | None:
        """The team's key: an active one, else a draining one, else a benched one that is due another chance."""
        left = [key for key in keys if key.name not in but]
        for state in ("active", "draining"):
            open_to = [key for key in left if self.of(key).state == state]
            if open_to:
                return rendezvous(open_to, team)
        due = [key for key in left if now >= self.of(key).next_chance]
        if not due:
            return None
        return rendezvous(due, team)

    def sent(self, key: UpstreamKey, now: float) -> None:
        """A call goes out with it; of a benched key that was the one for the next while. `done` must follow."""
        standing = self.of(key)
        standing.used = now
        standing.under_way += 1
        if standing.state == "benched":
            standing.next_chance = max(standing.next_chance, now + SECOND_CHANCE)

    def done(self, key: UpstreamKey, now: float) -> bool:
        """A call that went out with it is over, its answer relayed. True: it was the last one of a dropped key."""
        standing = self.of(key)
        standing.under_way -= 1
        standing.used = now
        if standing.under_way or key not in self._dropped:
            return False
        self._forget(key)
        return True

    def bench(self, key: UpstreamKey, reason: str, now: float) -> bool:
        """Claude refused the key. True when that is news."""
        standing = self.of(key)
        news = standing.state != "benched"
        if standing.reason != BY_HAND:
            standing.become("benched", reason, now, now + SECOND_CHANCE)
        return news

    def worked(self, key: UpstreamKey, now: float) -> bool:
        """Claude accepted the key. True when it had been benched by a refusal and is active again."""
        standing = self.of(key)
        if standing.state != "benched" or standing.reason == BY_HAND:
            return False
        standing.become("active", "", now, 0.0)
        return True

    def set(self, key: UpstreamKey, state: KeyState, now: float) -> None:
        """An operator's word. A key benched by hand gets no second chance."""
        benched = state == "benched"
        self.of(key).become(state, BY_HAND if benched else "", now, float("inf") if benched else 0.0)

    def keep(self, keys: Iterable[UpstreamKey]) -> list[UpstreamKey]:
        """Drop the keys that the policy no longer has. Those with calls still out stay until the last one is over; the
        others are returned: they are silent from now on."""
        kept = set(keys)
        self._dropped = self._standings.keys() - kept
        silent = [key for key in self._dropped if not self._standings[key].under_way]
        for key in silent:
            self._forget(key)
        return silent

    def _forget(self, key: UpstreamKey) -> None:
        self._dropped.discard(key)
        del self._standings[key]


def rendezvous(keys: Sequence[UpstreamKey], team: str) -> UpstreamKey:
    """The key with the highest weight for this team, by names alone: a rotated secret keeps its teams."""
    if len(keys) == 1:
        return keys[0]
    return max(keys, key=lambda key: blake2b(f"{team}\0{key.name}".encode(), digest_size=8).digest())
