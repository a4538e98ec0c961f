"""The `gateway` command: thin, each command says what it does and leaves the work to its module."""

import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import click

from gateway import __version__

if TYPE_CHECKING:  # each command imports what it needs, so that --help is quick
    from gateway.core.audit import Report
    from gateway.core.prices import PriceTable
    from gateway.settings import Settings
    from gateway.store.audit import Books

T = TypeVar("T")


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


def _asks_a_gateway(command: Callable[..., None]) -> Callable[..., None]:
    """The options of every command that talks to a running gateway."""
    token = click.option("--token", envvar="GATEWAY_ADMIN_TOKEN", help="Admin token; else GATEWAY_ADMIN_TOKEN.")
    url = click.option("--url", help="The ops listener, http://127.0.0.1:9090 where nothing else is set.")
    return url(token(command))


def _ask(url: str | None, token: str | None, path: str, **asked: Any) -> bytes:
    from gateway.admin_client import NotAnswered, address, ask
    from gateway.settings import environment

    env = environment()
    try:
        return ask(address(url, env), token or env.get("GATEWAY_ADMIN_TOKEN"), path, **asked)
    except NotAnswered as why:
        raise click.ClickException(str(why)) from None


@main.command()
@click.option("--by", default="team,model", show_default=True, help="Of team, key, model, route, day, month.")
@click.option("--from", "first", help="First UTC day (2026-11-01) or month (2026-11). This month.")
@click.option("--to", "last", help="Last one, included. The first.")
@click.option("--team", help="This team alone.")
@click.option("--key", help="Keys of this name alone.")
@click.option("--model", help="This model alone.")
@click.option("--csv", "as_csv", is_flag=True, help="For spreadsheets, with every column.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@_asks_a_gateway
def usage(
    by: str, first: str | None, last: str | None, url: str | None, token: str | None, *, as_csv: bool, as_json: bool,
    **only: str | None,
) -> None:  # fmt: skip
    """Say what was spent, by whom and on what, with cache savings and the estimated share."""
    import msgspec

    from gateway.usage_report import as_table

    query = {"by": by, "from": first, "to": last, "format": "csv" if as_csv else None, **only}
    answer = _ask(url, token, "usage", query=query)
    if as_csv or as_json:
        print(answer.decode().rstrip("\n"))
        return
    said = msgspec.json.decode(answer)
    print(f"{said['from']} to {said['to']} (UTC)")
    print("\n".join(as_table(said["rows"], said["by"], said["total"])))


@main.group(invoke_without_command=True)
@_asks_a_gateway
@click.pass_context
def budgets(context: click.Context, url: str | None, token: str | None) -> None:
    """Show where every budget stands, or raise one for a while."""
    import msgspec

    context.obj = (url, token)
    if context.invoked_subcommand is None:
        for budget in msgspec.json.decode(_ask(url, token, "budgets"))["budgets"]:
            print(_budget_line(budget))


@budgets.command("raise")
@click.argument("team")
@click.option("--usd", required=True, help="Dollars to add to the ceiling; 0 takes an earlier raise back.")
@click.option("--per", type=click.Choice(["day", "month"]), default="month", show_default=True)
@click.option("--until", required=True, help="The day (00:00 UTC) or moment at which it ends.")
@click.option("--key", help="Raise the budget of this key of the team.")
@_asks_a_gateway
@click.pass_obj
def raise_budget(
    above: tuple[str | None, str | None], team: str, usd: str, per: str, until: str, key: str | None,
    url: str | None, token: str | None,
) -> None:  # fmt: skip
    """Add dollars to a team's ceiling until a day."""
    import msgspec

    body = {"team": team, "usd": usd, "per": per, "until": until, "key": key}
    answer = _ask(url or above[0], token or above[1], "budgets/raise", body=body)
    print(_budget_line(msgspec.json.decode(answer)) + f", raised until {until}")


def _budget_line(budget: dict[str, Any]) -> str:
    whose = f"{budget['team']}/{budget['key']}" if budget["key"] else budget["team"]
    raised = f" (raised by ${budget['raised_usd']:,.2f})" if budget["raised_usd"] else ""
    held = f", ${budget['held_usd']:,.2f} held" if budget["held_usd"] else ""
    return (
        f"{whose} per {budget['per']}: ${budget['spent_usd']:,.2f} of ${budget['usd']:,.2f}{raised}{held}, "
        f"{budget['mode']}, resets {budget['resets']}"
    )


@main.command()
@click.argument("workspace")
@click.option("--new", help="Name of the key that comes; the last one of the workspace.")
@click.option("--old", help="Name of the key that goes; the other one.")
@click.option("--silent", default=60.0, show_default=True, help="Seconds without a request after which it may go.")
@click.option("--token", envvar="GATEWAY_ADMIN_TOKEN", help="Admin token; else GATEWAY_ADMIN_TOKEN.")
@click.option("--url", "urls", multiple=True, help="Ops listener; once for each gateway that uses the workspace.")
def rotate(
    workspace: str, new: str | None, old: str | None, silent: float, token: str | None, urls: tuple[str, ...]
) -> None:
    """Replace a workspace's real key step by step, until the old one may be revoked."""
    from gateway.admin_client import NotAnswered, address
    from gateway.rotate import Remote, Rotation, Stopped
    from gateway.settings import environment

    env = environment()
    token = token or env.get("GATEWAY_ADMIN_TOKEN")
    gateways = [Remote(address(url, env), token) for url in urls or (None,)]
    try:
        Rotation(workspace, gateways, click.echo, silent_seconds=silent).run(new, old)
    except (Stopped, NotAnswered) as why:
        raise click.ClickException(str(why)) from None


@main.group()
def ledger() -> None:
    """Check the store against journals and logs, add what it lacks, or go on without what was lost."""


@ledger.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def verify(files: tuple[Path, ...], *, as_json: bool) -> None:
    """Count journals, or shipped log lines, of all gateways again and compare. Changes nothing; 1 when they differ."""
    from gateway.store import audit

    _audit(lambda books: audit.verify(books, files), as_json=as_json)


@ledger.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def rebuild(files: tuple[Path, ...], *, as_json: bool) -> None:
    """Add what the store lacks of these files and open the budgets again. Nothing is taken away."""
    from gateway.store import audit

    _audit(lambda books: audit.rebuild(books, files), as_json=as_json)


@ledger.command("accept-empty")
@click.confirmation_option(prompt="Budgets will count from what the store holds now. Go on?")
def accept_empty() -> None:
    """Open the budgets again without what the store has lost."""
    from gateway.audit import accept_empty as accept

    before = _with_store(accept)
    print("The loss is accepted." if before.data_lost else "The store had lost nothing; it is as it was.")


def _audit(audit: "Callable[[Books], Awaitable[Report]]", *, as_json: bool) -> None:
    import msgspec

    from gateway.audit import audited, data, lines

    report = _with_store(lambda settings: audited(settings, audit))
    print(msgspec.json.encode(data(report)).decode() if as_json else "\n".join(lines(report)))
    sys.exit(0 if report.agrees else 1)


def _with_store(work: "Callable[[Settings], Coroutine[Any, Any, T]]") -> T:
    import asyncio

    from gateway.settings import SettingsFaults, read_settings
    from gateway.store.ledger import StoreDown, StoreUnfit

    try:
        return asyncio.run(work(read_settings()[0]))
    except (SettingsFaults, StoreUnfit, StoreDown, OSError) as why:
        click.echo(f"Error: {why}", err=True)
        sys.exit(2)


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def simulate(arguments: tuple[str, ...]) -> None:
    """Start a Claude API that runs on this machine, for demos, tests and rehearsals."""
    from gateway.simulator.command import main as run

    sys.argv = ["gateway simulate", *arguments]  # it has its own parser, because it shares nothing with the gateway
    run()
