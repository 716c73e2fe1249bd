"""`meshbridge run`."""

from typing import Annotated

import typer

from meshbridge.bridge.cli import output
from meshbridge.bridge.cli.diff import planned_by
from meshbridge.bridge.cli.options import ConfigFile


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog="\b\nExample:\n"
        "  meshbridge run -c /etc/meshbridge/meshbridge.yaml\n"
        "  meshbridge run -c new.yaml --dry-run        what it would serve, as YAML; serves nothing\n"
        "  kill -HUP PID          reloads the configuration (a changed file does, too)"
    )(run)


def run(
    config: ConfigFile,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read every source once, print what would be served, and end.")
    ] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, metavar="SECONDS", help="With --dry-run: for each source.")
    ] = 30.0,
) -> None:
    """Watch the configured sources and serve them to istiod.

    Ends when interrupted.
    """
    if dry_run:
        output.print_yaml(planned_by(config, timeout).objects)
        return
    import asyncio

    from meshbridge.bridge.app import serve

    asyncio.run(serve(config))
