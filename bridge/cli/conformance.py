"""`meshbridge conformance`."""

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meshbridge.bridge.cli import output
from meshbridge.bridge.cli.exits import CommandError, ExitCode
from meshbridge.bridge.cli.options import CaFile
from meshbridge.bridge.cli.output import TableOrJson, TableOrJsonOption

if TYPE_CHECKING:
    import grpc

    from meshbridge.mcp.conformance.run import Result, Timing


class Protocol(StrEnum):
    """What to try."""

    SOTW = "sotw"
    DELTA = "delta"
    LEGACY = "legacy"
    ALL = "all"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog="\b\nExamples:\n"
        "  meshbridge conformance 127.0.0.1:16010\n"
        "  meshbridge conformance bridge.mesh:16010 --ca ca.pem --protocol sotw -o json\n"
        "\n\b\nExit codes: 0 all rules hold, 1 some don't, 2 usage, 3 server unreachable."
    )(conformance)


def conformance(
    server: Annotated[str, typer.Argument(help="The MCP server.", metavar="HOST:PORT")],
    protocol: Annotated[
        Protocol, typer.Option("--protocol", "-p", help="Which protocol to try; of `all`, those it speaks.")
    ] = Protocol.ALL,
    form: TableOrJsonOption = TableOrJson.TABLE,
    ca: CaFile = None,
    cert: Annotated[
        Path | None,
        typer.Option("--cert", metavar="FILE", help="PEM file with a certificate to show, and its key."),
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, metavar="SECONDS", help="How long to wait for an answer.")
    ] = 10.0,
) -> None:
    """Try whether an MCP server keeps its rules."""
    from meshbridge.mcp.conformance.run import Timing

    if not server.rpartition(":")[2].isdigit():
        raise CommandError(f"{server} is not HOST:PORT", ExitCode.USAGE)
    if cert is not None and ca is None:
        raise CommandError("--cert needs --ca", ExitCode.USAGE)
    output.log_to_stderr("warning")
    pems = [_read(path) if path else None for path in (ca, cert, cert)]
    results = asyncio.run(_run(server, protocol, pems, Timing(timeout)))
    _show(results, form)
    if any(found.result == "fail" for found in results):
        raise typer.Exit(ExitCode.FAILED)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}", ExitCode.USAGE) from error


async def _run(server: str, protocol: Protocol, pems: list[bytes | None], timing: "Timing") -> "list[Result]":
    from meshbridge.mcp.conformance.run import Unreachable, run

    protocols = (
        [one for one in Protocol if one is not Protocol.ALL] if protocol is Protocol.ALL else [protocol]
    )
    try:
        async with _channel(server, pems) as channel:
            results = await run(channel, protocols, timing)
    except Unreachable as error:
        raise CommandError(
            f"no MCP server answers at {server}: {error}; "
            "is the address right, and does it speak TLS (--ca)?",
            ExitCode.UNREACHABLE,
        ) from None
    if all(found.result == "skip" for found in results):
        raise CommandError(f"{server} speaks no protocol that was asked for")
    return results


def _channel(server: str, pems: list[bytes | None]) -> "grpc.aio.Channel":
    import grpc

    options = [("grpc.max_receive_message_length", -1)]
    if pems[0] is None:
        return grpc.aio.insecure_channel(server, options)
    return grpc.aio.secure_channel(server, grpc.ssl_channel_credentials(*pems), options)


def _show(results: "list[Result]", form: TableOrJson) -> None:
    if form is TableOrJson.JSON:
        import msgspec

        output.print_json(msgspec.to_builtins(results))
        return
    rows = [[found.protocol, found.result, found.rule, found.reason] for found in results]
    output.print_table(("PROTOCOL", "RESULT", "RULE", "REASON"), rows)
    counts = {word: sum(found.result == word for found in results) for word in ("pass", "fail", "skip")}
    output.talk(", ".join(f"{count} {word}" for word, count in counts.items() if count))
