"""One record, one observer: `finished` turns an exchange into a log line and metrics, and nothing else does.

Labels come from the policy and the route table only; what a client can make up becomes `other`. Children are made on
first use and kept, because `.labels()` costs more than the increment.
"""

import re
import secrets
from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from structlog.typing import FilteringBoundLogger

from gateway.core.errors import GatewayError, error_body, error_headers
from gateway.core.exchange import Exchange
from gateway.core.limits import Bucket, Period
from gateway.core.work import KINDS, Bill, Item
from gateway.store.work import Counts
from gateway.wording import is_credential

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_OVERHEAD = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
_RATIO = (0.25, 0.5, 0.75, 0.9, 0.95, 1, 1.05, 1.1, 1.25, 1.5, 2, 4)
_LAG = (1, 5, 15, 60, 300, 900, 3600, 14400, 86400)
OTHER = "other"
_OF_LINE = frozenset(("event", "time"))  # what every log line has by itself


class Observer:
    """Every metric family of the data path, and the one log line."""

    def __init__(self, registry: CollectorRegistry, log: FilteringBoundLogger) -> None:
        self._log = log
        self._requests = Counter(
            "gateway_requests_total", "Requests by outcome.", ("team", "model", "route", "status"), registry=registry
        )
        self._tokens = Counter("gateway_tokens_total", "Tokens by kind.", ("team", "model", "kind"), registry=registry)
        self._spend = Counter("gateway_spend_usd_total", "Dollars spent.", ("team", "model"), registry=registry)
        self._refusals = Counter(
            "gateway_refusals_total", "Requests refused by the gateway.", ("team", "reason"), registry=registry
        )
        self._would_refuse = Counter(
            "gateway_would_refuse_total", "What limits in shadow and budgets that only warn would have refused.",
            ("team", "limit"), registry=registry,
        )  # fmt: skip
        self._attempts = Counter(
            "gateway_upstream_attempts_total", "Tries at Claude.", ("workspace", "outcome"), registry=registry
        )
        self._seconds = Histogram(
            "gateway_request_seconds",
            "From the head to the last byte.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._first_byte = Histogram(
            "gateway_first_byte_seconds", "Until the first byte of an answer.", ("route",), buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip
        self._overhead = Histogram(
            "gateway_overhead_seconds", "The gateway's own time until the first byte, Claude's excluded.", ("route",),
            buckets=_OVERHEAD, registry=registry,
        )  # fmt: skip
        self._estimate_ratio = Histogram(
            "gateway_estimate_error_ratio", "The input that Claude billed to what was estimated; 1 is exact.",
            ("model",), buckets=_RATIO, registry=registry,
        )  # fmt: skip
        self._in_flight = Gauge("gateway_in_flight_requests", "Requests under way.", ("team",), registry=registry)
        self._store_seconds = Histogram(
            "gateway_store_seconds", "Calls to the store.", ("operation",), buckets=_OVERHEAD, registry=registry
        )
        self._store_errors = Counter(
            "gateway_store_errors_total", "Calls to the store that failed.", ("operation",), registry=registry
        )
        self._work_open = Gauge(
            "gateway_work_open", "Batches, sessions and dreams that are not paid for yet.", ("kind",), registry=registry
        )
        self._work_overdue = Gauge(
            "gateway_work_overdue_seconds", "How long the first of them should have been looked at.", registry=registry
        )
        self._work_done = Counter(
            "gateway_work_done_total", "Work that was settled for good, by what became of it.", ("kind", "outcome"),
            registry=registry,
        )  # fmt: skip
        self._work_failures = Counter(
            "gateway_work_failures_total", "Looks at such work that failed and are tried again.", ("kind", "reason"),
            registry=registry,
        )  # fmt: skip
        self._lag = Histogram(
            "gateway_settlement_lag_seconds", "From the end of such work to its cost in the ledger.", ("kind",),
            buckets=_LAG, registry=registry,
        )  # fmt: skip
        self._reloads = Counter(
            "gateway_config_reloads_total", "Attempts to load the policy again.", ("result",), registry=registry
        )
        self._loaded_at = Gauge(
            "gateway_config_loaded_timestamp_seconds", "When the policy in force was loaded.", registry=registry
        )
        self._loaded_at.set_to_current_time()
        self._upstream = upstream_families(registry)
        self._unpriced = Counter(
            "gateway_unpriced_requests_total", "Requests charged at another model's price.", ("team", "charged_as"),
            registry=registry,
        )  # fmt: skip
        self._budget_used = Gauge(
            "gateway_budget_used_ratio", "Spent of a team's budget, 1 is all.", ("team", "period"), registry=registry
        )
        self._budget_events = Counter(
            "gateway_budget_events_total", "Thresholds that budgets went over.", ("team", "threshold"),
            registry=registry,
        )  # fmt: skip
        self._alerts = Counter(
            "gateway_alerts_total", "Events for the webhook by what became of them.", ("outcome",), registry=registry
        )
        self._children: dict[tuple[Any, ...], Any] = {}

    def overload(self, event: str, **facts: Any) -> None:
        """What changed between the gateway and Claude: a key, a rest, a breaker. Once per change, never per request."""
        self._log.warning(event, **facts)

    def gauge(self, name: str, value: float, *labels: str) -> None:
        """One of the gauges of `upstream_families`."""
        self._child(self._upstream[name], *labels).set(value)

    def count(self, name: str, *labels: str) -> None:
        """One of the counters of `upstream_families`."""
        self._child(self._upstream[name], *labels).inc()

    def authenticated(self, x: Exchange) -> None:
        """The request counts as its team's from here."""
        self._child(self._in_flight, x.team.name if x.team else OTHER).inc()

    def finished(self, x: Exchange) -> None:
        """The request is over, however it ended."""
        team = x.team.name if x.team else OTHER
        route = x.route.name if x.route else OTHER
        model = x.model if x.model in x.policy.known_models else (OTHER if x.model else "")
        self._child(self._requests, team, model, route, str(x.status or 499)).inc()
        if x.team is not None:
            self._child(self._in_flight, team).dec()
        if x.error is not None and x.refused_by is not None:
            self._child(self._refusals, team, x.error.kind).inc()
        for limit in x.verdict.would_refuse if x.verdict is not None else ():
            name = limit.kind.value if isinstance(limit, Bucket) else f"budget_{limit.per}"
            self._child(self._would_refuse, team, name).inc()
        for attempt in x.attempts:
            self._child(self._attempts, attempt.workspace, attempt.outcome).inc()
        if x.usage is not None:
            run = x.usage.total()
            kinds = {
                "input": run.input, "output": run.output, "cache_read": run.cache_read,
                "cache_write": run.cache_write_5m + run.cache_write_1h,
            }  # fmt: skip
            for kind, count in kinds.items():
                if count:
                    self._child(self._tokens, team, model, kind).inc(count)
        if x.cost_nano:
            self._child(self._spend, team, model).inc(x.cost_nano / 1e9)
        if x.estimate_ratio is not None:
            self._child(self._estimate_ratio, model).observe(x.estimate_ratio)
        if x.charged_as is not None:
            self._child(self._unpriced, team, x.charged_as).inc()
        assert x.finished is not None
        self._child(self._seconds, route).observe(x.finished - x.started)
        if x.first_byte is not None:
            self._child(self._first_byte, route).observe(x.first_byte - x.started)
            self._child(self._overhead, route).observe(
                max(0.0, x.first_byte - x.started - x.upstream_seconds - x.client_seconds)
            )
        self._log.info("request", **line(x))

    def reloaded(self, *, ok: bool) -> None:
        """A reload was tried; a faulty file leaves the last good policy in force."""
        self._child(self._reloads, "ok" if ok else "faulty").inc()
        if ok:
            self._loaded_at.set_to_current_time()

    def event(self, name: str, facts: Mapping[str, object]) -> None:
        """What the ledger has to say: once per outage, never per request."""
        self._log.warning(name, **facts)

    def budget_crossed(self, event: Mapping[str, Any]) -> None:
        """A budget went over a threshold: once per period, whichever replica booked it."""
        self._child(self._budget_events, event["team"], str(event["threshold_percent"])).inc()
        self._log.warning("budget_threshold", **{name: value for name, value in event.items() if name not in _OF_LINE})

    def budget_used(self, ratios: Mapping[tuple[str, Period], float]) -> None:
        """Where the teams' budgets stand; one that left the policy leaves the gauge."""
        self._budget_used.clear()
        for labels, ratio in ratios.items():
            self._budget_used.labels(*labels).set(ratio)

    def alerted(self, outcome: str, event: Mapping[str, Any], detail: str) -> None:
        """What became of an event for the webhook."""
        self._child(self._alerts, outcome).inc()
        if outcome != "sent":
            self._log.error("alert_failed", outcome=outcome, detail=detail, alert=event["id"])

    def admin(self, facts: Mapping[str, object]) -> None:
        """A call of the admin API: who, what, and how it ended."""
        self._log.info("admin", **facts)

    def timed(self, operation: str, seconds: float, *, failed: bool) -> None:
        """One call to the store."""
        self._child(self._store_seconds, operation).observe(seconds)
        if failed:
            self._child(self._store_errors, operation).inc()

    def work_counted(self, counts: Counts) -> None:
        """What is on the list of work. A kind that has gone is none."""
        for kind in KINDS:
            self._child(self._work_open, kind).set(counts.by_kind.get(kind, 0))
        self._work_overdue.set(counts.overdue_seconds)

    def work_booked(self, item: Item, bill: Bill) -> None:
        """A bill of work that goes on after its call is in the ledger."""
        for kind in ("input", "output", "cache_read"):
            if count := bill.usage.get(kind):
                self._child(self._tokens, item.team, bill.model, kind).inc(count)
        if wrote := bill.usage.get("cache_write_5m", 0) + bill.usage.get("cache_write_1h", 0):
            self._child(self._tokens, item.team, bill.model, "cache_write").inc(wrote)
        if bill.nano:
            self._child(self._spend, item.team, bill.model).inc(bill.nano / 1e9)

    def work_done(self, item: Item, now: float) -> None:
        """It is settled for good."""
        self._child(self._work_done, item.kind, item.outcome).inc()
        if item.ended:
            self._child(self._lag, item.kind).observe(max(0.0, now - item.ended))
        estimated = next((bill.estimated for bill in item.bills if bill.estimated), None)
        self._log.info(
            "work_done", **_work(item), outcome=item.outcome, estimated=estimated,
            cost_usd=(sum(bill.nano for bill in item.bills) + item.progress.nano - item.progress.free) / 1e9,
            requests=sum(bill.requests for bill in item.bills), models=[bill.model for bill in item.bills if bill.nano],
            lag_seconds=round(now - item.ended, 3) if item.ended else None,
        )  # fmt: skip

    def work_failed(self, item: Item, reason: str) -> None:
        """A look at it failed; it is tried again for as long as Claude keeps what is to be read."""
        self._child(self._work_failures, item.kind, reason).inc()

    def work_lost(self, item: Item) -> None:
        """The store lost it with its data; somebody must look up what it cost."""
        self._child(self._work_done, item.kind, "lost").inc()
        self._log.error("work_lost", **_work(item), held_usd=item.nano / 1e9)

    def work_failing(self, item: Item, reason: str) -> None:
        """It failed several times in a row; told once."""
        self._log.warning("work_failing", **_work(item), reason=reason, tries=item.tries)

    def work_back(self, item: Item, now: float) -> None:
        """It can be read again."""
        self._log.warning("work_back", **_work(item), tries=item.tries, seconds=round(now - item.failing, 1))

    def faulted(self, fault: BaseException | None, request_id: str | None = None) -> None:
        """A bug of ours, by the place it came from: never by its text, which may quote what a client sent."""
        self._log.error("fault", request_id=request_id, fault=type(fault).__name__, at=place(fault))

    def broken_head(self, error: GatewayError) -> bytes:
        """A whole answer for a request that never became an exchange, counted and logged all the same."""
        id = "gwr_" + secrets.token_hex(12)
        self._child(self._requests, OTHER, "", OTHER, str(error.row.status)).inc()
        self._log.info("request", request_id=id, status=error.row.status, ended="refused", error=error.kind,
                       refused_by=error.row.refused_by, detail=error.detail or None)  # fmt: skip
        body = error_body(error.row.type, error.message, id)
        return b"".join(
            (
                b"HTTP/1.1 %d %b\r\n" % (error.row.status, error.kind.encode()),
                *(b"%b: %b\r\n" % pair for pair in error_headers(error)),
                b"request-id: %b\r\nx-gateway-request-id: %b\r\n" % (id.encode(), id.encode()),
                b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body),
                body,
            )
        )

    def _child(self, family: Any, *labels: str) -> Any:
        child = self._children.get((family, *labels))
        if child is None:
            child = self._children[family, *labels] = family.labels(*labels)
        return child


