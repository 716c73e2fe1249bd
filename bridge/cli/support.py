"""`meshbridge support-bundle`."""

import io
import tarfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from meshbridge.bridge.cli import output
from meshbridge.bridge.cli.exits import CommandError
from meshbridge.bridge.cli.options import AdminConfig, AdminUrl, CaFile, TokenFile, connect
from meshbridge.bridge.cli.output import talk
from meshbridge.bridge.cli.remote import Remote

_ALWAYS = ("sources", "services", "clients", "held", "quarantine", "conflicts")
_RESOURCES = ("serviceentries", "workloadentries", "workloadgroups")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "support-bundle",
        epilog="\b\nExamples:\n"
        "  meshbridge support-bundle -c /etc/meshbridge/meshbridge.yaml\n"
        "  meshbridge support-bundle -c meshbridge.yaml --resources --output bundle.tar.gz\n"
        "\nIt holds versions, the configuration as written, and what the bridge says of itself. "
        "Secrets are taken out: values that sound like some, credentials in URLs, and the content of every "
        "token and password file of the configuration. Host names and addresses stay in: look before "
        "you send it.",
    )(support_bundle)


def support_bundle(
    target: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="The archive.  [default: meshbridge-TIME.tar.gz]"
        ),
    ] = None,
    resources: Annotated[
        bool, typer.Option("--resources", help="Also everything that is served, which can be large.")
    ] = False,
    admin: AdminUrl = "",
    config: AdminConfig = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
) -> None:
    """Gather what helps to find a fault, without secrets."""
    from meshbridge.bridge.operate.support import members

    remote = connect(admin, config, token_file, ca)
    found = members(config, _questions(remote, with_resources=resources))
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    path = target or Path(f"meshbridge-{stamp}.tar.gz")
    try:
        path.write_bytes(archive(found, f"meshbridge-{stamp}", time.time()))
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error
    output.print_lines([str(path)])
    for name, text in found.items():
        if text.startswith("not to be had: "):
            talk(f"{name}: {text.splitlines()[0]}")


def _questions(remote: Remote, *, with_resources: bool) -> Mapping[str, Callable[[], object]]:
    collections = (*_ALWAYS, *(_RESOURCES if with_resources else ()))
    return {
        "readyz.json": remote.readiness,
        "metrics.txt": remote.metrics,
        **{f"{name}.json": _list(remote, name) for name in collections},
    }


def _list(remote: Remote, name: str) -> Callable[[], object]:
    return lambda: remote.items(name, {})


def archive(texts: Mapping[str, str], folder: str, now: float) -> bytes:
    """Return a compressed tar archive of the texts in a folder, made at a Unix time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in texts.items():
            content = text.encode("utf-8", errors="replace")
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size, member.mtime, member.mode = len(content), int(now), 0o600
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
