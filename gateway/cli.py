"""The `gateway` command: thin, each command says what it does and leaves the work to its module."""

import sys
from pathlib import Path

import click

from gateway import __version__


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

    report = report_on(config, environment(), need_secrets=not without_secrets)
    print(msgspec.json.encode(report.data).decode() if as_json else "\n".join(report.lines))
    sys.exit(report.exit_code)


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def simulate(arguments: tuple[str, ...]) -> None:
    """Start a Claude API that runs on this machine, for demos, tests and rehearsals."""
    from gateway.simulator.command import main as run

    sys.argv = ["gateway simulate", *arguments]  # it has its own parser, because it shares nothing with the gateway
    run()
