"""`meshbridge explain` and `meshbridge release`."""

from typing import Annotated

import typer

from meshbridge.bridge.cli import output
from meshbridge.bridge.cli.exits import CommandError, ExitCode
from meshbridge.bridge.cli.options import AdminConfig, AdminUrl, CaFile, TokenFile, connect
from meshbridge.bridge.cli.output import Table, TableOrJson, TableOrJsonOption, talk
from meshbridge.bridge.cli.remote import Document


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        epilog="\b\nExamples:\n"
        "  meshbridge explain shop.vms.mesh\n"
        "  meshbridge explain 10.0.0.7 -o json\n"
        "\nExits with 0 when something that matches is served, with 1 when nothing is."
    )(explain)
    app.command(
        epilog="\b\nExample:\n"
        "  meshbridge get sources                        HELD is more than 0\n"
        "  meshbridge release vms --token-file /etc/meshbridge/token\n"
        "  meshbridge release config --admin unix:///run/meshbridge/admin.sock"
    )(release)


def explain(
    subject: Annotated[
        str,
        typer.Argument(help="A host, a service, an instance id or an address.", metavar="HOST-OR-ADDRESS"),
    ],
    form: TableOrJsonOption = TableOrJson.TABLE,
    admin: AdminUrl = "",
    config: AdminConfig = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
) -> None:
    """Tell why something is, or is not, in the mesh.

    Shows each stage that it passes and the verdict there.
    """
    answer = connect(admin, config, token_file, ca).items("explain", {"q": subject})
    if form is TableOrJson.JSON:
        output.print_json(answer)
    else:
        output.print_lines(explanation_lines(answer))
    if not answer["items"]:
        raise CommandError(f"neither the sources nor the mesh know {subject}")
    if not any(item["served"] for item in answer["items"]):
        raise typer.Exit(ExitCode.FAILED)


def explanation_lines(answer: Document) -> list[str]:
    """Return the explanations as text, a paragraph each."""
    lines: list[str] = []
    for item in answer["items"]:
        rows = [[step["stage"], step["verdict"], step["text"]] for step in item["steps"]]
        lines += [""] if lines else []
        lines.append(f"{item['subject']}: {'served' if item['served'] else 'not served'}")
        lines += [f"  {line}" for line in Table(("STAGE", "VERDICT", "WHY")).lines(rows)]
    return lines


def release(
    source: Annotated[str, typer.Argument(help="Name of the source, or `config`.", metavar="SOURCE|config")],
    admin: AdminUrl = "",
    config: AdminConfig = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
) -> None:
    """Let go what only the guard keeps of a source.

    They left in a suspicious number; release them when they are really gone. A source that was empty
    from the start is believed then. `config` puts into force what was refused for what it would remove.

    Other replicas are told, too. It needs the admin interface's token or its unix socket.
    """
    answer = connect(admin, config, token_file, ca).release(source)
    what = "hosts" if source == "config" else "instances"
    output.print_lines([f"released {answer['released']} {what} of {source}"])
    for peer, said in answer.get("peers", {}).items():
        talk(f"peer {peer}: {said}")
