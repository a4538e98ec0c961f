"""The admin API on the ops listener and the commands that ask it: who may, what is answered, what is refused."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from gateway.core.limits import Budget
from gateway.core.teams import AdminToken
from tests.proxy.conftest import ASK, KEY, OTHER_KEY, Running, Start
from tests.proxy.test_fidelity import answer
from tests.raw import RawAnswer, RawClient
from tests.wire.scripted import Scripted, read_request, reset, send

TOKEN = "an-admin-token-of-the-environment"
READER = "a-token-that-may-only-read"
FIVE = Budget("team:search", 5 * 10**9, "month")
KEYS_OWN = Budget("key:search/prod", 2 * 10**9, "day", mode="warn")
# 1.5 dollars at claude-opus-5: 200,000 input, 1,000,000 cache reads, of which plain input would be 5 dollars.
CACHED = answer(
    b'{"id":"m","model":"claude-opus-5","usage":{"input_tokens":200000,"cache_read_input_tokens":1000000,"output_tokens":0}}'
)


@asynccontextmanager
async def admin(start: Start, *, token: str | None = TOKEN, **team: Any) -> AsyncIterator[Running]:
    """A gateway whose upstream bills a dollar and a half a call, then breaks off after the request."""
    async with Scripted(
        [read_request(), send(CACHED.replace(b"OK\r\n", b"OK\r\nconnection: close\r\n"))], [read_request(), reset()]
    ) as upstream:
        gateway = await start(upstream.url, settings={"admin_token": token} if token else None, **team)
        reader = AdminToken("reports", sha256(READER.encode()).digest(), "read")
        if token:
            gateway.app.policy = replace(gateway.app.policy, admin_tokens=(reader,))
        yield gateway


async def ask(gateway: Running, method: str, path: str, body: bytes = b"", *, token: str | None = TOKEN) -> RawAnswer:
    headers = [(b"authorization", b"Bearer " + token.encode())] if token else []
    async with RawClient(gateway.app.ops_port) as ops:
        return await ops.ask(method, f"/admin/v1/{path}", headers, body)


async def command(gateway: Running, *arguments: str, token: str = TOKEN) -> Result:
    """A command line, run beside the gateway that it asks."""
    url = f"http://127.0.0.1:{gateway.app.ops_port}"
    env = {"GATEWAY_ADMIN_TOKEN": token}
    return await asyncio.to_thread(CliRunner().invoke, main, [*arguments, "--url", url], env=env)


def message(got: RawAnswer) -> tuple[int, str]:
    return got.status, got.json["error"]["message"]


def in_a_day() -> str:
    return (datetime.now(UTC) + timedelta(days=2)).date().isoformat()


async def test_without_a_token_there_is_no_admin_api(start: Start) -> None:
    """Nothing configured: 404, and it says how to turn it on."""
    async with admin(start, token=None) as gateway:
        got = await ask(gateway, "GET", "usage")

    assert message(got) == (
        404, "The admin API is off. Set GATEWAY_ADMIN_TOKEN, or add admin_tokens to the policy.",
    )  # fmt: skip


async def test_tokens_and_their_roles(start: Start) -> None:
    """An unknown token is refused, a reader reads and does not write, and each call is a line with the token's name."""
    async with admin(start, budgets=(FIVE,)) as gateway:
        none = await ask(gateway, "GET", "usage", token=None)
        wrong = await ask(gateway, "GET", "usage", token="wrong")
        reads = await ask(gateway, "GET", "usage", token=READER)
        writes = await ask(gateway, "POST", "budgets/raise", b"{}", token=READER)
        lines = [line for line in gateway.lines if line["event"] == "admin"]

    assert [none.status, wrong.status, reads.status, writes.status] == [401, 401, 200, 403]
    assert writes.json["error"]["message"] == "The token 'reports' may only read."
    assert [(line.get("token"), line["status"]) for line in lines] == [
        (None, 401), (None, 401), ("reports", 200), ("reports", 403),
    ]  # fmt: skip
    assert TOKEN not in str(gateway.lines)


