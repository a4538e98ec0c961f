"""Batches are paid for by what their results say, once, whatever becomes of them."""

import asyncio
from dataclasses import replace

import msgspec

from gateway.core.limits import Budget
from tests.proxy.conftest import KEY
from tests.raw import RawClient, request
from tests.tasks.conftest import VERSION, Start, batch_of, params
from tests.until import until

OPUS, HAIKU = "claude-opus-5", "claude-haiku-4-5"
BATCHES = "/v1/messages/batches"
POOR = Budget("team:search", 10**6, "month")


async def test_a_batch_costs_what_claude_bills(start: Start, store: str | None) -> None:
    """To the nano-dollar, one row per model, with the hold gone and the requests that were billed."""
    gateway = await start(store=store)
    many = [params(f"Question {n}. " + "word " * n) for n in range(30)]
    batch = await gateway.made(BATCHES, batch_of(*many, params("Short.", HAIKU), params("Another.", HAIKU)))
    assert (await gateway.purse())[1] > 0
    line = await gateway.done(batch)
    bill = gateway.billed(batch)
    rows = await gateway.rows()

    assert sorted(bill) == sorted(model for model, _ in rows)
    assert bill == {model: amounts["nano"] for (model, _), amounts in rows.items()}
    assert [2, 30] == sorted(amounts["requests"] for amounts in rows.values())
    assert (sum(bill.values()), 0) == await gateway.purse()
    assert ("settled", sum(bill.values()) / 1e9, 32) == (line["outcome"], line["cost_usd"], line["requests"])
    assert "estimated" not in line or line["estimated"] is None
    assert 1 == gateway.metric("gateway_work_done_total", kind="batch", outcome="settled")
    assert 1 == gateway.metric("gateway_settlement_lag_seconds_count", kind="batch")


async def test_only_what_succeeded_costs(start: Start) -> None:
    """Requests that were refused by Claude, that expired or were refused before any output cost nothing."""
    gateway = await start()
    batch = await gateway.made(
        BATCHES,
        batch_of(
            params("Fine."),
            params("[[simulate expire]]"),
            params("[[simulate refusal]]"),
            {**params("No such model may come"), "max_tokens": 10**9},
        ),
    )
    line = await gateway.done(batch)
    bill = gateway.billed(batch)

    assert bill == {model: amounts["nano"] for (model, _), amounts in (await gateway.rows()).items()}
    assert ("settled", None) == (line["outcome"], line.get("estimated"))


async def test_a_batch_in_which_nothing_succeeded(start: Start) -> None:
    """Its hold goes, and it leaves no row."""
    gateway = await start()
    batch = await gateway.made(BATCHES, batch_of(params("[[simulate expire]]"), params("[[simulate expire]]")))
    line = await gateway.done(batch)

    assert ({}, (0, 0), "settled") == (await gateway.rows(), await gateway.purse(), line["outcome"])


async def test_a_cancelled_batch_costs_what_was_done(start: Start) -> None:
    """Partial results stay billed."""
    gateway = await start(batch_seconds=1.0)
    batch = await gateway.made(BATCHES, batch_of(*(params(f"Question {n}.") for n in range(40))))
    await asyncio.sleep(0.4)
    await gateway.ask("POST", f"{BATCHES}/{batch}/cancel")
    await gateway.done(batch)
    bill = gateway.billed(batch)

    assert 0 < sum(bill.values()) == await gateway.nano()
    assert 0 == (await gateway.purse())[1]


async def test_a_create_that_claude_refuses_holds_nothing(start: Start) -> None:
    """The hold goes back at once, and nothing is left to look at."""
    gateway = await start()
    answer = await gateway.ask("POST", BATCHES, {"requests": [{"custom_id": "not an id", "params": params()}]})
    await until(lambda: not gateway.app._tasks._asides)

    assert 400 == answer.status
    assert (0, 0) == await gateway.purse()
    assert {} == (await gateway.app._tasks._work.counts()).by_kind


async def test_a_create_beyond_the_budget_is_refused(start: Start) -> None:
    """All of a batch is held before it leaves."""
    gateway = await start(team={"budgets": (POOR,)})
    answer = await gateway.ask("POST", BATCHES, batch_of(*(params("word " * 2000) for _ in range(50))))

    assert (429, 0) == (answer.status, len(gateway.simulator.world.book.rows))
    assert {} == (await gateway.app._tasks._work.counts()).by_kind
    assert {} == await gateway.rows()


async def test_a_delete_waits_for_the_settlement(start: Start) -> None:
    """409 while it runs; once it has ended the delete itself has it settled, and is passed on."""
    gateway = await start(batch_seconds=0.3)
    gateway.app._tasks._worker._pace = 1000  # nobody looks by himself
    batch = await gateway.made(BATCHES, batch_of(params(), params()))
    early = await gateway.ask("DELETE", f"{BATCHES}/{batch}")
    await until(lambda: gateway.billed(batch))
    await asyncio.sleep(0)
    late = await gateway.ask("DELETE", f"{BATCHES}/{batch}")

    assert (409, "conflict_error") == early.error[:2]
    assert (b"5", b"true") == (early.value(b"retry-after"), early.value(b"x-should-retry"))
    assert (200, "message_batch_deleted") == (late.status, late.json["type"])
    assert sum(gateway.billed(batch).values()) == await gateway.nano() > 0


