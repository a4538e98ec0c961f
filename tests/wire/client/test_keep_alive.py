"""Connections between exchanges: reuse, its races, limits, ageing, and the end."""

import asyncio

import pytest

from gateway.core.http import Outgoing, Timeouts
from tests.wire.client.asking import SOON, Make, Start, failure, get, how, whole
from tests.wire.scripted import (
    Wire,
    answer,
    close,
    half_close,
    read_request,
    reset,
    send,
    serve,
    stall,
    until,
)

_OK = answer(b"ok")


async def serve_numbers(wire: Wire) -> None:
    """Answer each request with its own target."""
    read = read_request()
    while True:
        await read(wire)
        target = wire.upstream.requests[-1].line.split()[1]
        wire.writer.write(answer(target))


async def test_the_latest_connection_is_used_first(make_client: Make, scripted: Start) -> None:
    """Reuse is last in, first out, so that connections no longer needed grow old and go."""
    gates = [asyncio.Event() for _ in range(3)]
    upstream = await scripted(
        *[
            [read_request(), until(gate), send(answer(b"%d" % at)), serve(answer(b"%d" % at))]
            for at, gate in enumerate(gates)
        ]
    )
    client = make_client()
    first = [asyncio.ensure_future(client.open(get(upstream.origin), SOON)) for _ in range(3)]
    await upstream.asked(3)
    for gate in (gates[1], gates[0], gates[2]):
        gate.set()
        done, left = await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        first = list(left)
        for task in done:
            await whole(task.result())
    again = [await client.open(get(upstream.origin), SOON) for _ in range(3)]

    assert [b"2", b"2", b"2"] == [await whole(got) for got in again]


@pytest.mark.parametrize(
    "wire",
    [
        _OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        _OK + b"garbage",
        _OK + b"\0",
        answer(b"ok", b"200 OK", b"Connection: close"),
        answer(b"ok", b"200 OK", b"Connection: close") + b"garbage",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\ngarbage",
    ],
    ids=["a second answer", "garbage", "NUL", "close", "close and garbage", "garbage after chunks"],
)
async def test_a_connection_out_of_step_is_not_used_again(make_client: Make, scripted: Start, wire: bytes) -> None:
    """Bytes behind an answer, or its wish to close: the answer stands, the connection goes."""
    upstream = await scripted([read_request(), send(wire)], [serve(_OK)])
    client = make_client()
    for _ in range(2):
        got = await client.open(get(upstream.origin), SOON)
        assert (b"ok", False) == (await whole(got), got.reused)

    assert 2 == upstream.connections


@pytest.mark.parametrize(
    "end",
    [send(b"HTTP/1.1 408 Request Timeout\r\n\r\n"), send(b"\r\n"), close(), half_close(), reset()],
    ids=["unasked answer", "blank line", "close", "half-close", "reset"],
)
async def test_what_happens_to_an_idle_connection_ends_it(make_client: Make, scripted: Start, end: object) -> None:
    """Bytes, end of file or reset while idle take the connection out of the pool before anyone could use it."""
    go = asyncio.Event()
    upstream = await scripted([read_request(), send(_OK), until(go), end], [serve(_OK)])
    client = make_client()
    await whole(await client.open(get(upstream.origin), SOON))
    go.set()
    await upstream.settled()
    got = await client.open(get(upstream.origin), SOON)

    assert (b"ok", False) == (await whole(got), got.reused)


@pytest.mark.parametrize(
    ("steps", "answered"),
    [
        ([close()], False),
        ([half_close()], False),
        ([reset()], False),
        ([send(b"HTTP/1.1 2"), close()], True),
        ([send(b"HTTP/1.1 103 Early Hints\r\n\r\n"), close()], True),
    ],
    ids=["close", "half-close", "reset", "part of a head", "hints"],
)
@pytest.mark.parametrize("reused", [False, True])
async def test_the_facts_of_a_connection_that_ends_unanswered(
    make_client: Make, scripted: Start, steps: list[object], answered: bool, reused: bool
) -> None:
    """Stage, fault, whether reused, whether a byte had come, and how long it took: all a caller needs to decide."""
    before = [read_request(), send(_OK)] if reused else []
    upstream = await scripted([*before, read_request(), *steps])
    client = make_client()
    if reused:
        await whole(await client.open(get(upstream.origin), SOON))

    failed = await failure(client.open(get(upstream.origin), SOON))

    assert ("head", "reset", reused, answered) == how(failed)
    assert 0.0 <= failed.seconds < 2.0
    await upstream.settled()


