"""The command line."""

import sys


def main() -> None:
    """Run the command that the arguments name."""
    try:
        from meshbridge.bridge.cli.program import app

        app()
    except KeyboardInterrupt:  # While importing; later ones are the program's business.
        sys.exit(130)
