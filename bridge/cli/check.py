"""`meshbridge check`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meshbridge.bridge.cli import output
from meshbridge.bridge.cli.exits import ExitCode
from meshbridge.bridge.cli.options import ConfigFile
from meshbridge.bridge.cli.output import talk

if TYPE_CHECKING:
    from meshbridge.bridge.check import SourceCheck
    from meshbridge.bridge.config.models import Config

HEADERS = ("NAME", "KIND", "OK", "SERVICES", "INSTANCES", "PROBLEMS")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog="\b\nExamples:\n"
        "  meshbridge check -c meshbridge.yaml\n"
        "  meshbridge check -c meshbridge.yaml --connect\n"
        "\nExits with 0 when all is well, with 1 when a source can't be read, "
        "with 2 when the configuration is wrong."
    )(check)


def check(
    config: ConfigFile,
    connect: Annotated[
        bool, typer.Option("--connect", help="Also read every source once and convert what it has.")
    ] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, metavar="SECONDS", help="How long to wait for each source.")
    ] = 30.0,
) -> None:
    """Tell everything that is wrong with a configuration."""
    from meshbridge.bridge.config.loading import load

    found = load(config, os.environ)
    if not connect:
        output.print_lines([summary(config, found)])
        return
    import asyncio

    from meshbridge.bridge.check import check_sources

    output.log_to_stderr("warning")
    checks = asyncio.run(check_sources(found, timeout))
    _show(checks)
    if not all(one.ok for one in checks):
        raise typer.Exit(ExitCode.FAILED)


def summary(file: Path, config: "Config") -> str:
    """Return one line that says what the configuration holds."""
    sources = ", ".join(source.name for source in config.sources)
    mcp = config.outputs.mcp
    served = f"MCP on {mcp.listen}" if mcp.enabled else "MCP off"
    return f"{file}: ok. Sources: {sources}. {served}, admin on {config.admin.listen}."


def _show(checks: "list[SourceCheck]") -> None:
    rows = [
        [
            one.name,
            one.kind,
            "yes" if one.ok else "no",
            str(one.services),
            str(one.instances),
            str(len(one.problems)),
        ]
        for one in checks
    ]
    output.print_table(HEADERS, rows)
    for one in checks:
        for problem in [one.error, *one.problems] if one.error else one.problems:
            talk(f"{one.name}: {problem}")