async def test_an_unread_answer_holds_no_connection(make_client: Make, scripted: Start) -> None:
    """Once an answer has come whole, its connection serves the next exchange; its bytes wait for their reader."""
    upstream = await scripted([serve_numbers])
    client = make_client(connections=1)
    answers = [await client.open(get(upstream.origin, b"/%d" % number), SOON) for number in range(3)]

    assert [b"/2", b"/1", b"/0"] == [await whole(got) for got in reversed(answers)]
    assert 1 == upstream.connections


async def test_a_stale_connection_fails_once_then_a_new_one_serves(make_client: Make, scripted: Start) -> None:
    """The client itself repeats nothing: after a lost race the next call simply gets a new connection."""
    upstream = await scripted([read_request(), send(_OK), read_request(), reset()], [serve(_OK)])
    client = make_client()
    await whole(await client.open(get(upstream.origin), SOON))
    await failure(client.open(get(upstream.origin), SOON))
    got = await client.open(get(upstream.origin), SOON)

    assert (b"ok", False, 3) == (await whole(got), got.reused, len(upstream.requests))


async def test_idle_connections_expire(make_client: Make, scripted: Start) -> None:
    """After `idle_seconds` without use a connection is closed by us, before the upstream would."""
    upstream = await scripted([read_request(), send(_OK)])
    client = make_client(idle_seconds=0.05)
    await whole(await client.open(get(upstream.origin), SOON))
    async with asyncio.timeout(5):
        await upstream.settled()


async def test_expiry_does_not_touch_a_connection_in_use(make_client: Make, scripted: Start) -> None:
    """The timer of an idle connection, once it serves again, is nobody's."""
    go = asyncio.Event()
    upstream = await scripted([read_request(), send(_OK), read_request(), until(go), send(_OK)])
    client = make_client(idle_seconds=0.1)
    await whole(await client.open(get(upstream.origin), SOON))
    asked = asyncio.ensure_future(client.open(get(upstream.origin), SOON))
    await asyncio.sleep(0.25)
    go.set()

    assert b"ok" == await whole(await asked)


async def test_old_connections_are_not_used_again(make_client: Make, scripted: Start) -> None:
    """Past `age_seconds` a connection is replaced, so that DNS is asked again."""
    upstream = await scripted([serve(_OK)])
    client = make_client(age_seconds=0.5)
    reused = []
    for wait in (0.0, 0.0, 0.6):
        await asyncio.sleep(wait)
        got = await client.open(get(upstream.origin), SOON)
        reused.append(got.reused)
        await whole(got)

    assert ([False, True, False], 2) == (reused, upstream.connections)


async def test_no_more_connections_than_allowed_and_first_come_first_served(make_client: Make, scripted: Start) -> None:
    """Above the limit requests wait in order, and every answer reaches the one who asked."""
    upstream = await scripted([serve_numbers])
    client = make_client(connections=2)
    order = []

    async def ask(number: int) -> bytes:
        got = await client.open(Outgoing("GET", upstream.origin, b"/%d" % number), SOON)
        order.append(number)
        return await whole(got)

    bodies = await asyncio.gather(*[ask(number) for number in range(200)])

    assert [b"/%d" % number for number in range(200)] == bodies
    assert upstream.connections == 2
    waited = [number for number in order if number > 1]  # 0 and 1 made the connections
    assert max(abs(place - number) for place, number in enumerate(waited, start=2)) <= 2


async def test_the_wait_for_a_place_is_part_of_connect(make_client: Make, scripted: Start) -> None:
    """A request that finds no free connection in time fails in stage "connect", and leaves no hole in the queue."""
    go = asyncio.Event()
    upstream = await scripted([read_request(), until(go), send(_OK), serve(_OK)])
    client = make_client(connections=1)
    first = asyncio.ensure_future(client.open(get(upstream.origin), SOON))
    await upstream.asked()

    failed = await failure(client.open(get(upstream.origin), Timeouts(connect=0.05)))
    second = asyncio.ensure_future(client.open(get(upstream.origin), SOON))
    await asyncio.sleep(0)
    go.set()

    assert ("connect", "timeout", False, False) == how(failed)
    assert "free connection" in failed.detail
    assert [b"ok", b"ok"] == [await whole(await asked) for asked in (first, second)]
    assert 1 == upstream.connections


