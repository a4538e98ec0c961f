"""The `gateway` command: thin, each command says what it does and leaves the work to its module."""

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from gateway import __version__

if TYPE_CHECKING:  # each command imports what it needs, so that --help is quick
    from gateway.core.prices import PriceTable


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gateway")
def main() -> None:
    """The Claude gateway: one base URL for every team, with limits, budgets and real keys kept out of sight."""


@main.command()
@click.option("--config", type=click.Path(path_type=Path), help="Policy file; without one a team is created for you.")
def serve(config: Path | None) -> None:
    """Start the gateway."""
    from gateway.serve import serve as run

    sys.exit(run(config))


@main.command()
@click.option("--config", type=click.Path(path_type=Path), required=True, help="The policy file to check.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--without-secrets", is_flag=True, help="Do not resolve ${env:…} and ${file:…}: for a check in CI.")
def check(config: Path, *, as_json: bool, without_secrets: bool) -> None:
    """Say everything that is wrong with a policy file, or what it sets up."""
    import msgspec

    from gateway.policy.check import check as report_on
    from gateway.settings import environment

    report = report_on(config, environment(), prices=_price_source(None), need_secrets=not without_secrets)
    print(msgspec.json.encode(report.data).decode() if as_json else "\n".join(report.lines))
    sys.exit(report.exit_code)


@main.group(invoke_without_command=True)
@click.option("--prices", type=click.Path(path_type=Path), help="A price file; else GATEWAY_PRICES or ours.")
@click.option("--json", "as_json", is_flag=True, help="For programs: nano-dollars per token.")
@click.pass_context
def prices(context: click.Context, prices: Path | None, *, as_json: bool) -> None:
    """Show what every model costs."""
    import msgspec

    from gateway import price_list

    context.obj = table = _price_table(prices)
    if context.invoked_subcommand is None:
        print(msgspec.json.encode(price_list.data(table)).decode() if as_json else "\n".join(price_list.lines(table)))


@prices.command()
@click.argument("file", type=click.File("rb"))
@click.option("--model", help="The model that was asked for, when FILE does not say it.")
@click.option("--at", type=click.DateTime(["%Y-%m-%d"]), help="The day of the answer (UTC); prices change. Now.")
@click.option("--batch", is_flag=True, help="It was a request of a batch.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_obj
def explain(
    table: "PriceTable", file: BinaryIO, model: str | None, at: datetime | None, *, batch: bool, as_json: bool
) -> None:
    """Say step by step what FILE costs: an answer of Claude, its stream, or a usage object. - is standard input."""
    import msgspec

    from gateway.price_list import NotExplained, explained

    when = at.replace(tzinfo=UTC).timestamp() if at else time.time()
    try:
        lines, data = explained(table, file.read(), model=model, when=when, batch=batch)
    except NotExplained as why:
        raise click.ClickException(str(why)) from None
    print(msgspec.json.encode(data).decode() if as_json else "\n".join(lines))


def _price_source(file: Path | None) -> "Path | PriceTable":
    """The price file that a gateway in this environment would follow, or the packaged table."""
    from gateway.prices_file import default_table
    from gateway.settings import environment

    named = environment().get("GATEWAY_PRICES")
    return file or (Path(named) if named else default_table())


def _price_table(file: Path | None) -> "PriceTable":
    from gateway.policy import PolicyFaults, load_table

    try:
        return load_table(_price_source(file))[0]
    except PolicyFaults as faults:
        raise click.ClickException(str(faults)) from None


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def simulate(arguments: tuple[str, ...]) -> None:
    """Start a Claude API that runs on this machine, for demos, tests and rehearsals."""
    from gateway.simulator.command import main as run

    sys.argv = ["gateway simulate", *arguments]  # it has its own parser, because it shares nothing with the gateway
    run()
