"""`meshbridge diff`."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meshbridge.bridge.cli import output
from meshbridge.bridge.cli.exits import CommandError, ExitCode
from meshbridge.bridge.cli.options import AdminUrl, CaFile, ConfigFile, TokenFile, connect
from meshbridge.bridge.cli.output import TableOrJson, TableOrJsonOption, talk

if TYPE_CHECKING:
    from meshbridge.bridge.planning import Difference, Object, Planned

KINDS = ("serviceentries", "workloadentries", "workloadgroups")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog="\b\nExamples:\n"
        "  meshbridge diff -c new.yaml                            against the running bridge\n"
        "  meshbridge run -c meshbridge.yaml --dry-run > now.yaml\n"
        "  meshbridge diff -c new.yaml --against now.yaml         against a snapshot\n"
        "  kubectl get se -A -o yaml > cluster.yaml               a snapshot, too\n"
        "\nExits with 0 when nothing differs, with 1 when something does or a source can't be read, "
        "with 3 when no bridge answers."
    )(diff)


def diff(  # noqa: PLR0913, PLR0917 - every parameter is an option of the command
    config: ConfigFile,
    against: Annotated[
        Path | None,
        typer.Option("--against", metavar="FILE", help="A snapshot: YAML or JSON as kubectl prints it."),
    ] = None,
    form: TableOrJsonOption = TableOrJson.TABLE,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, metavar="SECONDS", help="How long to wait for each source.")
    ] = 30.0,
    admin: AdminUrl = "",
    token_file: TokenFile = None,
    ca: CaFile = None,
) -> None:
    """Tell what a configuration would add, remove and change.

    Reads every source once and converts what it has; changes nothing.
    """
    from meshbridge.bridge.planning import differences

    planned = planned_by(config, timeout)
    before = _snapshot(against) if against else _running(admin, config, token_file, ca)
    found = differences(before, planned.objects)
    _show(found, form)
    if found:
        raise typer.Exit(ExitCode.FAILED)


def planned_by(config: Path, timeout: float) -> "Planned":
    """Return what a configuration would publish.

    Raises:
        CommandError: a source can't be read, so that the rest would be no whole.
        ConfigError: the configuration is wrong.
    """
    import asyncio

    from meshbridge.bridge.config.loading import load
    from meshbridge.bridge.planning import plan

    output.log_to_stderr("warning")
    planned = asyncio.run(plan(load(config, os.environ), timeout))
    failed = [f"{check.name}: {check.error}" for check in planned.checks if not check.ok]
    if failed:
        raise CommandError("\n".join(failed))
    return planned


def _running(admin: str, config: Path, token_file: Path | None, ca: Path | None) -> "list[Object]":
    remote = connect(admin, config, token_file, ca)
    return [item["object"] for kind in KINDS for item in remote.items(kind, {})["items"]]


def _snapshot(path: Path) -> "list[Object]":
    import yaml

    from meshbridge.bridge.planning import flattened

    try:
        return flattened(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise CommandError(f"{path}: {reason}", ExitCode.USAGE) from error


def _show(found: "Sequence[Difference]", form: TableOrJson) -> None:
    if form is TableOrJson.JSON:
        import msgspec

        output.print_json({"items": msgspec.to_builtins(found)})
        return
    output.print_lines(line for one in found for line in one.lines())
    counts = {word: sum(one.change == word for one in found) for word in ("added", "removed", "changed")}
    talk(", ".join(f"{count} {word}" for word, count in counts.items()))
