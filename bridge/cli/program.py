"""The program `meshbridge`: its commands, and how their errors end it."""

import os
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup
from typing_extensions import override

from meshbridge.bridge.cli import (
    about,
    check,
    client,
    conformance,
    demo,
    diff,
    explain,
    get,
    migrate,
    preflight,
    record,
    run,
    support,
    tools,
    top,
    vm,
)
from meshbridge.bridge.cli.exits import CommandError, ExitCode
from meshbridge.schemas.errors import ConfigError, MeshbridgeError


@contextmanager
def exit_codes() -> Generator[None]:
    """Turn errors that are no bugs into messages on standard error and exit codes."""
    try:
        yield
        sys.stdout.flush()  # A broken pipe shall show here, not while the interpreter ends.
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except BrokenPipeError:
        _forget_stdout()
        raise typer.Exit(ExitCode.BROKEN_PIPE) from None
    except (CommandError, MeshbridgeError, ExceptionGroup) as error:
        expected = list(_flat(error))
        if not all(isinstance(one, CommandError | MeshbridgeError) for one in expected):
            raise
        for one in expected:
            typer.echo(str(one), err=True)
        raise typer.Exit(max(map(exit_code, expected))) from error


def _flat(error: Exception) -> Iterator[Exception]:
    """Give the errors of a task group one by one."""
    if isinstance(error, ExceptionGroup):
        for inner in error.exceptions:
            yield from _flat(inner)
    else:
        yield error


def exit_code(error: Exception) -> ExitCode:
    """Return the exit code that an error means."""
    if isinstance(error, CommandError):
        return error.code
    return ExitCode.USAGE if isinstance(error, ConfigError) else ExitCode.FAILED


def _forget_stdout() -> None:
    # What is still buffered would be written, and fail again, when the interpreter ends.
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


class Program(TyperGroup):
    """All commands, with exit codes."""

    @override
    def invoke(self, ctx: Any) -> Any:
        with exit_codes():
            return super().invoke(ctx)


app = typer.Typer(
    name="meshbridge",
    cls=Program,
    no_args_is_help=True,
    rich_markup_mode=None,  # Plain help: examples stay as written, and it is there at once.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="\b\nExamples:\n"
    "  meshbridge demo                         see it work, nothing else needed\n"
    "  meshbridge run -c meshbridge.yaml       serve\n"
    "  meshbridge get serviceentries           what is served\n"
    "  meshbridge explain shop.vms.mesh        why it is, or is not\n"
    "\n\b\nExit codes: 0 ok, 1 failed or not found, 2 usage or configuration, 3 bridge unreachable.",
)


@app.callback()
def _program() -> None:
    """Brings services from VM inventories and registries into an Istio mesh."""


for group in (
    run,
    check,
    get,
    explain,
    diff,
    record,
    top,
    client,
    preflight,
    conformance,
    support,
    vm,
    migrate,
    tools,
    demo,
    about,
):
    group.add_to(app)
