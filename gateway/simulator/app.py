"""The server: the life of one request, from its head to its row in the bill.

Order: the simulator's own paths, faults that need no answer, credential, version, route, body, the answer, its faults
on the wire. The row is booked whatever happens, cancellation by a leaving client included.
"""

from __future__ import annotations

import asyncio
import inspect
import logging

import msgspec
from aiohttp import hdrs, web

from gateway.simulator import access, sending
from gateway.simulator.bodies import read_body
from gateway.simulator.control import control
from gateway.simulator.errors import ApiError
from gateway.simulator.faults import ANSWERS, HTML, RAW, amount, seconds
from gateway.simulator.options import Options
from gateway.simulator.passage import Passage
from gateway.simulator.routes import Route, Table
from gateway.simulator.sending import Broken
from gateway.simulator.table import api_table
from gateway.simulator.world import (
    Answer,
    Call,
    Reply,
    Stream,
    World,
    event,
    fresh_id,
)

LINE = 256 * 1024
LOG = logging.getLogger(__name__)
OPEN = {"/": b"", "/api/hello": b'{"message":"hello"}'}  # answered without a credential
OVERLOADED = event("error", {"type": "error", "error": ApiError("overloaded", "Overloaded").error()})


class Server:
    def __init__(self, world: World, table: Table) -> None:
        self.world = world
        self.table = table

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.rel_url.raw_path
        if path.startswith("/_simulator"):
            return await self.own(request)
        if path in OPEN and request.method in (hdrs.METH_GET, hdrs.METH_HEAD):
            return web.Response(body=OPEN[path], content_type="application/json")
        passage = Passage(self.world, request, fresh_id("req"), self.world.now())
        self.world.open += 1
        try:
            return await self.pass_through(passage, path)
        except ApiError as error:
            passage.status = error.kind.status
            passage.ended = "refused"
            return await self.refuse(passage, error)
        except Broken as how:
            passage.ended = str(how)
            return web.Response()  # nobody is listening
        except (asyncio.CancelledError, ConnectionError):
            passage.ended = "client_gone"
            raise
        except Exception:
            # Our own mistake: say so here, and to the client what Claude would say.
            LOG.exception("the simulator failed at %s", passage.route.name if passage.route else path)
            passage.status, passage.ended = 500, "failed"
            return await self.refuse(passage, ApiError("internal", "Internal server error"))
        finally:
            self.world.open -= 1
            passage.book()

    async def own(self, request: web.Request) -> web.StreamResponse:
        try:
            answer = await control(self.world, request)
        except ApiError as error:
            return web.Response(body=error.body(""), status=error.kind.status, content_type="application/json")
        return web.Response(body=answer.body, content_type=answer.content_type)

    async def pass_through(self, passage: Passage, path: str) -> web.StreamResponse:
        request, world = passage.request, self.world
        passage.struck = world.faults.strike(request.method, path, request.headers.getall("x-simulator-fault", ()))
        if world.options.compress and "gzip" in request.headers.get("accept-encoding", ""):
            passage.struck.setdefault("gzip", "")
        if "early_hints" in passage.struck:
            sending.early_hints(request)
        if passage.struck.keys() & RAW:
            return await self.raw(passage)
        call = passage.call = access.identify(
            world, request, path, request_id=passage.request_id, struck=passage.struck, now=passage.now
        )
        route = passage.route = access.admit(call, self.table, path)
        if route.limit:
            call.body = await read_body(request, route.limit)
        for name, arg in passage.struck.items():
            if name in ANSWERS:
                raise ANSWERS[name](arg)
        if passage.struck.get("reset") == "" and request.transport is not None:
            request.transport.abort()
            raise Broken("reset")
        passage.generating_since = world.now()
        answer: Answer = route.handler(call)
        if inspect.isawaitable(answer):
            answer = await answer
        return await self.send(passage, call, route, answer)

    async def send(self, passage: Passage, call: Call, route: Route, answer: Answer) -> web.StreamResponse:
        options, struck, request = self.world.options, passage.struck, passage.request
        if route.inference:
            await asyncio.sleep(options.latency)
        if "slow_first_byte" in struck:
            await asyncio.sleep(seconds(struck["slow_first_byte"], 1.0))
        answer = spoiled(call, answer)
        if isinstance(answer, Reply) and answer.paced and call.charge and options.tokens_per_second:
            await asyncio.sleep(call.charge.output / options.tokens_per_second)
        headers = passage.headers()
        passage.status = answer.status if isinstance(answer, Reply) else 200
        if isinstance(answer, Reply):
            return await sending.send_reply(request, answer, headers, struck, sent=passage.sent)
        if isinstance(answer, Stream):
            return await sending.send_stream(request, answer, headers, struck, options=options, sent=passage.sent)
        return await sending.send_live(request, answer, headers, struck)

    async def refuse(self, passage: Passage, error: ApiError) -> web.StreamResponse:
        body = error.body(passage.request_id)
        if passage.route and passage.route.openai:
            shape = {"message": error.message, "type": error.kind.type, "param": None, "code": None}
            body = msgspec.json.encode({"error": shape})
        answer = Reply(body, error.kind.status, headers=error.headers)
        try:
            return await sending.send_reply(
                passage.request, answer, passage.headers(), passage.struck, sent=passage.sent
            )
        except Broken as how:
            passage.ended = str(how)
            return web.Response()

    async def raw(self, passage: Passage) -> web.StreamResponse:
        """Answers that do not look like the API's."""
        name, arg = next((name, arg) for name, arg in passage.struck.items() if name in RAW)
        passage.ended = name
        answers = {
            "html_502": lambda: web.Response(status=502, body=HTML, content_type="text/html"),
            "rate_limited_bare": lambda: web.Response(
                status=429, body=b'{"message":"Error"}', content_type="application/json"
            ),
            "empty_200": lambda: web.Response(status=200, body=b"", content_type="application/json"),
            "status": lambda: web.Response(
                status=int(arg or 520),
                body=ApiError("internal", "Unexpected status").body(passage.request_id),
                content_type="application/json",
            ),
        }
        response = answers[name]()
        passage.status = response.status
        return response


def spoiled(call: Call, answer: Answer) -> Answer:
    """The answer after the faults that are events of a stream; a plain answer fails outright, and neither is billed."""
    streams = isinstance(answer, Stream)
    if "overloaded_event" in call.struck:
        call.charge = None
        if not streams:
            raise ApiError("overloaded", "Overloaded")
        return Stream([OVERLOADED])
    if "error_event" in call.struck:
        if not streams:
            call.charge = None
            raise ApiError("internal", "Internal server error")
        if amount(call.struck["error_event"], 3)[0] == 0:
            call.charge = None  # an error in the place of an answer costs what a plain one costs: nothing
    return answer


def create_app(options: Options | None = None) -> web.Application:
    """A simulator as an aiohttp application; everything it needs of its server stands in `handler_args`."""
    world = World(options or Options())
    app = web.Application(
        handler_args={
            "handler_cancellation": True,
            "auto_decompress": False,
            "max_line_size": LINE,
            "max_field_size": LINE,
            "access_log": None,
        },
        client_max_size=1 << 40,
    )
    app[WORLD] = world
    app.router.add_route("*", "/{path:.*}", Server(world, api_table()).handle)

    async def close(_: web.Application) -> None:
        await world.close()

    app.on_cleanup.append(close)
    return app


WORLD: web.AppKey[World] = web.AppKey("world", World)
