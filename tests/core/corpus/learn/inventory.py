"""Keep track of what is on the shelves and what has to be ordered."""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Article:
    number: str
    title: str
    price_cents: int
    stock: int = 0
    minimum: int = 5
    movements: list[int] = field(default_factory=list)

    @property
    def is_low(self) -> bool:
        return self.stock < self.minimum

    def book(self, amount: int) -> None:
        if self.stock + amount < 0:
            raise ValueError(f"article {self.number} has only {self.stock} pieces")
        self.stock += amount
        self.movements.append(amount)


class Inventory:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._articles: dict[str, Article] = {}
        self._by_supplier: defaultdict[str, set[str]] = defaultdict(set)

    def load(self) -> int:
        with self._path.open(newline="", encoding="utf-8") as handle:
            for row in csv.DictReader(handle, delimiter=";"):
                article = Article(row["number"], row["title"], int(row["price"]), int(row["stock"] or 0))
                self._articles[article.number] = article
                self._by_supplier[row["supplier"]].add(article.number)
        return len(self._articles)

    def to_order(self) -> dict[str, list[Article]]:
        orders: dict[str, list[Article]] = {}
        for supplier, numbers in sorted(self._by_supplier.items()):
            low = [self._articles[n] for n in sorted(numbers) if self._articles[n].is_low]
            if low:
                orders[supplier] = low
        return orders
