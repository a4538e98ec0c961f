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
