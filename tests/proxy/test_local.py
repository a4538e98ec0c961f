"""What the gateway answers itself never reaches Claude."""

from gateway.core.limits import Bucket, Budget, Kind
from gateway.core.routes import ROUTES
from tests.proxy.conftest import ASK, Start
from tests.wire.scripted import Scripted, serve

FINE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


async def test_own_paths_stay_here(start: Start) -> None:
    """A path that is not Claude's is answered or refused here: Claude would get it with the workspace's key."""
    own = [route for route in ROUTES if not route.path.startswith("/v1/")]
    async with Scripted([serve(FINE)]) as upstream:
        gateway = await start(upstream.url)
        for route in own:
            await gateway.ask(route.method, route.path)
        unknown = await gateway.ask("GET", "/gateway/v1/other")

    assert upstream.requests == []
    assert unknown.status == 404
    assert {route.path for route in own} == {"/", "/api/hello", "/gateway/v1/limits", "/gateway/v1/usage"}


async def test_limits_of_the_team(start: Start) -> None:
    """A team reads what is left of its own limits and budgets, and asking takes nothing."""
    bucket = Bucket("team:search", Kind.REQUESTS, "*", 60)
    async with Scripted([serve(FINE)]) as upstream:
        gateway = await start(
            upstream.url, buckets=(bucket,), budgets=(Budget("team:search", 5_000_000_000, "month", "UTC"),)
        )
        await gateway.ask("POST", "/v1/messages", body=ASK)
        first = await gateway.ask("GET", "/gateway/v1/limits")
        again = await gateway.ask("GET", "/gateway/v1/limits")

    limit, budget = first.json["limits"][0], first.json["budgets"][0]
    assert (first.json["team"], first.json["key"]) == ("search", "prod")
    assert (limit["kind"], limit["per_minute"], limit["remaining"]) == ("requests", 60, 59)
    assert (budget["per"], budget["usd"], budget["mode"]) == ("month", 5.0, "block")
    assert again.json["limits"][0]["remaining"] >= 59


async def test_hello_is_a_route(start: Start) -> None:
    """The opening call of Claude Code is counted by its name, though nobody is behind it."""
    gateway = await start("http://127.0.0.1:9")
    await gateway.ask("GET", "/api/hello", key=None)
    line = (await gateway.requests(1))[0]

    assert (line["route"], line["status"], line.get("team")) == ("hello", 200, None)
