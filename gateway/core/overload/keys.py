"""The key pool of a workspace: which real key a team's request goes out with.

A team sticks to one key (rendezvous hash), so that its prompt caches and pinned objects stay together, and another
key's coming or going moves only its own share. Only Claude's refusal of a key benches it; limits belong to the
workspace and say nothing about a key.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Literal

from gateway.core.teams import UpstreamKey

KeyState = Literal["active", "draining", "benched"]

# A 401 may have been Claude's own mistake. When no other key is left, a benched one is tried again this often.
SECOND_CHANCE: Final = 30.0


@dataclass(slots=True)
class Standing:
    """How one key is. `used` is when it went out last, `reason` why it is benched."""

    state: KeyState = "active"
    reason: str = ""
    since: float = 0.0
    used: float | None = None
    next_chance: float = 0.0


class KeyPool:
    """The standings of one workspace's keys. A changed secret under an old name is a new key."""

    def __init__(self) -> None:
        self._standings: dict[UpstreamKey, Standing] = {}

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
        """A request goes out with it; of a benched key that was the one for the next while."""
        standing = self.of(key)
        standing.used = now
        if standing.state == "benched":
            standing.next_chance = max(standing.next_chance, now + SECOND_CHANCE)

    def bench(self, key: UpstreamKey, reason: str, now: float) -> bool:
        """Claude refused the key. True when that is news."""
        standing = self.of(key)
        news = standing.state != "benched"
        self._standings[key] = Standing("benched", reason, now, standing.used, now + SECOND_CHANCE)
        return news

    def worked(self, key: UpstreamKey, now: float) -> bool:
        """Claude accepted the key. True when it had been benched by a refusal and is active again."""
        standing = self.of(key)
        standing.used = now
        if standing.state != "benched" or standing.reason == BY_HAND:
            return False
        self._standings[key] = Standing("active", "", now, now)
        return True

    def set(self, key: UpstreamKey, state: KeyState, now: float) -> None:
        """An operator's word. A key benched by hand gets no second chance."""
        chance = float("inf") if state == "benched" else 0.0
        reason = BY_HAND if state == "benched" else ""
        self._standings[key] = Standing(state, reason, now, self.of(key).used, chance)

    def keep(self, keys: Iterable[UpstreamKey]) -> None:
        """Forget the keys that the policy no longer has."""
        kept = set(keys)
        self._standings = {key: standing for key, standing in self._standings.items() if key in kept}


BY_HAND: Final = "by hand"


def rendezvous(keys: Iterable[UpstreamKey], team: str) -> UpstreamKey:
    """The key with the highest weight for this team, by names alone: a rotated secret keeps its teams."""
    return max(keys, key=lambda key: blake2b(f"{team}\0{key.name}".encode(), digest_size=8).digest())
