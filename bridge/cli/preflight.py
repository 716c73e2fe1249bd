"""`meshbridge preflight`."""

import asyncio
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshbridge.bridge.cli import output
from meshbridge.bridge.cli.exits import CommandError, ExitCode
from meshbridge.bridge.cli.options import AdminConfig, AdminUrl, CaFile, TokenFile, connect
from meshbridge.bridge.cli.output import TableOrJson, TableOrJsonOption

if TYPE_CHECKING:
    from meshbridge.bridge.cli.remote import Remote
    from meshbridge.bridge.operate.findings import Finding
    from meshbridge.bridge.operate.istiod import IstiodDebug
    from meshbridge.bridge.operate.mesh_config import Served

HEADERS = ("CHECK", "VERDICT", "WHY")
_RESOURCES = ("serviceentries", "workloadentries", "workloadgroups")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog="\b\nExamples:\n"
        "  kubectl -n istio-system get configmap istio -o yaml > mesh.yaml\n"
        "  meshbridge preflight -c meshbridge.yaml --mesh-config mesh.yaml\n"
        "\n\b\n"
        "  kubectl -n istio-system port-forward deploy/istiod 15014 &\n"
        "  meshbridge preflight --mesh-config mesh.yaml --istiod 127.0.0.1:15014\n"
        "\nExits with 0 when nothing failed (warnings are no failures), with 1 otherwise."
    )(preflight)


def preflight(  # noqa: PLR0913, PLR0917 - every parameter is an option of the command
    mesh_config: Annotated[
        Path | None,
        typer.Option(
            "--mesh-config", metavar="FILE", help="istiod's MeshConfig or its ConfigMap; - reads stdin."
        ),
    ] = None,
    istiod: Annotated[
        str, typer.Option("--istiod", metavar="URL", help="istiod's debug interface, port 15014.")
    ] = "",
    istio_version: Annotated[
        str, typer.Option("--istio-version", metavar="X.Y", help="istiod's release.  [default: asked of it]")
    ] = "",
    server: Annotated[
        str,
        typer.Option("--server", metavar="HOST:PORT", help="Also try whether an MCP server answers there."),
    ] = "",
    wait: Annotated[
        float, typer.Option("--wait", min=0.1, metavar="SECONDS", help="How long to wait for --server.")
    ] = 5.0,
    form: TableOrJsonOption = TableOrJson.TABLE,
    admin: AdminUrl = "",
    config: AdminConfig = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
) -> None:
    """Check the way from a bridge to istiod.

    Looks at its mesh configuration, TLS, who is connected, and what was accepted: at whatever
    it is given. A running bridge is asked, too.
    """
    from meshbridge.bridge.operate.findings import Level

    debug = _debug(istiod)
    remote = connect(admin, config, token_file, ca)
    findings = [
        *_mesh_findings(mesh_config, config, _release(istio_version, debug)),
        *(_server_findings(server, ca, wait) if server else ()),
        *_bridge_findings(remote, debug),
    ]
    _show(findings, form)
    if any(found.level is Level.FAILED for found in findings):
        raise typer.Exit(ExitCode.FAILED)


def _debug(url: str) -> "IstiodDebug | None":
    from meshbridge.bridge.operate.istiod import IstiodDebug

    try:
        return IstiodDebug(url) if url else None
    except ValueError as error:
        raise CommandError(f"--istiod {error}", ExitCode.USAGE) from None


def _release(text: str, debug: "IstiodDebug | None") -> tuple[int, int] | None:
    from meshbridge.bridge.operate.istiod import IstiodUnreachableError, parse_release

    if text:
        found = parse_release(text)
        if found is None:
            raise CommandError(f"--istio-version {text} is no release; write X.Y, as in 1.31", ExitCode.USAGE)
        return found
    try:
        return debug.release() if debug else None
    except IstiodUnreachableError:
        return None  # Told when its objects are asked for.


