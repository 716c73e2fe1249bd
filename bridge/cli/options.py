"""Options that several commands share, and the connection to the bridge they describe."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meshbridge.bridge.cli.exits import CommandError, ExitCode
from meshbridge.bridge.cli.remote import Remote

if TYPE_CHECKING:
    from meshbridge.bridge.config.models import Admin

DEFAULT_ADMIN = "http://127.0.0.1:16080"

_CONFIG_HELP = "The configuration file."

ConfigFile = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help=_CONFIG_HELP)]
"""The configuration file, where a command needs one."""

AdminConfig = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", metavar="FILE", help="Take the bridge's address and token from its configuration."
    ),
]
AdminUrl = Annotated[
    str,
    typer.Option(
        "--admin",
        metavar="URL",
        help="The running bridge: http(s)://HOST:PORT or unix:///PATH.  "
        f"[default: that of -c FILE, else MESHBRIDGE_ADMIN, else {DEFAULT_ADMIN}]",
        show_default=False,
    ),
]
TokenFile = Annotated[
    Path | None, typer.Option("--token-file", metavar="FILE", help="File with the admin interface's token.")
]
CaFile = Annotated[
    Path | None, typer.Option("--ca", metavar="FILE", help="PEM file with the authorities to trust.")
]


def connect(admin: str, config: Path | None, token_file: Path | None, ca: Path | None) -> Remote:
    """Return the bridge that the options name.

    Raises:
        CommandError: the URL or a file can't be used.
        ConfigError: the configuration can't be used.
    """
    if not admin and config is not None:
        found = _load_admin(config)
        admin = configured_url(found)
        if token_file is None and found.token_file and not admin.startswith("unix:"):
            token_file = Path(found.token_file)
    token = _read_token(token_file) if token_file is not None else ""
    url = admin or os.environ.get("MESHBRIDGE_ADMIN") or DEFAULT_ADMIN
    return Remote(url, token, str(ca or ""))


def configured_url(admin: "Admin") -> str:
    """Return how to reach the bridge with this configuration from the machine it runs on."""
    from meshbridge.bridge.config.fields import split_listen

    if admin.socket and os.access(admin.socket, os.W_OK):  # Everything is allowed there.
        return f"unix://{admin.socket}"
    host, port = split_listen(admin.listen)
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"{'https' if admin.tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def _load_admin(config: Path) -> "Admin":
    from meshbridge.bridge.config.loading import load

    return load(config, os.environ).admin


def _read_token(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not text"
        raise CommandError(f"token file {path}: {reason}", ExitCode.USAGE) from error
