"""`meshbridge tools`: what helps to try things out."""

import asyncio
import importlib.util
import re
import signal
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meshbridge.bridge.cli.exits import CommandError, ExitCode
from meshbridge.bridge.cli.output import talk

if TYPE_CHECKING:
    from meshbridge.adapters.eureka.registering import Registration, Server

_URL = re.compile(r"https?://[^\s@?#/]+(/[^\s@?#]*)?")
_APP = re.compile(r"[A-Za-z0-9_.-]{1,200}")


class Status(StrEnum):
    """What a Eureka instance says of itself."""

    UP = "UP"
    DOWN = "DOWN"
    STARTING = "STARTING"
    OUT_OF_SERVICE = "OUT_OF_SERVICE"


def add_to(app: typer.Typer) -> None:
    """Add the group of commands."""
    tools = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
    tools.command(
        "register-eureka",
        epilog="\b\nExamples:\n"
        "  meshbridge tools register-eureka shop 10.0.0.7 8080\n"
        "  meshbridge tools register-eureka shop 10.0.0.7 8080 -m version=v2 --zone eu-1a\n"
        "  meshbridge tools register-eureka pay 10.0.0.8 8080 --secure-port 8443 --vip pay,billing\n"
        "\nNeeds the extra `tools`: pip install 'meshbridge[tools]'. SSL_CERT_FILE names the authorities "
        "to trust for https.",
    )(register_eureka)
    # A group of one command needs its own callback, or the command would take the group's place.
    tools.callback(epilog="\b\nExample:\n  meshbridge tools register-eureka shop 10.0.0.7 8080")(_tools)
    app.add_typer(tools, name="tools")


def _tools() -> None:
    """Try things out: register an instance in Eureka."""


def register_eureka(  # noqa: PLR0913, PLR0917 - every parameter is an option of the command
    app: Annotated[str, typer.Argument(help="Application, the service's name.", metavar="APP")],
    address: Annotated[str, typer.Argument(help="IP address of the instance.", metavar="IP")],
    port: Annotated[int, typer.Argument(min=1, max=65535, help="Its plain port.", metavar="PORT")],
    server: Annotated[
        str, typer.Option("--server", "-s", metavar="URL", help="The Eureka server; Netflix: .../eureka/v2.")
    ] = "http://127.0.0.1:8761/eureka",
    status: Annotated[Status, typer.Option("--status", help="What it says of itself.")] = Status.UP,
    zone: Annotated[str, typer.Option("--zone", help="Its zone: metadata `zone`.")] = "",
    metadata: Annotated[
        list[str] | None, typer.Option("--metadata", "-m", metavar="KEY=VALUE", help="Metadata; repeatable.")
    ] = None,
    secure_port: Annotated[
        int, typer.Option("--secure-port", min=0, max=65535, help="Its TLS port; 0: none.")
    ] = 0,
    host: Annotated[str, typer.Option("--host", help="Its host name.  [default: the address]")] = "",
    vip: Annotated[str, typer.Option("--vip", metavar="NAMES", help="VIP names.  [default: APP]")] = "",
    heartbeat: Annotated[
        float, typer.Option("--heartbeat", min=0.1, metavar="SECONDS", help="Time between heartbeats.")
    ] = 30.0,
    username: Annotated[str, typer.Option("--username", help="User for basic authentication.")] = "",
    password_file: Annotated[
        Path | None, typer.Option("--password-file", metavar="FILE", help="File with the password.")
    ] = None,
) -> None:
    """Register an instance until Ctrl-C.

    It is kept in Eureka with heartbeats; Ctrl-C, or SIGTERM, takes it out again.
    """
    from meshbridge.adapters.eureka.registering import Registration, Server

    _check(server, app, address)
    if importlib.util.find_spec("py_eureka_client") is None:
        raise CommandError("py-eureka-client is missing: pip install 'meshbridge[tools]'", ExitCode.USAGE)
    pairs = dict(map(_pair, metadata or ()))
    instance = Registration(
        app=app,
        address=address,
        port=port,
        secure_port=secure_port,
        host=host,
        vip=vip,
        status=status.value,
        metadata={**pairs, "zone": zone} if zone else pairs,
        heartbeat=heartbeat,
    )
    asyncio.run(_keep(Server(server.rstrip("/"), username, _password(password_file)), instance))


def _check(server: str, app: str, address: str) -> None:
    if not _URL.fullmatch(server):
        text = (
            "is no http:// or https:// address; a user goes into --username, a password into --password-file"
        )
        raise CommandError(f"--server {text}", ExitCode.USAGE)  # Without the value: it may hold a password.
    if not _APP.fullmatch(app):
        raise CommandError(f"{app!r} is no name: letters, digits, - _ and . are", ExitCode.USAGE)
    try:
        ip_address(address)
    except ValueError:
        raise CommandError(f"{address!r} is no IP address", ExitCode.USAGE) from None


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise CommandError(f"--metadata {text!r} is not KEY=VALUE", ExitCode.USAGE)
    return key, value


def _password(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        return file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise CommandError(f"--password-file {file} can't be read", ExitCode.USAGE) from None


async def _keep(server: "Server", instance: "Registration") -> None:
    from meshbridge.adapters.eureka.registering import keep_registered

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await keep_registered(server, instance, stop, talk)
