"""`meshbridge client`."""

import asyncio
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meshbridge.bridge.cli import output
from meshbridge.bridge.cli.exits import CommandError, ExitCode
from meshbridge.bridge.cli.options import CaFile
from meshbridge.bridge.cli.output import Format, OutputOption, Table
from meshbridge.bridge.cli.watch import Event

if TYPE_CHECKING:
    from meshbridge.mcp.client import ClientSettings, IstiodClient
    from meshbridge.mcp.client_store import Change, Held

KINDS = {
    **dict.fromkeys(("serviceentries", "serviceentry", "se"), "ServiceEntry"),
    **dict.fromkeys(("workloadentries", "workloadentry", "we"), "WorkloadEntry"),
    **dict.fromkeys(("workloadgroups", "workloadgroup", "wg"), "WorkloadGroup"),
}

Entries = Mapping[str, "Held"]
"""What is held of one type, by namespace/name."""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog="\b\nExamples:\n"
        "  meshbridge client 127.0.0.1:16010\n"
        "  meshbridge client 127.0.0.1:16010 --follow --kind serviceentries\n"
        "  meshbridge client bridge.mesh:16010 --ca ca.pem -o yaml\n"
        "  meshbridge client bridge.mesh:16010 --delta --follow"
    )(client)


def client(  # noqa: PLR0913, PLR0917 - every parameter is an option of the command
    server: Annotated[str, typer.Argument(help="The MCP server.", metavar="HOST:PORT")],
    follow: Annotated[
        bool,
        typer.Option("--follow/--once", help="Go on and show each change, or exit after the first answers."),
    ] = False,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind", "-k", metavar="KIND", help="Only this kind; may be repeated.  [default: all three]"
        ),
    ] = None,
    delta: Annotated[
        bool, typer.Option("--delta", help="Speak the delta protocol, as consumers other than istiod do.")
    ] = False,
    form: OutputOption = Format.TABLE,
    ca: CaFile = None,
    timeout: Annotated[
        float,
        typer.Option("--timeout", min=0.1, metavar="SECONDS", help="How long to wait for the first answers."),
    ] = 10.0,
) -> None:
    """Show what any MCP-over-xDS server gives to an istiod."""
    if follow and form is Format.YAML:
        raise CommandError("--follow goes with -o table, json or name", ExitCode.USAGE)
    if not server.rpartition(":")[2].isdigit():
        raise CommandError(f"{server} is not HOST:PORT", ExitCode.USAGE)
    kinds = list(dict.fromkeys(_kind(word) for word in kind or ["se", "we", "wg"]))
    output.log_to_stderr("info" if follow else "warning")
    show = _follow if follow else _once
    asyncio.run(show(server, _settings(kinds, ca, delta=delta), form, timeout))


def _kind(word: str) -> str:
    found = KINDS.get(word.lower())
    if found is None:
        from meshbridge.bridge.wording import did_you_mean

        guess = did_you_mean(word, KINDS)
        raise CommandError(
            f'there is no kind "{word}"{guess}; known are serviceentries, workloadentries, workloadgroups',
            ExitCode.USAGE,
        )
    return found


def _settings(kinds: list[str], ca: Path | None, *, delta: bool) -> "ClientSettings":
    from meshbridge.mcp.client import ClientSettings

    try:
        pem = ca.read_bytes() if ca else b""
    except OSError as error:
        raise CommandError(f"{ca}: {error.strerror}", ExitCode.USAGE) from error
    types = tuple(f"networking.istio.io/v1/{kind}" for kind in kinds)
    return ClientSettings(types=types, ca_pem=pem, delta=delta)


async def _once(server: str, settings: "ClientSettings", form: Format, within: float) -> None:
    from meshbridge.mcp.client import IstiodClient

    async with IstiodClient(server, settings) as found:
        await _wait_for_answers(found, server, within)
    _show([pair for entries in found.entries.values() for pair in sorted(entries.items())], form)


async def _wait_for_answers(found: "IstiodClient", server: str, within: float) -> None:
    try:
        await found.wait_for(lambda seen: not seen.unsynced, within)
    except TimeoutError:
        if not found.counters.streams or not found.is_connected:
            raise CommandError(
                f"no MCP server answers at {server} within {within:g}s; is the address right, "
                "and does it speak TLS (--ca)?",
                ExitCode.UNREACHABLE,
            ) from None
        kinds = ", ".join(sorted(url.rpartition("/")[2] for url in found.unsynced))
        raise CommandError(
            f"{server} is connected but gave no answer for {kinds} within {within:g}s; "
            "a bridge holds its answers until its sources have been read (see its /readyz)"
        ) from None


def _show(pairs: list[tuple[str, "Held"]], form: Format) -> None:
    from meshbridge.bridge.cli import held

    match form:
        case Format.TABLE if not pairs:
            output.talk("the server holds nothing of these kinds")
        case Format.TABLE:
            output.print_table(held.HEADERS, [held.held_row(*pair) for pair in pairs])
        case Format.NAME:
            output.print_lines(_named(*pair) for pair in pairs)
        case Format.JSON:
            objects = [held.held_object(*pair) for pair in pairs]
            output.print_json({"apiVersion": "v1", "kind": "List", "items": objects})
        case Format.YAML:
            output.print_yaml(held.held_object(*pair) for pair in pairs)


def _named(name: str, found: "Held") -> str:
    return f"{found.kind.lower()}/{name}"


async def _follow(server: str, settings: "ClientSettings", form: Format, within: float) -> None:
    from meshbridge.bridge.cli import held
    from meshbridge.mcp.client import IstiodClient

    arrived: asyncio.Queue[tuple[Change, Entries]] = asyncio.Queue()

    def note(change: "Change") -> None:
        arrived.put_nowait((change, following.entries.get(change.type_url, {})))

    following = IstiodClient(server, settings, note)
    table = Table(("EVENT", *held.HEADERS))
    output.print_lines(table.lines([]) if form is Format.TABLE else ())
    known: dict[str, Entries] = {}
    async with following:
        await _wait_for_answers(following, server, within)
        while True:
            change, entries = await arrived.get()
            before = known.get(change.type_url, {})
            known[change.type_url] = entries
            _show_changes(list(_events(change, before, entries)), form, table)


def _events(change: "Change", before: Entries, after: Entries) -> "Iterator[tuple[Event, str, Held]]":
    for name in change.added:
        yield Event.ADDED, name, after[name]
    for name in change.changed:
        yield Event.MODIFIED, name, after[name]
    for name in change.removed:
        yield Event.DELETED, name, before[name]


def _show_changes(found: "list[tuple[Event, str, Held]]", form: Format, table: Table) -> None:
    from meshbridge.bridge.cli import held

    if form is Format.TABLE and found:
        rows = [[event, *held.held_row(name, entry)] for event, name, entry in found]
        output.print_lines(table.lines(rows, header=False))
    for event, name, entry in found:
        if form is Format.NAME:
            output.print_lines([_named(name, entry)])
        elif form is Format.JSON:
            output.print_json_line({"type": event, "object": held.held_object(name, entry)})
    sys.stdout.flush()
