"""`python -m gateway.simulator`: prints its URL on one line, then serves until it is stopped."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal

from gateway.simulator.options import Options, parse_faults
from gateway.simulator.serving import serve


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="gateway simulate", description="A Claude API that runs on this machine.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090, help="0 takes a free one")
    parser.add_argument("--fault", action="append", default=[], metavar="NAME=PROBABILITY[:ARG]")
    for name, kind in (
        ("seed", int),
        ("latency", float),
        ("tokens-per-second", float),
        ("tokens-per-event", int),
        ("requests-per-minute", int),
        ("input-tokens-per-minute", int),
        ("output-tokens-per-minute", int),
        ("count-requests-per-minute", int),
        ("batch-seconds", float),
        ("session-turn-seconds", float),
        ("dream-seconds", float),
        ("token-seconds", int),
        ("bill-rows", int),
    ):
        field = name.replace("-", "_")
        parser.add_argument(f"--{name}", type=kind, default=getattr(Options(), field), help="default: %(default)s")
    parser.add_argument("--abort-billing", choices=("sent", "full"), default="sent")
    parser.add_argument("--strict-betas", action="store_true")
    return parser.parse_args()


async def run(host: str, port: int, options: Options) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    serving = asyncio.create_task(serve(host, port, options=options, started=lambda url: print(url, flush=True)))
    stopping = asyncio.create_task(stopped.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    serving.cancel()
    stopping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving


def main() -> None:
    values = vars(parse())
    host, port, rules = values.pop("host"), values.pop("port"), values.pop("fault")
    try:
        faults, args = parse_faults(rules)
        options = Options(faults=faults, fault_args=args, **values)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    asyncio.run(run(host, port, options))


if __name__ == "__main__":
    main()