# What the way to Claude tells of itself, by the names that upstream/ uses.
_UPSTREAM: dict[str, tuple[type[Counter | Gauge], str, str, tuple[str, ...]]] = {
    "retries":      (Counter, "gateway_retries_total", "Attempts beyond the first.", ("workspace", "reason")),
    "retry_budget": (Gauge, "gateway_retry_budget", "Retries left, of 50, when last asked.", ("workspace",)),
    "rests":        (Counter, "gateway_rests_total", "Times Claude told calls to stay away.", ("workspace", "reason")),
    "rest_until":   (Gauge, "gateway_rest_until_timestamp_seconds", "When calls may go out again.",
                     ("workspace", "model_class")),
    "breaker_open": (Gauge, "gateway_breaker_open", "1 while Claude is asked by probes only.",
                     ("workspace", "model_class")),
    "window":       (Gauge, "gateway_concurrency_window", "Calls that may be under way at once; 0: no window.",
                     ("workspace", "model_class")),
    "headroom":     (Gauge, "gateway_upstream_headroom_ratio", "What is left of Claude's limits, 0 to 1.",
                     ("workspace", "model_class", "limit")),
    "keys":         (Gauge, "gateway_workspace_key", "1 for the state that a real key is in.",
                     ("workspace", "key", "state")),
    "exchanges":    (Counter, "gateway_token_exchanges_total", "Identity tokens exchanged.",
                     ("workspace", "key", "result")),
}  # fmt: skip