@pytest.mark.parametrize("turns", range(8))
async def test_a_cancelled_waiter_passes_its_place_on(make_client: Make, scripted: Start, turns: int) -> None:
    """Waiters that are cancelled, also in the very turn that serves them, take nothing with them."""
    go = asyncio.Event()
    upstream = await scripted([read_request(), until(go), send(_OK), serve(_OK)], [serve(_OK)])
    client = make_client(connections=1)
    first = asyncio.ensure_future(client.open(get(upstream.origin), SOON))
    waiting = [asyncio.ensure_future(client.open(get(upstream.origin), SOON)) for _ in range(5)]
    await upstream.asked()
    waiting[0].cancel()
    waiting[2].cancel()
    go.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    waiting[1].cancel()
    bodies = [await whole(await asked) for asked in (first, waiting[3], waiting[4])]

    assert [b"ok"] * 3 == bodies
    assert [True, True, False, False] == [waiting[at].cancelled() for at in (0, 2, 3, 4)]


async def test_a_place_whose_connection_died_goes_to_the_next(make_client: Make, scripted: Start) -> None:
    """Every way in which a connection ends frees its place."""
    upstream = await scripted(
        [read_request(), close()],
        [read_request(), send(answer(b"ok", b"200 OK", b"Connection: close"))],
        [read_request(), send(b"nonsense\r\n")],
        [read_request(), stall()],
        [serve(_OK)],
    )
    client = make_client(connections=1)
    asked = [client.open(get(upstream.origin), Timeouts(5.0, first_byte=0.5, idle=5.0)) for _ in range(5)]

    async def outcome(number: int) -> object:
        try:
            return await whole(await asked[number])
        except Exception as failed:  # noqa: BLE001  # compared below
            return str(failed).partition(" (")[0]

    assert ["head: reset", b"ok", "head: protocol", "head: timeout", b"ok"] == list(
        await asyncio.gather(*[outcome(number) for number in range(5)])
    )


async def test_origins_do_not_share_connections_or_places(make_client: Make, scripted: Start) -> None:
    """A full pool towards one origin holds up no other."""
    slow, fast = await scripted([read_request(), stall()]), await scripted([serve(_OK)])
    client = make_client(connections=1)
    stuck = asyncio.ensure_future(client.open(get(slow.origin), SOON))

    assert b"ok" == await whole(await client.open(get(fast.origin), SOON))
    stuck.cancel()
    await asyncio.wait([stuck])


async def test_close_ends_everything(make_client: Make, scripted: Start) -> None:
    """`close` ends idle connections, those in use, and those who wait; afterwards nothing opens."""
    upstream = await scripted(
        [read_request(), send(b"HTTP/1.1 200 OK\r\n\r\nabc"), stall()], [read_request(), stall()], [serve(_OK)]
    )
    client = make_client(connections=3)
    reading = await client.open(get(upstream.origin), SOON)
    assert b"abc" == await reading.read()
    body = asyncio.ensure_future(reading.read())
    head = asyncio.ensure_future(client.open(get(upstream.origin), SOON))
    await upstream.asked(2)
    await whole(await client.open(get(upstream.origin), SOON))

    await client.close()
    failed = [await failure(head), await failure(body)]
    await upstream.settled()
    after = await failure(client.open(get(upstream.origin), SOON))

    assert [("head", "reset"), ("body", "reset")] == [(each.stage, each.fault) for each in failed]
    assert ("connect", "reset", "the client is closed") == (after.stage, after.fault, after.detail)


async def test_close_wakes_those_who_wait_for_a_place(make_client: Make, scripted: Start) -> None:
    """A request in the queue fails when the client closes; it does not wait for its timeout."""
    upstream = await scripted([read_request(), stall()])
    client = make_client(connections=1)
    first, second = [asyncio.ensure_future(client.open(get(upstream.origin), SOON)) for _ in range(2)]
    await upstream.asked()
    await client.close()

    assert [("head", "reset"), ("connect", "reset")] == [
        (failed.stage, failed.fault) for failed in [await failure(first), await failure(second)]
    ]
