"""`meshbridge run`."""

import typer

from meshbridge.bridge.cli.options import ConfigFile


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog="\b\nExample:\n"
        "  meshbridge run -c /etc/meshbridge/meshbridge.yaml\n"
        "  kill -HUP PID          reloads the configuration (a changed file does, too)"
    )(run)


def run(config: ConfigFile) -> None:
    """Watch the configured sources and serve them to istiod.

    Ends when interrupted.
    """
    import asyncio

    from meshbridge.bridge.app import serve

    asyncio.run(serve(config))