def upstream_families(registry: CollectorRegistry) -> dict[str, Counter | Gauge]:
    return {key: kind(name, says, labels, registry=registry) for key, (kind, name, says, labels) in _UPSTREAM.items()}


def place(fault: BaseException | None) -> str | None:
    """Where a fault arose, as file:line."""
    trace = fault.__traceback__ if fault is not None else None
    if trace is None:
        return None
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename.rpartition('gateway/')[2]}:{trace.tb_lineno}"


_MODEL_NAME = re.compile(r"[A-Za-z0-9._:/@\[\]\-]{0,128}")


def named(model: str) -> str:
    """A model's name for the log. Until Claude knows it, it is a client's free text: a prompt, a key, a new line."""
    return model if _MODEL_NAME.fullmatch(model) and not is_credential(model) else OTHER


def _work(item: Item) -> dict[str, Any]:
    return {
        "id": item.id, "kind": item.kind, "hold": item.hold, "team": item.team, "key": item.key,
        "workspace": item.workspace,
    }  # fmt: skip


def line(x: Exchange) -> dict[str, Any]:
    """The one log line: facts, never a prompt, a completion or a key."""
    usage = x.usage.total() if x.usage is not None else None
    facts: dict[str, Any] = {
        "request_id": x.id,
        "upstream_request_id": x.upstream_request_id or None,
        "team": x.team.name if x.team else None,
        "key": x.key.name if x.key else None,
        "workspace": x.workspace or None,
        "upstream_key": x.upstream_key or None,
        "route": x.route.name if x.route else None,
        "method": x.method,
        "model": (x.claim.model if x.claim else named(x.model)) or None,
        "asked_model": named(x.model) if x.claim and x.claim.model != x.model else None,
        "status": x.status or 499,
        "ended": x.ended,
        "attempts": len(x.attempts),
        "input_tokens": usage.input if usage else None,
        "output_tokens": usage.output if usage else None,
        "cache_read_tokens": usage.cache_read if usage else None,
        "cache_write_5m_tokens": usage.cache_write_5m if usage else None,
        "cache_write_1h_tokens": usage.cache_write_1h if usage else None,
        "web_searches": (x.usage.web_searches or None) if x.usage else None,
        "cost_usd": x.cost_nano / 1e9 if usage else None,
        "held_usd": x.claim.nano / 1e9 if x.claim and x.claim.nano else None,
        "cache_saved_usd": x.saved_nano / 1e9 if x.saved_nano else None,
        "ledger": x.booked or None,
        "estimated": x.usage.estimated if x.usage else None,
        "estimated_input_tokens": x.expected.prompt or None,
        "oddities": x.oddities or None,
        "refused_by": x.refused_by,
        "error": x.error.kind if x.error else None,
        "detail": (x.error.detail or None) if x.error else None,
        "seconds": round((x.finished or x.started) - x.started, 6),
        "first_byte_seconds": round(x.first_byte - x.started, 6) if x.first_byte is not None else None,
        "bytes_in": x.bytes_in,
        "bytes_out": x.bytes_out,
        "claude_code_session_id": x.claude_code_session_id or None,
        "cf_ray": x.cf_ray or None,
    }
    return {name: value for name, value in facts.items() if value is not None}
