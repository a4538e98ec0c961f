"""The command line: prints the URL on one line, then serves until it is stopped."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import signal
import sys
from collections.abc import Sequence
from typing import Any

import uvloop

from gateway.simulator.errors import ApiError
from gateway.simulator.options import Options, parse_faults
from gateway.simulator.serving import serve


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """An argument for each field of Options; the faults are written as rules."""
    parser = argparse.ArgumentParser(prog="gateway simulate", description="A Claude API that runs on this machine.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090, help="0 takes a free one")
    parser.add_argument("--fault", action="append", default=[], metavar="NAME=PROBABILITY[:ARG]")
    parser.add_argument("--with-parent", action="store_true", help="stop when standard input ends")
    defaults = Options()
    for field in dataclasses.fields(Options):
        if field.name in ("faults", "fault_args"):
            continue
        flag, default = f"--{field.name.replace('_', '-')}", getattr(defaults, field.name)
        if isinstance(default, bool):
            parser.add_argument(flag, action="store_true")
        else:
            parser.add_argument(flag, type=type(default), default=default, help="default: %(default)s")
    return parser.parse_args(argv)


async def run(host: str, port: int, options: Options, *, with_parent: bool) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    waits: list[asyncio.Task[Any]] = [asyncio.create_task(serve(host, port, options=options, started=announce))]
    waits.append(asyncio.create_task(stopped.wait()))
    if with_parent:
        waits.append(asyncio.create_task(end_of_input()))
    done, rest = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    for task in (*rest, *done):
        with contextlib.suppress(asyncio.CancelledError):
            await task


def announce(url: str) -> None:
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()


async def end_of_input() -> None:
    """Whoever holds the other end of our standard input is gone, however it died."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(4096):
        pass


def main(argv: Sequence[str] | None = None) -> None:
    """Run with these arguments, those of the process by default."""
    values = vars(parse(argv))
    host, port, with_parent = values.pop("host"), values.pop("port"), values.pop("with_parent")
    try:
        faults, args = parse_faults(values.pop("fault"))
        options = Options(faults=faults, fault_args=args, **values)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(host, port, options, with_parent=with_parent))
    except (ApiError, ValueError, OSError) as error:
        raise SystemExit(str(error)) from None
