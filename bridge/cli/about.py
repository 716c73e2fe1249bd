"""`meshbridge schema` and `meshbridge version`."""

import sys

import typer

from meshbridge.bridge.cli import output


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        epilog="\b\nExample:\n"
        "  meshbridge schema > meshbridge.schema.json\n"
        "  and in the first line of meshbridge.yaml, for editors:\n"
        "  # yaml-language-server: $schema=meshbridge.schema.json"
    )(schema)
    app.command(epilog="\b\nExample:\n  meshbridge version")(version)


def schema() -> None:
    """Print the JSON Schema of the configuration file."""
    from meshbridge.bridge.config.schema import schema_text

    sys.stdout.write(schema_text())


def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    output.print_lines([f"meshbridge {installed('meshbridge')}"])
