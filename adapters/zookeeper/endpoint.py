"""Where an ensemble is and how to speak with it, in kazoo's words."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meshbridge.adapters.zookeeper.settings import SaslAuth, ZookeeperConfig
from meshbridge.schemas.settings import ClientTls


@dataclass(frozen=True)
class Endpoint:
    """What a session needs. It holds secrets, which do not show."""

    session_timeout: float
    connect_timeout: float
    server_name: str
    sasl: dict[str, str] = field(repr=False)
    options: dict[str, Any] = field(repr=False)


def endpoint(config: ZookeeperConfig) -> Endpoint:
    """Return what the configuration says, with the credentials its files hold now.

    Raises:
        OSError: a file can't be read.
    """
    tls = config.tls or ClientTls()
    auth = [("digest", _secret(config.digest.file))] if config.digest else None
    return Endpoint(
        session_timeout=config.session_timeout,
        connect_timeout=config.connect_timeout,
        server_name=tls.server_name,
        sasl=_sasl(config.sasl) if config.sasl else {},
        options={
            "hosts": config.hosts,
            "timeout": config.session_timeout,
            "read_only": True,
            "auth_data": auth,
            "use_ssl": config.tls is not None,
            "ca": tls.ca_file or None,
            "certfile": tls.cert_file or None,
            "keyfile": tls.key_file or None,
            "verify_certs": True,
            "check_hostname": config.tls is not None,
        },
    )


def _sasl(sasl: SaslAuth) -> dict[str, str]:
    options = {"mechanism": sasl.mechanism, "service": sasl.service}
    if sasl.mechanism == "DIGEST-MD5":
        options |= {"username": sasl.username, "password": _secret(sasl.password_file)}
    return options


def _secret(path: str) -> str:
    return Path(path).read_text(encoding="utf-8").strip()
