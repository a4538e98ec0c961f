"""The names of everything in Redis. One hash tag for all, so that one script sees key, team, workspace and budgets."""

from gateway.core.plan import Plan


class Keys:
    """The keys of one installation."""

    def __init__(self, namespace: str) -> None:
        self._tag = f"{{{namespace}}}:"
        self._owners: dict[str, bytes] = {}
        self.store = self._key("store")  # epoch, layout, lost, beat, looked
        self.leases = self._key("leases")  # writer -> when its lease lapses
        self.unleased = self._key("holds:unleased")
        # Work that goes on after its call: items by id, when each is due, who has leased it, what came up meanwhile.
        self.work = [self._key(f"work:{name}") for name in ("items", "due", "leases", "nudged")]
        self.suspects = self._key("suspects")  # writer -> when its lapsed lease was seen first

    def _key(self, name: str) -> bytes:
        return (self._tag + name).encode()

    def owner(self, owner: str) -> bytes:
        """Levels, spend and holds of one team, key, workspace or organization."""
        key = self._owners.get(owner)
        if key is None:
            # Owners come from policy, so this grows with the policies seen and no further.
            key = self._owners[owner] = self._key(f"of:{owner}")
        return key

    def owners(self, plan: Plan) -> list[bytes]:
        return [self.owner(part.owner) for part in plan.parts]

    def holds(self, writer: str, plan: Plan | None = None) -> bytes:
        """The open holds of a process; those without a lease stand together, because any process may settle them."""
        return self.unleased if plan is not None and not plan.leased else self._key(f"holds:{writer}")

    def swept(self, writer: str) -> bytes:
        return self._key(f"swept:{writer}")

    def mark(self, hold: str) -> bytes:
        """Says that a hold was settled: before its reserve arrived, or for one that may be settled once only."""
        return self._key(f"mark:{hold}")

    def writer(self, writer: str) -> bytes:
        """The highest number applied."""
        return self._key(f"writer:{writer}")

    def learned(self, day: int) -> bytes:
        """The sums that learning shares, of one day since 1970."""
        return self._key(f"learned:{day}")

    def learner(self, writer: str) -> bytes:
        """The number of the last slice that a process added to them."""
        return self._key(f"learner:{writer}")

    def rows(self, period: str) -> bytes:
        return self._key(f"rows:{period}")
