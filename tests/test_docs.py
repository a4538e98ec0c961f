"""What is documented is what is there: every setting, route, error, metric and policy key stands in a table."""

import json
import re
from pathlib import Path
from typing import get_args

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from gateway.budgets import event_of
from gateway.core.errors import KINDS
from gateway.core.limits import Budget
from gateway.core.routes import ROUTES, Route
from gateway.core.teams import Policy, Team
from gateway.core.usage import Reason
from gateway.observe import Observer
from gateway.policy.schema import SECTIONS
from gateway.settings import Settings
from gateway.usage_report import COLUMNS

DOCS = Path(__file__).parents[1] / "docs"


def table(file: str, first: str) -> list[list[str]]:
    """The cells of the table whose first column is headed `first`."""
    lines = (DOCS / file).read_text().split("\n")
    start = next(at for at, line in enumerate(lines) if line.startswith(f"| {first} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return rows


def code(cell: str) -> str:
    assert cell.startswith("`"), cell
    assert cell.endswith("`"), cell
    return cell[1:-1]


def test_settings() -> None:
    """docs/settings.md has every setting with its default and its description."""
    fields = Settings.model_fields
    written = [(code(name), default, what) for name, default, what in table("settings.md", "setting")]

    assert written == [
        ("GATEWAY_" + name.upper(), shown(field.default), field.description) for name, field in fields.items()
    ]


def shown(default: object) -> str:
    if default is None:
        return "unset"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def test_routes() -> None:
    """docs/routes.md has every route with what it draws on, its body limit and what may be repeated."""
    written = [tuple(map(code, row[:3])) + tuple(row[3:6]) for row in table("routes.md", "name")]

    assert written == [
        (route.name, route.method, route.path, route.weigh.value, body_of(route), route.repeat.value)
        for route in ROUTES
    ]


def body_of(route: Route) -> str:
    body, limit = route.body.value, route.limit >> 20
    return "none" if body == "none" else f"{'streamed' if body == 'stream' else 'buffered'}, {limit} MiB"


def test_errors() -> None:
    """docs/errors.md has every kind of error with its status, its type and whether a repeat may help."""
    written = {
        code(kind): (int(status), code(type), retry) for kind, status, type, retry, _ in table("errors.md", "kind")
    }

    assert written == {kind: (row.status, row.type, "yes" if row.retry else "no") for kind, row in KINDS.items()}


def test_metrics() -> None:
    """docs/metrics.md has every metric family with its labels."""
    registry = CollectorRegistry()
    Observer(registry, structlog.get_logger())
    families = {
        family.name + ("_total" if family.type == "counter" else ""): collector._labelnames
        for collector in registry._collector_to_names
        if isinstance(collector, MetricWrapperBase)
        for family in collector.describe()
    }
    written = {
        code(name): tuple(labels.replace("`", "").split(", ")) if labels else ()
        for name, _, labels, _ in table("metrics.md", "metric")
    }

    assert written == families


def test_usage_columns() -> None:
    """docs/money.md has every column of the usage reports."""
    assert {code(name) for name, _ in table("money.md", "column")} == set(COLUMNS)


def test_webhook_body() -> None:
    """docs/money.md shows the body of a budget event as it is sent."""
    written = json.loads(re.findall(r"```json\n(.*?)```", (DOCS / "money.md").read_text(), re.DOTALL)[0])
    month = Budget("team:search", 500 * 10**9, "month")
    policy = Policy("test", {}, {"search": Team("search", "main", budgets=(month,))}, {})
    crossing = {
        "owner": "team:search", "per": "month", "percent": 75, "spent_nano": 375_018_442_000,
        "ceiling_nano": 500 * 10**9,
    }  # fmt: skip

    assert written == event_of(policy, crossing, 1_795_190_709)


def test_reasons_of_estimates() -> None:
    """docs/money.md has every reason for which a row is an estimate."""
    written = {code(reason) for reason, _, _ in table("money.md", "reason")}

    assert written == {*get_args(Reason), "unusable"}


def test_policy_keys() -> None:
    """docs/policy.md has every key that the policy file knows."""
    written = {(code(section) if section else "", code(key)) for section, key, *_ in table("policy.md", "section")}

    assert written == {(section, key) for section, keys in SECTIONS.items() for key in keys}