async def test_a_clients_own_fetch_is_only_relayed(start: Start) -> None:
    """Reading the results costs nothing and settles nothing."""
    gateway = await start()
    batch = await gateway.made(BATCHES, batch_of(params(), params()))
    await gateway.done(batch)
    before = await gateway.rows()
    answer = await gateway.ask("GET", f"{BATCHES}/{batch}/results")

    assert (200, 2) == (answer.status, len(answer.body.splitlines()))
    assert before == await gateway.rows()


async def test_a_batch_that_claude_forgot(start: Start) -> None:
    """Deleted past the gateway: what was held stands, marked, and the log says so."""
    gateway = await start(batch_seconds=60)
    batch = await gateway.made(BATCHES, batch_of(params(), params()))
    held = (await gateway.purse())[1]
    del gateway.simulator.world.workspaces["default"].of("message_batch")[batch]
    await gateway.app._tasks._nudge(batch)
    line = await gateway.done(batch)
    ((_, row),) = (await gateway.rows()).items()

    assert ("deleted", "no_usage", held / 1e9) == (line["outcome"], line["estimated"], line["cost_usd"])
    assert (held, 1, held) == (row["nano"], row["estimated_requests"], row["estimated_nano"])
    assert (held, 0) == await gateway.purse()


async def test_claude_is_away_for_long(start: Start) -> None:
    """It is tried again and again, told once at each end, and settled exactly when Claude is back."""
    gateway = await start()
    gateway.simulator.world.faults.replace({"overloaded": {"probability": 1.0, "method": "GET"}})
    batch = await gateway.made(BATCHES, batch_of(params(), params()))
    await until(lambda: gateway.logged("work_failing"))
    gateway.simulator.world.faults.replace({})
    line = await gateway.done(batch)

    assert ("settled", gateway.billed(batch)) == (line["outcome"], {OPUS: await gateway.nano()})
    assert [("status_529", batch)] == [(one["reason"], one["id"]) for one in gateway.logged("work_failing")]
    assert [batch] == [one["id"] for one in gateway.logged("work_back")]
    assert 3 <= (gateway.metric("gateway_work_failures_total", kind="batch", reason="status_529") or 0)


async def test_results_that_break_off_are_read_again(start: Start) -> None:
    """Nothing of a broken body counts."""
    gateway = await start()
    batch = await gateway.made(BATCHES, batch_of(*(params(f"Question {n}.") for n in range(20))))
    rule = {"probability": 1.0, "arg": "700", "path": f"{BATCHES}/{batch}/results", "times": 2}
    gateway.simulator.world.faults.replace({"cut": rule})
    line = await gateway.done(batch)

    assert gateway.billed(batch) == {OPUS: await gateway.nano()}
    assert (20, None) == (line["requests"], line.get("estimated"))
    assert 2 == gateway.simulator.world.faults.struck["cut"]


async def test_two_gateways_settle_a_batch_once(start: Start, valkey) -> None:
    """Whoever takes it, it is booked once; and one may settle what the other began."""
    first = await start(store=valkey.url)
    second = await start(store=valkey.url, simulator=first.simulator)
    batches = [await first.made(BATCHES, batch_of(params(f"Question {n}."))) for n in range(12)]
    lines = first.lines, second.lines
    await until(lambda: 12 == sum(line["event"] == "work_done" for some in lines for line in some), seconds=20)

    assert sum(first.billed(*batches).values()) == await first.nano()
    assert 0 == (await second.purse())[1]
    assert 12 == sum(amounts["requests"] for amounts in (await first.rows()).values())


async def test_a_client_that_leaves_during_the_create(start: Start) -> None:
    """The create is seen through: the batch exists, so it is paid for."""
    gateway = await start(faults={"slow_first_byte": 1.0}, fault_args={"slow_first_byte": "0.3"})
    async with RawClient(gateway.app.port) as client:
        client.send(request("POST", BATCHES, [VERSION], msgspec.json.encode(batch_of(params())), key=KEY))
        await until(lambda: gateway.simulator.world.workspace("default").of("message_batch"))
        client.abort()
    (batch,) = gateway.simulator.world.workspace("default").of("message_batch")
    await gateway.done(batch)

    assert gateway.billed(batch) == {OPUS: await gateway.nano()}