async def test_usage_by_what_is_asked(start: Start) -> None:
    """Spend by team, key, model, route and day; what the cache saved and the estimated share stand beside it."""
    async with admin(start) as gateway:
        for key in (KEY, OTHER_KEY):
            await gateway.ask("POST", "/v1/messages", body=ASK, key=key)
        await gateway.requests(2)
        today = datetime.now(UTC).date().isoformat()
        teams = (await ask(gateway, "GET", "usage?by=team")).json
        days = (await ask(gateway, "GET", f"usage?by=day,team,key,model,route&from={today}&team=search")).json

    estimated = teams["rows"][0]
    assert [row["team"] for row in teams["rows"]] == ["billing", "search"]
    assert (estimated["estimated_requests"], estimated["estimated_share"]) == (1, 1.0)
    assert days["rows"] == [
        {
            "day": today, "team": "search", "key": "prod", "model": "claude-opus-5", "route": "messages",
            "requests": 1, "input_tokens": 200_000, "output_tokens": 0, "cache_read_tokens": 1_000_000,
            "cache_write_5m_tokens": 0, "cache_write_1h_tokens": 0, "web_searches": 0, "estimated_requests": 0,
            "usd": 1.5, "cache_saved_usd": 4.5, "estimated_usd": 0.0, "late_usd": 0.0, "estimated_share": 0.0,
        }
    ]  # fmt: skip
    assert teams["total"]["usd"] == pytest.approx(1.5 + estimated["usd"], abs=1e-9)


async def test_usage_as_csv(start: Start) -> None:
    """CSV has a heading and every column, money with all its decimals."""
    async with admin(start) as gateway:
        await gateway.ask("POST", "/v1/messages", body=ASK)
        await gateway.requests(1)
        got = await ask(gateway, "GET", "usage?by=month,team&format=csv")

    (row,) = csv.DictReader(io.StringIO(got.body.decode()))
    assert got.value(b"content-type") == b"text/csv; charset=utf-8"
    assert (row["month"], row["team"], row["usd"], row["cache_saved_usd"]) == (
        datetime.now(UTC).strftime("%Y-%m"), "search", "1.50", "4.50",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("by=colour", "by: 'colour' is none of team, key, model, route, day, month."),
        ("from=2026-13", "from, to: Send two days (2026-11-20) or two months (2026-11)."),
        ("from=2026-11&to=2026-11-05", "from, to: Send two days (2026-11-20) or two months (2026-11)."),
        ("from=2026-W10-1", "from, to: Send two days (2026-11-20) or two months (2026-11)."),
        ("from=2026-11-02&to=2026-11-01", "from, to: 2026-11-02 is after 2026-11-01."),
        ("from=0001-01&to=9999-12", "from, to: Ask for at most 14 months."),
        ("from=2026-01-01&to=2026-06-01", "from, to: Ask for at most 93 days; whole months go further back."),
        ("format=xml", "format: 'xml' is neither json nor csv."),
    ],
)
async def test_usage_that_can_not_be_told(start: Start, query: str, said: str) -> None:
    """A mistake in the question is a 400 in words, and no range is long enough to keep the store busy."""
    async with admin(start) as gateway:
        assert message(await ask(gateway, "GET", f"usage?{query}")) == (400, said)


