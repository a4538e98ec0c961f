"""The admin API: who may ask what, and the answers. The ops listener carries it; nothing here knows HTTP's library.

Rule: without a token there is no admin API. A call is authenticated before anything else of it is read, a read token
writes nothing, and every call leaves one line with the token's name.
"""

import hmac
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from typing import Any, Literal, Protocol

import msgspec

from gateway.budgets import Owned, owned, record_of, standings
from gateway.core.errors import GatewayError, error_body
from gateway.core.limits import MOST_NANO, Period
from gateway.core.teams import AdminToken, Policy
from gateway.policy.faults import Bad
from gateway.policy.scalars import moment
from gateway.store.ledger import Ledger, StoreDown
from gateway.usage_report import as_csv, grouped, groups_of, range_of, total

PREFIX = "/admin/v1/"
Role = Literal["read", "write"]


@dataclass(frozen=True, slots=True)
class AdminCall:
    """One call as it came in."""

    method: str
    path: str
    query: Mapping[str, Sequence[str]]
    authorization: str
    read: Callable[[], Awaitable[bytes]]  # its body, once it is known who calls


@dataclass(frozen=True, slots=True)
class AdminAnswer:
    """What is answered."""

    status: int
    body: bytes
    content_type: str = "application/json"


class AdminLog(Protocol):
    """Where the line of a call goes."""

    def admin(self, facts: Mapping[str, object]) -> None: ...


class Raise(msgspec.Struct, forbid_unknown_fields=True):
    """Body of POST budgets/raise. `usd` 0 takes an earlier raise back."""

    team: str
    usd: Decimal
    until: str
    per: Period = "month"
    key: str | None = None


Handler = Callable[[AdminCall], Awaitable[AdminAnswer]]
Rows = dict[tuple[str, str], tuple[Role, Handler]]  # by method and path