async def test_a_create_that_was_never_answered(start: Start) -> None:
    """It may run and nobody knows its id: what was held is charged, marked, and nothing is left on the list."""
    gateway = await start(faults={"reset": 1.0})
    answer = await gateway.ask("POST", BATCHES, batch_of(params(), params()))
    await until(lambda: not gateway.app._tasks._asides)
    ((_, row),) = (await gateway.rows()).items()

    assert 502 == answer.status
    assert row["nano"] == row["estimated_nano"] > 0
    assert (row["nano"], 0) == await gateway.purse()
    assert {} == (await gateway.app._tasks._work.counts()).by_kind


async def test_a_made_batch_without_an_id(start: Start) -> None:
    """An answer that names nothing is charged like one that never came."""
    gateway = await start(faults={"empty_200": 1.0})
    await gateway.ask("POST", BATCHES, batch_of(params()))
    await until(lambda: gateway.logged("work_unnamed"))
    ((_, row),) = (await gateway.rows()).items()

    assert (row["nano"], 1) == (row["estimated_nano"], row["estimated_requests"])
    assert 0 == (await gateway.purse())[1]


async def test_results_that_can_not_be_had(start: Start) -> None:
    """Ended and archived: the share of what was held that succeeded stands, marked."""
    gateway = await start(batch_seconds=60)
    batch = await gateway.made(BATCHES, batch_of(*(params() for _ in range(4))))
    held = (await gateway.purse())[1]
    counts = {"processing": 0, "succeeded": 1, "errored": 3, "canceled": 0, "expired": 0}
    ended = {"processing_status": "ended", "request_counts": counts, "archived_at": "2026-11-20T00:00:00Z"}
    gateway.simulator.world.workspace("default").of("message_batch")[batch].update(ended)
    gateway.simulator.world.faults.replace(
        {"status": {"probability": 1.0, "arg": "404", "path": f"{BATCHES}/{batch}/r"}}
    )
    await gateway.app._tasks._nudge(batch)
    line = await gateway.done(batch)

    assert ("results_gone", "no_usage", held // 4) == (line["outcome"], line["estimated"], await gateway.nano())


async def test_results_that_lack_lines(start: Start) -> None:
    """They are read several times; then what is missing costs its share of what was expected, marked."""
    gateway = await start(batch_seconds=0.2)
    batch = await gateway.made(BATCHES, batch_of(*(params() for _ in range(4))))
    await until(lambda: gateway.billed(batch))
    thing = gateway.simulator.world.workspace("default").of("message_batch")[batch]
    thing["_lines"] = thing["_lines"][:3]
    await gateway.app._tasks._nudge(batch)
    line = await gateway.done(batch)

    assert ("incomplete", "no_usage", 4) == (line["outcome"], line["estimated"], line["requests"])
    assert 5 == gateway.metric("gateway_work_failures_total", kind="batch", reason="missing_lines")
    assert sum(gateway.billed(batch).values()) * 3 / 4 < await gateway.nano()


async def test_a_batch_whose_workspace_left_the_policy(start: Start) -> None:
    """It waits, failing, until the policy knows its workspace again."""
    gateway = await start(batch_seconds=0.2)
    batch = await gateway.made(BATCHES, batch_of(params()))
    policy = gateway.app.policy
    gateway.app.policy = replace(policy, workspaces={"other": policy.workspaces["main"]})
    await until(lambda: gateway.logged("work_failing"))
    gateway.app.policy = policy
    line = await gateway.done(batch)

    assert "no_workspace" == gateway.logged("work_failing")[0]["reason"]
    assert ("settled", gateway.billed(batch)) == (line["outcome"], {OPUS: await gateway.nano()})


async def test_the_store_loses_its_data(start: Start, valkey) -> None:
    """What was on the list is told by its id, once: its cost must be looked up."""
    gateway = await start(store=valkey.url, batch_seconds=60)
    batch = await gateway.made(BATCHES, batch_of(params()))
    valkey.empty()
    await until(lambda: gateway.logged("work_lost"), seconds=20)

    assert [(batch, "search")] == [(line["id"], line["team"]) for line in gateway.logged("work_lost")]
    assert 1 == gateway.metric("gateway_work_done_total", kind="batch", outcome="lost")


async def test_the_store_is_away_for_a_while(start: Start, valkey) -> None:
    """A create is refused rather than begun without a record; what was begun is settled when the store is back."""
    gateway = await start(store=valkey.url, batch_seconds=0.3, settings={"store_timeout_ms": 100})
    gateway.app._tasks._worker.lease_seconds = 0.5
    batch = await gateway.made(BATCHES, batch_of(params()))
    valkey.pause()
    try:
        refused = await gateway.ask("POST", BATCHES, batch_of(params()))
        await until(lambda: gateway.billed(batch))
    finally:
        valkey.resume()
    line = await gateway.done(batch)

    assert (529, "overloaded_error") == refused.error[:2]
    assert ("settled", gateway.billed(batch)) == (line["outcome"], {OPUS: await gateway.nano()})
    assert 1 == len(gateway.simulator.world.workspace("default").of("message_batch"))
