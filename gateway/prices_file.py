"""Reads config/prices.yaml into a PriceTable: all faults at once, each with its file and line.

Rule: an amount is read from the text of its scalar, never as YAML's float, and must be a whole number of nano-dollars
per token; what the file says is what is charged, or it is refused.
"""

import re
from datetime import timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Final

import yaml

from gateway.core.prices import Extras, Price, PriceTable, Rates, Tier
from gateway.yaml_nodes import EPOCH, Fault, NodeReader, hint

_COLUMNS: Final = ("input", "write_5m", "write_1h", "read", "output")
_ROW_OPTIONS: Final = (
    "since", "until", "tiers", "fast", "batch_percent", "us_percent", "regional_percent", "retired",
)  # fmt: skip
_NANO: Final = 10**9
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}")
_AMOUNT = re.compile(r"([0-9]{1,6})(?:\.([0-9]{1,12}))?")


class PriceFileError(ValueError):
    """The file has faults; nothing of it is used."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


def default_path() -> Path:
    """The table that comes with the gateway: packaged in the wheel, in config/ in a checkout."""
    package = Path(__file__).parent
    packaged = package / "data" / "prices.yaml"
    return packaged if packaged.exists() else package.parent / "config" / "prices.yaml"


@cache
def default_table() -> PriceTable:
    return load_prices(default_path())


def load_prices(path: Path | str) -> PriceTable:
    """The table of a file; raises PriceFileError with every fault, OSError when it cannot be read."""
    return read_prices(Path(path).read_bytes(), str(path))


def read_prices(text: bytes | str, file: str = "prices.yaml") -> PriceTable:
    """The table of a text."""
    reading = _Reading(file)
    table = reading.table(text)
    if reading.faults:
        raise PriceFileError(tuple(sorted(reading.faults, key=lambda fault: fault.line)))
    return table


class _Reading(NodeReader):
    """One pass over a price file."""

    def __init__(self, file: str) -> None:
        super().__init__(file)
        self._undated: set[yaml.Node] = set()  # rows whose days are faults: what follows from them is no second one

    def table(self, text: bytes | str) -> PriceTable:
        root = self.root(text)
        if root is None:
            return PriceTable({})
        parts = self.mapping(root, "the file", required=("prices", "extras"), optional=("aliases",))
        rows = self._rows(parts.get("prices"))
        return PriceTable(rows, self._aliases(parts.get("aliases"), rows), self._extras(parts.get("extras")))

    def _rows(self, node: yaml.Node | None) -> dict[str, tuple[Price, ...]]:
        found: dict[str, list[tuple[Price, yaml.Node]]] = {}
        for entry in self.items(node, "prices"):
            for price in self._row(entry):
                found.setdefault(price.model, []).append((price, entry))
        for model, rows in found.items():
            rows.sort(key=lambda row: (row[0].since is not None, row[0].since or 0))
            if self._undated.isdisjoint(entry for _, entry in rows):
                self._periods(model, rows)
        return {model: tuple(price for price, _ in rows) for model, rows in found.items()}

    def _periods(self, model: str, rows: list[tuple[Price, yaml.Node]]) -> None:
        for (earlier, _), (later, entry) in pairwise(rows):
            if earlier.until is None or later.since is None or earlier.until > later.since:
                self.fault(entry, f"{model} has two prices at one time; give the rows 'since' and 'until'")
            elif earlier.until < later.since:
                self.fault(entry, f"{model} has no price from {_day(earlier.until)} to {_day(later.since)}")

    def _row(self, node: yaml.Node) -> list[Price]:
        parts = self.mapping(node, "a price", required=("models", "rates"), optional=_ROW_OPTIONS)
        models: dict[str, None] = {}
        for entry in self.items(parts.get("models"), "models"):
            model = self._model(entry)
            if model in models:
                self.fault(entry, f"{model} stands twice in 'models'")
            elif model:
                models[model] = None
        since, until = (self.day(parts.get(name), name) for name in ("since", "until"))
        if (since is None and "since" in parts) or (until is None and "until" in parts):
            self._undated.add(node)
        if since is not None and until is not None and since >= until:
            self.fault(node, "'until' is not after 'since'")
        if "fast" in parts and "tiers" in parts:
            self.fault(node, "a row has 'tiers' or 'fast', not both: which one would a long fast prompt pay?")
        batch, us, regional = (
            self.whole(parts.get(name), name, least=1, most=1000, default=default)
            for name, default in (("batch_percent", 50), ("us_percent", 100), ("regional_percent", 100))
        )
        rates = self._rates(parts.get("rates"), "rates")
        tiers = self._tiers(parts.get("tiers"))
        fast = self._rates(parts["fast"], "fast") if "fast" in parts else None
        retired = self.flag(parts.get("retired"), "retired")
        return [Price(model, rates, tiers, fast, batch, us, regional, since, until, retired) for model in models]

    def _tiers(self, node: yaml.Node | None) -> tuple[Tier, ...]:
        tiers: list[Tier] = []
        for entry in self.items(node, "tiers"):
            parts = self.mapping(entry, "a tier", required=("above", *_COLUMNS))
            above = self.whole(parts.get("above"), "above", least=1, most=10**9)
            if tiers and above <= tiers[-1].above:
                self.fault(entry, f"'above' must rise from tier to tier; {above} does not exceed {tiers[-1].above}")
            tiers.append(Tier(above, self._columns(parts)))
        return tuple(tiers)

    def _rates(self, node: yaml.Node | None, what: str) -> Rates:
        return self._columns(self.mapping(node, what, required=_COLUMNS))

    def _columns(self, parts: dict[str, yaml.Node]) -> Rates:
        # Dollars per million tokens are thousands of nano-dollars per token.
        return Rates(*(self._amount(parts.get(name), name, 1000, least=1) for name in _COLUMNS))

    def _aliases(self, node: yaml.Node | None, rows: dict[str, tuple[Price, ...]]) -> dict[str, str]:
        aliases: dict[str, str] = {}
        for name, (key, value) in self.pairs(node, "aliases").items():
            target = self._model(value)
            if not _MODEL.fullmatch(name):
                self.fault(key, f"{name!r} is no model id")
            elif name in rows:
                self.fault(key, f"{name} has prices of its own, so it cannot be an alias")
            elif target and target not in rows:
                self.fault(value, f"{target} has no price{hint(target, rows)}")
            elif target:
                aliases[name] = target
        return aliases

    def _extras(self, node: yaml.Node | None) -> Extras:
        parts = self.mapping(node, "extras", required=("web_search_per_1000", "session_hour", "code_execution"))
        names = ("hour", "minimum_seconds", "free_hours_per_month", "charged")
        code = self.mapping(parts.get("code_execution"), "code_execution", required=names)
        # The free hours are told to the reader of the file: no answer says how many of them are used up.
        self.whole(code.get("free_hours_per_month"), "free_hours_per_month", most=10**6)
        return Extras(
            web_search=self._amount(parts.get("web_search_per_1000"), "web_search_per_1000", _NANO // 1000),
            session_hour=self._amount(parts.get("session_hour"), "session_hour", _NANO),
            code_execution_hour=self._amount(code.get("hour"), "hour", _NANO),
            code_execution_minimum_ms=1000 * self.whole(code.get("minimum_seconds"), "minimum_seconds", most=86_400),
            code_execution_charged=self.flag(code.get("charged"), "charged"),
        )

    def _model(self, node: yaml.Node) -> str | None:
        text = self.text(node, "a model id")
        if text is None or _MODEL.fullmatch(text):
            return text
        self.fault(node, f"{text[:60]!r} is no model id")
        return None

    def _amount(self, node: yaml.Node | None, what: str, factor: int, *, least: int = 0) -> int:
        """Dollars as nano-dollars of something, of which `factor` make a dollar's worth."""
        text = self.text(node, what)
        if node is None or text is None:
            return 0
        match = _AMOUNT.fullmatch(text)
        if match is None:
            self.fault(node, f"{what} must be dollars like 12.50, not {text[:60]!r}")
            return 0
        whole, fraction = match[1], match[2] or ""
        shift: int = 10 ** len(fraction)
        amount, finer = divmod(int(whole + fraction) * factor, shift)
        if finer:
            self.fault(node, f"{what} is finer than a nano-dollar: {text[:60]}")
        elif amount < least:
            self.fault(node, f"{what} must be above 0; a model that costs nothing would pass every budget")
        return amount


def _day(seconds: int) -> str:
    return (EPOCH + timedelta(seconds=seconds)).isoformat()
