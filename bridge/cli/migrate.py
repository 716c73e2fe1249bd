"""`meshbridge import`."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meshbridge.bridge.cli.exits import CommandError, ExitCode
from meshbridge.bridge.cli.output import talk

if TYPE_CHECKING:
    from meshbridge.bridge.migrate.draft import Draft

_HELP = (
    "Print a configuration made of another bridge's.\n\n"
    "What can't be taken along is told, and noted in the first lines."
)

Strict = Annotated[
    bool,
    typer.Option("--strict", help="Exit with 1 when something can't be taken along or has to be looked at."),
]
File = Annotated[str, typer.Argument(help="A YAML or JSON file; - reads stdin.", metavar="FILE")]
Flags = Annotated[list[str] | None, typer.Argument(help="The flags, after --.", metavar="[FLAGS]...")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        help=_HELP,
        short_help="Print a configuration made of another bridge's.",
        no_args_is_help=True,
        rich_markup_mode=None,
        epilog="\b\nExamples:\n"
        "  meshbridge import higress mcpbridge.yaml > meshbridge.yaml\n"
        "  meshbridge import dubbo2istio -- -name prod -addr zk:2181",
    )
    group.command(
        epilog="\b\nExample:\n"
        "  kubectl -n higress-system get mcpbridge default -o yaml | \\\n"
        "    meshbridge import higress - > meshbridge.yaml"
    )(higress)
    group.command(
        epilog="\b\nExample:\n"
        "  kubectl -n mesh-operator get configmap slime-boot -o yaml | \\\n"
        "    meshbridge import meshregistry - > meshbridge.yaml"
    )(meshregistry)
    group.command(
        epilog="\b\nExample:\n"
        "  meshbridge import consul2istio -- -consulAddress consul:8500 -fqdn consul.mesh"
    )(consul2istio)
    group.command(epilog="\b\nExample:\n  meshbridge import dubbo2istio -- -name prod -addr zk:2181")(
        dubbo2istio
    )
    app.add_typer(group, name="import")


def higress(file: File, strict: Strict = False) -> None:
    """Take a McpBridge of Higress."""
    from meshbridge.bridge.migrate.higress import from_mcp_bridge

    _print(lambda: from_mcp_bridge(_document(file)), file, strict=strict)


def meshregistry(file: File, strict: Strict = False) -> None:
    """Take the arguments of slime's meshregistry."""
    from meshbridge.bridge.migrate.meshregistry import from_args

    _print(lambda: from_args(_document(file)), file, strict=strict)


def consul2istio(flags: Flags = None, strict: Strict = False) -> None:
    """Take the flags of consul2istio."""
    from meshbridge.bridge.migrate.flags import from_consul2istio

    _print(lambda: from_consul2istio(flags or []), "flags", strict=strict)


def dubbo2istio(flags: Flags = None, strict: Strict = False) -> None:
    """Take the flags of dubbo2istio."""
    from meshbridge.bridge.migrate.flags import from_dubbo2istio

    _print(lambda: from_dubbo2istio(flags or []), "flags", strict=strict)


def _document(file: str) -> object:
    import yaml

    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        found: object = yaml.safe_load(text)
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}", ExitCode.USAGE) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise CommandError(
            f"{file}: is not YAML: {' '.join(str(error).split())[:200]}", ExitCode.USAGE
        ) from None
    return found


def _print(make: "Callable[[], Draft]", origin: str, *, strict: bool) -> None:
    from meshbridge.bridge.migrate import draft as drafts

    try:
        draft = make()
        sys.stdout.write(drafts.text(draft))
    except ValueError as error:
        raise CommandError(f"{origin}: {error}", ExitCode.USAGE) from None
    for note in draft.notes:
        talk(note)
    if strict and draft.notes:
        raise typer.Exit(ExitCode.FAILED)
