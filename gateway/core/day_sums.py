"""Sums by day that several processes share by adding: what learning remembers, and how it forgets.

Sums, never averages, so that replicas merge by addition and the order does not matter. A day's sums count half after
HALF_LIFE_DAYS; whoever reads weighs the days, so nobody has to decay what others add to.
"""

from collections.abc import Iterator, Mapping

HALF_LIFE_DAYS = 2.0
KEPT_DAYS = 8  # older sums would count less than a tenth
SECONDS_PER_DAY = 86_400

Vector = list[float]
Layer = dict[str, Vector]


class DaySums:
    """Vectors by day and key: those of the store, those on their way there, and those not yet sent."""

    def __init__(self) -> None:
        self._stored: dict[int, Layer] = {}
        self._sent: dict[int, Layer] = {}
        self._pending: dict[int, Layer] = {}
        self.version = 0  # grows when others' sums have come

    def add(self, key: str, values: Mapping[int, float], size: int, now: float) -> None:
        """Add to some places of the vector of `size` places behind `key`."""
        vector = self._pending.setdefault(int(now // SECONDS_PER_DAY), {}).setdefault(key, [0.0] * size)
        for place, value in values.items():
            vector[place] += value

    def total(self, key: str, size: int, now: float) -> tuple[Vector, Vector]:
        """The sums behind `key`, all days alike, and with older days counting less."""
        today = int(now // SECONDS_PER_DAY)
        plain = [0.0] * size
        faded = [0.0] * size
        for day, layer in self._layers():
            vector = layer.get(key)
            if vector is None or day <= today - KEPT_DAYS:
                continue
            weight = 0.5 ** (max(0, today - day) / HALF_LIFE_DAYS)
            for place, value in enumerate(vector[:size]):
                plain[place] += value
                faded[place] += value * weight
        return plain, faded

    def take(self) -> dict[int, dict[str, float]]:
        """What the store does not have yet, by day and field, to be added there.

        The same until `confirm`, so that the store can tell a repetition; what is newer comes after it.
        """
        if not self._sent:
            self._sent, self._pending = self._pending, {}
        return {
            day: {
                f"{key}#{place}": value for key, vector in layer.items() for place, value in enumerate(vector) if value
            }
            for day, layer in self._sent.items()
        }

    def confirm(self) -> None:
        """The store has added what was taken last."""
        _merge(self._stored, self._sent)
        self._sent = {}

    def refresh(self, day: int, fields: Mapping[str, float]) -> None:
        """A day's sums as the store has them, those of all processes. Call after `confirm`, or what was taken goes."""
        layer: Layer = {}
        for name, value in fields.items():
            key, _, place = name.rpartition("#")
            vector = layer.setdefault(key, [])
            vector.extend([0.0] * (int(place) + 1 - len(vector)))
            vector[int(place)] = value
        self._stored[day] = layer
        self.version += 1
        for old in [kept for kept in self._stored if kept <= day - KEPT_DAYS]:
            del self._stored[old]

    def _layers(self) -> Iterator[tuple[int, Layer]]:
        for several in (self._stored, self._sent, self._pending):
            yield from several.items()


def _merge(into: dict[int, Layer], added: dict[int, Layer]) -> None:
    for day, layer in added.items():
        target = into.setdefault(day, {})
        for key, vector in layer.items():
            known = target.setdefault(key, [])
            known.extend([0.0] * (len(vector) - len(known)))
            for place, value in enumerate(vector):
                known[place] += value