def _mesh_findings(
    mesh_config: Path | None, config: Path | None, release: tuple[int, int] | None
) -> "Iterator[Finding]":
    from meshbridge.bridge.operate.findings import warning
    from meshbridge.bridge.operate.mesh_config import check_mesh_config, read_mesh_config

    if mesh_config is None:
        yield warning("config sources", "not looked at; give istiod's configuration with --mesh-config FILE")
        return
    try:
        text = sys.stdin.read() if str(mesh_config) == "-" else mesh_config.read_text(encoding="utf-8")
        mesh = read_mesh_config(text)
    except OSError as error:
        raise CommandError(f"{mesh_config}: {error.strerror}", ExitCode.USAGE) from error
    except ValueError as error:
        raise CommandError(f"{mesh_config}: {error}", ExitCode.USAGE) from None
    yield from check_mesh_config(mesh, _served(config) if config else None, release)


def _served(config: Path) -> "Served | None":
    from meshbridge.bridge.config.fields import split_listen
    from meshbridge.bridge.config.loading import load
    from meshbridge.bridge.operate.mesh_config import Served

    mcp = load(config, os.environ).outputs.mcp
    if not mcp.enabled:
        return None
    host, port = split_listen(mcp.listen)
    return Served(host, port, mcp.tls is not None, mcp.tls is not None and bool(mcp.tls.client_ca_file))


def _server_findings(server: str, ca: Path | None, within: float) -> "Iterator[Finding]":
    from meshbridge.bridge.operate.findings import failed, ok
    from meshbridge.mcp.client import ClientSettings, IstiodClient

    settings = ClientSettings(ca_pem=_authorities(ca))

    async def answers() -> bool:
        async with IstiodClient(server, settings) as found:
            try:
                await found.wait_for(lambda seen: seen.is_connected and not seen.unsynced, within)
            except TimeoutError:
                return False
            return True

    output.log_to_stderr("warning")
    if asyncio.run(answers()):
        yield ok("server", f"{server} answers as an MCP server")
    else:
        tls = "" if ca else ", or speaks TLS (--ca)"
        yield failed(
            "server", f"{server} gave no answers within {within:g}s: it is not there, still loads{tls}"
        )


def _authorities(ca: Path | None) -> bytes:
    try:
        return ca.read_bytes() if ca else b""
    except OSError as error:
        raise CommandError(f"{ca}: {error.strerror}", ExitCode.USAGE) from error


def _bridge_findings(remote: "Remote", debug: "IstiodDebug | None") -> "Iterator[Finding]":
    from meshbridge.bridge.operate.connected import check_clients, check_readiness
    from meshbridge.bridge.operate.findings import warning

    try:
        yield check_readiness(remote.readiness())
        clients = remote.items("clients", {})["items"]
        resources = [item for kind in _RESOURCES for item in remote.items(kind, {})["items"]]
    except CommandError as error:
        if error.code is not ExitCode.UNREACHABLE:
            raise
        yield warning("bridge", f"not looked at: {str(error).splitlines()[0]}")
        return
    yield from check_clients(clients, resources)
    if debug:
        yield from _accepted(debug, [item["object"] for item in resources], clients)


def _accepted(
    debug: "IstiodDebug", served: list[Mapping[str, Any]], clients: list[Mapping[str, Any]]
) -> "Iterator[Finding]":
    from meshbridge.bridge.operate.accepted import compare, findings
    from meshbridge.bridge.operate.findings import warning
    from meshbridge.bridge.operate.istiod import IstiodUnreachableError

    revisions = {client["revision"] for client in clients}
    try:
        held = debug.objects()
    except IstiodUnreachableError as error:
        yield warning("accepted", f"not looked at: {error}")
        return
    yield from findings(compare(served, held, revisions.pop() if len(revisions) == 1 else ""))


def _show(findings: "list[Finding]", form: TableOrJson) -> None:
    if form is TableOrJson.JSON:
        rows = [{"check": one.subject, "verdict": one.level.value, "why": one.text} for one in findings]
        output.print_json({"items": rows})
    else:
        output.print_table(HEADERS, [[one.subject, one.level.value, one.text] for one in findings])
