"""`meshbridge top`."""

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from meshbridge.bridge.cli import kinds, output
from meshbridge.bridge.cli.exits import CommandError, ExitCode
from meshbridge.bridge.cli.options import AdminConfig, AdminUrl, CaFile, TokenFile, connect
from meshbridge.bridge.cli.output import Row
from meshbridge.bridge.cli.remote import Document, Remote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Group

_SHOWN = ("sources", "clients")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog="\b\nExamples:\n"
        "  meshbridge top\n"
        "  meshbridge top -c /etc/meshbridge/meshbridge.yaml --interval 1\n"
        "  meshbridge top --once          one look, as text\n"
        "\nEnds with Ctrl-C. A bridge that goes away is waited for."
    )(top)


def top(
    interval: Annotated[
        float, typer.Option("--interval", min=0.2, metavar="SECONDS", help="Time from one look to the next.")
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look once, and print.")] = False,
    admin: AdminUrl = "",
    config: AdminConfig = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
) -> None:
    """Show sources and clients of a running bridge, live."""
    remote = connect(admin, config, token_file, ca)
    if once or not sys.stdout.isatty():
        _print(look(remote))
    else:
        _follow(remote, interval)


def look(remote: Remote) -> dict[str, Document]:
    """Return what there is to show.

    Raises:
        CommandError: the bridge doesn't answer, or refuses.
    """
    return {"readyz": remote.readiness(), **{name: remote.items(name, {}) for name in _SHOWN}}


def headline(found: dict[str, Document]) -> str:
    """Return one line on the bridge as a whole."""
    ready = found["readyz"]
    state = "ready" if ready["ready"] else f"waits for {', '.join(ready['waitingFor'])}"
    sources = found["sources"]["items"]
    instances, held = (sum(item[key] for item in sources) for key in ("instances", "held"))
    generation = found["sources"]["generation"]
    text = f"{state}; {len(sources)} sources, {instances} instances, {held} held; publication {generation}"
    return f"{text}; reload refused: {ready['reloadError']}" if ready["reloadError"] else text


def rows(name: str, found: dict[str, Document], now: float) -> tuple[tuple[str, ...], list[Row]]:
    """Return the headers and cells of a list."""
    listing = next(kind for kind in kinds.LISTINGS if kind.name == name)
    return listing.headers, [listing.row(item, now) for item in found[name]["items"]]


def _print(found: dict[str, Document]) -> None:
    output.print_lines([headline(found)])
    for name in _SHOWN:
        output.print_lines([""])
        output.print_table(*rows(name, found, time.time()))


def _follow(remote: Remote, interval: float) -> None:
    from rich.live import Live

    with Live(screen=True, auto_refresh=False) as live:
        for screen in screens(remote):
            live.update(screen, refresh=True)
            time.sleep(interval)


def screens(remote: Remote) -> "Iterator[Group]":
    """Give what there is to see at each look; of a bridge that went away, what was seen last.

    Raises:
        CommandError: the bridge refuses to answer.
    """
    from rich.console import Group
    from rich.text import Text

    last, gone = Group(), ""
    while True:
        try:
            last, gone = _screen(look(remote)), ""
            yield last
        except CommandError as error:
            if error.code is not ExitCode.UNREACHABLE:
                raise
            gone = gone or time.strftime("%H:%M:%S")
            yield Group(Text(f"the bridge doesn't answer since {gone}; as it last was:\n", "red"), last)


def _screen(found: dict[str, Document]) -> "Group":
    from rich.console import Group
    from rich.text import Text

    head = Text(headline(found), style="bold" if found["readyz"]["ready"] else "bold yellow")
    tables = [output.coloured(*rows(name, found, time.time())) for name in _SHOWN]
    return Group(head, *(part for table in tables for part in (Text(), table)))
