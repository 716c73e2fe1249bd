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
        "  meshbridge check -c meshbridge.yaml --connect --strict\n"
        "\nWarnings tell of rules that can't be meant as they are written: that never decide anything, "
        "that name no source; with --connect also of rules that match nothing, of services that no rule "
        "matches, and of services that collide in one host.\n"
        "\nExits with 0 when all is well, with 1 when a source can't be read, or with --strict when there "
        "is a warning, with 2 when the configuration is wrong."
    )(check)


def check(
    config: ConfigFile,
    connect: Annotated[
        bool, typer.Option("--connect", help="Also read every source once and convert what it has.")
    ] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, metavar="SECONDS", help="How long to wait for each source.")
    ] = 30.0,
    strict: Annotated[bool, typer.Option("--strict", help="Fail when there is a warning.")] = False,
) -> None:
    """Tell everything that is wrong with a configuration."""
    from meshbridge.bridge.check import check_rules, check_sources
    from meshbridge.bridge.config.loading import load

    found = load(config, os.environ)
    warnings = check_rules(found)
    failed = False
    if connect:
        import asyncio

        output.log_to_stderr("warning")
        checked = asyncio.run(check_sources(found, timeout))
        warnings += checked.warnings
        failed = not all(one.ok for one in checked.sources)
        _show(checked.sources)
    else:
        output.print_lines([summary(config, found)])
    for warning in warnings:
        talk(f"warning: {warning}")
    if failed or (strict and warnings):
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
