"""`meshbridge demo`."""

from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog="\b\nExample:\n"
        "  meshbridge demo\n"
        "  meshbridge demo --once     exits by itself; 0 means that everything worked"
    )(demo)


def demo(
    once: Annotated[
        bool, typer.Option("--once", help="Exit when the show is over, instead of serving on.")
    ] = False,
) -> None:
    """Show the bridge at work, without any server.

    Local services play the VMs, and one of them stops.
    """
    from meshbridge.bridge.demo import run

    raise typer.Exit(run(once))
