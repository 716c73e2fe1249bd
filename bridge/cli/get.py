"""`meshbridge get`."""

import time
from collections.abc import Sequence
from typing import Annotated

import typer

from meshbridge.bridge.cli import kinds, output
from meshbridge.bridge.cli.exits import CommandError, ExitCode
from meshbridge.bridge.cli.kinds import Item, Listing
from meshbridge.bridge.cli.options import AdminConfig, AdminUrl, CaFile, TokenFile, connect
from meshbridge.bridge.cli.output import Format, OutputOption, Table, talk
from meshbridge.bridge.cli.remote import Document, Remote
from meshbridge.bridge.cli.watch import Change, changes


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog="\b\nExamples:\n"
        "  meshbridge get serviceentries\n"
        "  meshbridge get se shop.vms.mesh -o yaml\n"
        "  meshbridge get se --source vms -o yaml | kubectl apply -f -\n"
        "  meshbridge get workloadentries -n legacy -o name\n"
        "  meshbridge get sources --watch\n"
        "\n\b\nRESOURCE is one of:\n"
        "  serviceentries (se), workloadentries (we), workloadgroups (wg): as served\n"
        "  services (svc): what they are made of\n"
        "  conflicts: what sources say differently of one service, who wins, and why\n"
        "  sources: the registries and how they fare\n"
        "  instances: what the registries hold, one by one\n"
        "  held: instances that only the guard keeps, since when and why\n"
        "  quarantine: what istiod would refuse and is kept out\n"
        "  clients: the istiods that are connected, and what they have taken\n"
        "  outputs: what is written to Kubernetes, and how that fares"
    )(get)


def get(  # noqa: PLR0913, PLR0917 - every parameter is an option of the command
    resource: Annotated[
        str,
        typer.Argument(help="What to show, see below.", metavar="RESOURCE", autocompletion=kinds.words),
    ],
    name: Annotated[str, typer.Argument(help="Only this one: its name, or its host.", metavar="NAME")] = "",
    form: OutputOption = Format.TABLE,
    source: Annotated[str, typer.Option("--source", "-s", help="Only what comes from this source.")] = "",
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Only this namespace.")] = "",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on and show each change.")] = False,
    admin: AdminUrl = "",
    config: AdminConfig = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
) -> None:
    """Show what a running bridge serves, and to whom.

    With -o yaml (or json), resources come out as `kubectl apply -f -` takes them.
    """
    listing = _listing(resource)
    if watch and form is Format.YAML:
        raise CommandError("--watch goes with -o table, json or name", ExitCode.USAGE)
    remote = connect(admin, config, token_file, ca)
    query = {"name": name, "source": source, "namespace": namespace}
    answer = remote.items(listing.name, query)
    if name and not answer["items"]:
        raise _not_found(remote, listing, name)
    if watch:
        _follow(remote, listing, query, form)
    else:
        show(listing, answer, form, time.time())
        _remark(remote, listing, answer["items"])


def _listing(word: str) -> Listing:
    found = kinds.find(word)
    if found is None:
        from meshbridge.bridge.wording import did_you_mean

        known = ", ".join(listing.name for listing in kinds.LISTINGS)
        guess = did_you_mean(word, kinds.words())
        raise CommandError(f'there are no "{word}"{guess}; known are {known}', ExitCode.USAGE)
    return found


def _not_found(remote: Remote, listing: Listing, name: str) -> CommandError:
    from meshbridge.bridge.wording import did_you_mean

    known = [listing.identity(item).rpartition("/")[2] for item in remote.items(listing.name, {})["items"]]
    return CommandError(f'{listing.name} "{name}" not found{did_you_mean(name, known)}')


def show(listing: Listing, answer: Document, form: Format, now: float) -> None:
    """Print a list in a form."""
    items = answer["items"]
    match form:
        case Format.TABLE if not items:
            talk(f"no {listing.name} found")
        case Format.TABLE:
            output.print_table(listing.headers, [listing.row(item, now) for item in items])
        case Format.NAME:
            output.print_lines(_named(listing, item) for item in items)
        case Format.JSON:
            output.print_json(_kubernetes_list(items) if listing.is_resource else answer)
        case Format.YAML:
            output.print_yaml([item["object"] for item in items] if listing.is_resource else [answer])


def _named(listing: Listing, item: Item) -> str:
    return f"{listing.singular}/{listing.identity(item)}"


def _kubernetes_list(items: Sequence[Item]) -> Document:
    return {"apiVersion": "v1", "kind": "List", "items": [item["object"] for item in items]}


def _remark(remote: Remote, listing: Listing, items: Sequence[Item]) -> None:
    """Tell what the columns of sources don't."""
    if listing.name != "sources":
        return
    for item in items:
        if item["error"]:
            talk(f"{item['name']} is {item['state']}: {item['error']}")
        if item["held"]:
            talk(
                f"{item['name']} lost {item['held']} instances at once, which the guard keeps; when they are "
                f"really gone: meshbridge release {item['name']}"
            )
        if item["details"].get("probes", "").startswith("frozen"):
            talk(f"{item['name']}: probes are {item['details']['probes']}")
        if item["details"].get("without_service"):
            talk(f"{item['name']} left out: {item['details']['without_service']}")
    state = remote.readiness()
    if not state["ready"]:
        talk(f"the bridge is not ready, it waits for {', '.join(state['waitingFor'])}")
    if state["reloadError"]:
        talk(f"the last reload was refused: {state['reloadError']}")


def _follow(remote: Remote, listing: Listing, query: dict[str, str], form: Format) -> None:
    table = Table(("EVENT", *listing.headers))
    known: Sequence[Item] = ()
    position: dict[str, str | int | float] = {}
    is_first = True
    while True:
        answer = remote.items(listing.name, {**query, **position}, listing.poll_seconds)
        found = changes(listing, known, answer["items"])
        _show_changes(listing, found, form, table, header=is_first)
        known, is_first = answer["items"], False
        position = {"generation": answer["generation"], "wait": listing.poll_seconds}


def _show_changes(
    listing: Listing, found: Sequence[Change], form: Format, table: Table, *, header: bool
) -> None:
    import sys

    if form is Format.TABLE:
        rows = [[change.event, *listing.row(change.item, time.time())] for change in found]
        output.print_lines(table.lines(rows, header=header) if rows or header else ())
    for change in found:
        if form is Format.NAME:
            output.print_lines([_named(listing, change.item)])
        elif form is Format.JSON:
            body = change.item["object"] if listing.is_resource else change.item
            output.print_json_line({"type": change.event, "object": body})
    sys.stdout.flush()
