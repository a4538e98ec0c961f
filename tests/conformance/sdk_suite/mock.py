"""Answers each request with the sample it names, and writes down what arrived.

usage: python -m tests.conformance.sdk_suite.mock SAMPLES LOG REFUSED      prints its URL
"""

import asyncio
import hashlib
import json
import sys
from pathlib import Path

from aiohttp import web

# What a hop writes anew, and what the gateway is there to replace.
OWN = {
    "x-test",
    "host",
    "connection",
    "accept-encoding",
    "content-length",
    "transfer-encoding",
    "authorization",
    "x-api-key",
}
PING = b'event: ping\ndata: {"type":"ping"}\n\n'


def arrived(request: web.Request, body: bytes, refused: bytes) -> dict[str, object]:
    """The request as another run can repeat it: boundaries of forms are drawn anew each time; and whether
    it has the field that the gateway refuses."""
    _, _, boundary = request.headers.get("content-type", "").partition("boundary=")
    same = (lambda text: text.replace(boundary, "BOUNDARY")) if boundary else (lambda text: text)
    return {
        "test": request.headers.get("x-test", ""),
        "method": request.method,
        "target": request.raw_path,
        "headers": sorted(
            [name.lower(), same(value)] for name, value in request.headers.items() if name.lower() not in OWN
        ),
        "refused": refused in body,
        "body": hashlib.sha256(body.replace(boundary.encode(), b"BOUNDARY") if boundary else body).hexdigest(),
    }


async def serve(samples: Path, log: Path, refused: bytes) -> None:
    async def answer(request: web.Request) -> web.Response:
        body = await request.read()
        lines.write(json.dumps(arrived(request, body, refused)) + "\n")
        lines.flush()
        name = request.headers.get("x-sample", "")
        if name == "stream":
            return web.Response(body=PING, content_type="text/event-stream")
        sample = samples / Path(name).name
        return web.Response(body=sample.read_bytes() if name else b"{}", content_type="application/json")

    with log.open("w") as lines:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3].encode()))