class Admin:
    """Answers the calls under `/admin/v1/`."""

    def __init__(
        self,
        policy: Callable[[], Policy],
        ledger: Ledger,
        log: AdminLog,
        *,
        tokens: Iterable[AdminToken] = (),
        more: Rows | None = None,
    ) -> None:
        self._policy = policy
        self._ledger = ledger
        self._log = log
        self._tokens = tuple(tokens)  # beside the policy's own
        self._rows: Rows = {
            ("GET", "usage"): ("read", self._usage),
            ("GET", "budgets"): ("read", self._budgets),
            ("POST", "budgets/raise"): ("write", self._raise),
            **(more or {}),
        }

    async def handle(self, call: AdminCall) -> AdminAnswer:
        token: AdminToken | None = None
        try:
            token = self._authenticated(call)
            answer = await self._handler(call, token)(call)
        except GatewayError as error:
            answer = _refused(error)
        except StoreDown as down:
            answer = _refused(GatewayError("store_down", f"The store does not answer: {down}. Retry in a moment."))
        name = token.name if token is not None else None
        self._log.admin({"token": name, "method": call.method, "path": call.path[:128], "status": answer.status})
        return answer

    def _authenticated(self, call: AdminCall) -> AdminToken:
        tokens = (*self._tokens, *self._policy().admin_tokens)
        if not tokens:
            raise GatewayError(
                "unknown_route", "The admin API is off. Set GATEWAY_ADMIN_TOKEN, or add admin_tokens to the policy."
            )
        scheme, _, said = call.authorization.partition(" ")
        digest = sha256(said.strip().encode("utf-8", "surrogateescape")).digest()
        # Every digest is compared, so that the time taken tells nothing of which one is near.
        found = [token for token in tokens if hmac.compare_digest(token.digest, digest)]
        if scheme.lower() != "bearer" or not found:
            raise GatewayError("unauthenticated", "Send an admin token as 'Authorization: Bearer TOKEN'.")
        return found[0]

    def _handler(self, call: AdminCall, token: AdminToken) -> Handler:
        path = call.path.removeprefix(PREFIX)
        row = self._rows.get((call.method, path))
        if row is None:
            methods = [method for method, known in self._rows if known == path]
            if methods:
                raise GatewayError("wrong_method", f"{call.path} takes {', '.join(methods)}.")
            known = ", ".join(f"{method} {PREFIX}{path}" for method, path in self._rows)
            raise GatewayError("unknown_route", f"The admin API has: {known}.")
        role, handler = row
        if role == "write" and token.role != "write":
            raise GatewayError("not_allowed", f"The token '{token.name}' may only read.")
        return handler

    async def _usage(self, call: AdminCall) -> AdminAnswer:
        by = groups_of(call.query)
        first, last, grain = range_of(call.query, time.time(), days="day" in by)
        team = call.query.get("team", [None])[-1]
        form = call.query.get("format", ["json"])[-1]
        if form not in ("json", "csv"):
            raise GatewayError("malformed", f"format: {form[:40]!r} is neither json nor csv.")
        wanted = {name: call.query[name][-1] for name in ("key", "model") if name in call.query}
        rows = [
            row
            for row in await self._ledger.rows(grain, first, last, team)
            if all(getattr(row, name) == value for name, value in wanted.items())
        ]
        records = grouped(rows, by)
        if form == "csv":
            return AdminAnswer(200, as_csv(records, by).encode(), "text/csv; charset=utf-8")
        return as_json({"from": first, "to": last, "by": by, "rows": records, "total": total(rows)})

    async def _budgets(self, call: AdminCall) -> AdminAnswer:
        found = await standings(self._ledger, list(owned(self._policy())))
        return as_json({"budgets": [record_of(one, standing) for one, standing in found]})

    async def _raise(self, call: AdminCall) -> AdminAnswer:
        try:
            asked = msgspec.json.decode(await call.read(), type=Raise)
        except msgspec.MsgspecError as error:
            raise GatewayError("malformed", f"The body can't be used: {error}.") from None
        one = self._budget_of(asked)
        until = _until(asked.until, time.time())
        nano = asked.usd * 10**9 if asked.usd.is_finite() else Decimal(-1)
        if not 0 <= nano <= MOST_NANO - one.budget.ceiling_nano or nano != nano.to_integral_value():
            raise GatewayError("malformed", "usd: Send the dollars to add, from 0 to $8,000,000 with the budget.")
        await self._ledger.raise_budget(one.budget.owner, one.budget.per, int(nano), until)
        ((_, standing),) = await standings(self._ledger, [one])
        return as_json({**record_of(one, standing), "until": asked.until})

    def _budget_of(self, asked: Raise) -> Owned:
        policy = self._policy()
        if asked.team not in policy.teams:
            raise GatewayError("not_found", f"There is no team {asked.team[:60]!r} in the policy.")
        found = [one for one in owned(policy) if (one.team, one.key) == (asked.team, asked.key or "")]
        for one in found:
            if one.budget.per == asked.per:
                return one
        whose = Owned(asked.team, (asked.key or "")[:60], next(iter(found)).budget).whose if found else "It"
        has = ", ".join(one.budget.per for one in found) or "none"
        raise GatewayError("not_found", f"{whose} has no budget per {asked.per} to raise; its budgets: {has}.")


def _until(written: str, now: float) -> float:
    try:
        until = moment(written)
    except Bad as bad:
        raise GatewayError("malformed", f"until: {bad.message}.") from None
    if until <= now:
        raise GatewayError("malformed", f"until: {written} is over. A raise ends at 00:00 UTC of its day.")
    return until


def as_json(value: Any) -> AdminAnswer:
    return AdminAnswer(200, msgspec.json.encode(value))


def _refused(error: GatewayError) -> AdminAnswer:
    return AdminAnswer(error.row.status, error_body(error.row.type, error.message, "gwa_" + secrets.token_hex(12)))