async def test_budget_is_raised_for_a_while(start: Start) -> None:
    """A team over its budget may go on as soon as it is raised; the raise shows and can be taken back."""
    async with admin(start, budgets=(replace(FIVE, ceiling_nano=10**9),)) as gateway:
        await gateway.ask("POST", "/v1/messages", body=ASK)
        await gateway.requests(1)
        over = await gateway.ask("POST", "/v1/messages", body=ASK)
        raised = await command(gateway, "budgets", "raise", "search", "--usd", "50", "--until", in_a_day())
        shown = await command(gateway, "budgets")
        again = await gateway.ask("POST", "/v1/messages", body=ASK)
        back = await command(gateway, "budgets", "raise", "search", "--usd", "0", "--until", in_a_day())

    assert over.error[:2] == (429, "billing_error")
    assert raised.output.startswith("search per month: $1.50 of $51.00 (raised by $50.00), block, resets ")
    assert shown.output == raised.output.partition(", raised until")[0] + "\n"
    assert again.status == 502  # the upstream breaks off: the call was let through
    assert back.output.startswith("search per month: $1.5")
    assert "of $1.00, block" in back.output


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ('{"team": "serch", "usd": 1, "until": "DAY"}', 404, "There is no team 'serch' in the policy."),
        ('{"team": "search", "usd": 1, "until": "DAY", "per": "day"}', 404,
         "Team 'search' has no budget per day to raise; its budgets: month."),
        ('{"team": "search", "key": "prod", "usd": 1, "until": "DAY"}', 404,
         "Key 'prod' of team 'search' has no budget per month to raise; its budgets: day."),
        ('{"team": "search", "usd": 1, "until": "2020-01-01"}', 400, "until: 2020-01-01 is over."),
        ('{"team": "search", "usd": 1, "until": "soon"}', 400, "until: must be a day such as 2027-01-31"),
        ('{"team": "search", "usd": -1, "until": "DAY"}', 400, "usd: Send the dollars to add, from 0 to $8,000,000"),
        ('{"team": "search", "usd": "NaN", "until": "DAY"}', 400, "usd: Send the dollars to add"),
        ('{"team": "search", "usd": 0.0000000001, "until": "DAY"}', 400, "usd: Send the dollars to add"),
        ('{"team": "search", "usd": 1e300, "until": "DAY"}', 400, "usd: Send the dollars to add"),
        ('{"team": "search", "usd": 1, "until": "DAY", "colour": 1}', 400, "The body can't be used: Object contains"),
        ("nonsense", 400, "The body can't be used: JSON is malformed"),
    ],
)  # fmt: skip
async def test_raise_that_makes_no_sense(start: Start, body: str, status: int, said: str) -> None:
    """What can't be meant is refused with what to write instead, and nothing is raised."""
    async with admin(start, budgets=(FIVE,)) as gateway:
        policy = gateway.app.policy
        team = policy.teams["search"]
        owner = replace(team, keys=(replace(team.keys[0], budgets=(KEYS_OWN,)),))
        gateway.app.policy = replace(policy, teams={**policy.teams, "search": owner})
        got = await ask(gateway, "POST", "budgets/raise", body.replace("DAY", in_a_day()).encode())
        budgets = (await ask(gateway, "GET", "budgets")).json["budgets"]

    assert (got.status, got.json["error"]["message"][: len(said)]) == (status, said)
    assert [(one["key"], one["usd"], one["raised_usd"]) for one in budgets] == [(None, 5, 0), ("prod", 2, 0)]


async def test_paths_and_methods(start: Start) -> None:
    """An unknown path names those that exist, a wrong method the right one."""
    async with admin(start) as gateway:
        unknown = await ask(gateway, "GET", "use")
        wrong = await ask(gateway, "DELETE", "usage")

    assert message(unknown)[0] == 404
    assert "GET /admin/v1/usage" in message(unknown)[1]
    assert message(wrong) == (405, "/admin/v1/usage takes GET.")


async def test_usage_command(start: Start) -> None:
    """`gateway usage` prints a table with a total, CSV or JSON; a wrong token or address is said in words."""
    async with admin(start) as gateway:
        await gateway.ask("POST", "/v1/messages", body=ASK)
        await gateway.requests(1)
        month = datetime.now(UTC).strftime("%Y-%m")
        table = await command(gateway, "usage", "--by", "team,key")
        as_csv = await command(gateway, "usage", "--csv", "--team", "search")
        as_json = await command(gateway, "usage", "--json", "--model", "claude-opus-4-8")
        refused = await command(gateway, "usage", token="wrong")
    gone = CliRunner().invoke(main, ["usage", "--token", "x", "--url", "http://127.0.0.1:9"])

    assert table.output == (
        f"{month} to {month} (UTC)\n"
        "team    key   requests    input  output  cache read  cache saved  estimated   usd\n"
        "search  prod         1  200,000       0   1,000,000         4.50       0.0%  1.50\n"
        "total                1  200,000       0   1,000,000         4.50       0.0%  1.50\n"
    )
    assert as_csv.output.splitlines()[1].startswith("search,claude-opus-5,1,200000,")
    assert '"rows":[]' in as_json.output
    assert (refused.exit_code, refused.output) == (
        1, "Error: Send an admin token as 'Authorization: Bearer TOKEN'.\n",
    )  # fmt: skip
    assert gone.exit_code == 1
    assert "can't be reached" in gone.output
