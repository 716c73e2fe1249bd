"""TLS of the MCP server. istiod offers no client certificate on any release; other clients may."""

from pathlib import Path

import grpc
import structlog

from meshbridge.schemas.errors import ConfigError
from meshbridge.schemas.settings import ServerTls

_log = structlog.get_logger(__name__)


def server_credentials(tls: ServerTls) -> grpc.ServerCredentials:
    """Return credentials that follow the files: a new certificate counts from the next handshake on.

    Raises:
        ConfigError: a file can't be read.
    """
    try:
        certificates = Certificates(tls)
    except OSError as error:
        raise ConfigError(
            [f"TLS of the MCP server: can't read {error.filename}: {error.strerror}"]
        ) from error
    return grpc.dynamic_ssl_server_credentials(
        certificates.loaded, certificates.refresh, require_client_authentication=bool(tls.client_ca_file)
    )


class Certificates:
    """The files' content. gRPC asks for it at every handshake, from threads of its own."""

    def __init__(self, tls: ServerTls) -> None:
        self._tls = tls
        self._files = [Path(name) for name in (tls.cert_file, tls.key_file, tls.client_ca_file) if name]
        self._stamps = self._read_stamps()
        self._is_failing = False
        self.loaded = self._load()

    def refresh(self) -> grpc.ServerCertificateConfiguration:
        """Return what is in the files or, while they can't be read, what was."""
        try:
            stamps = self._read_stamps()
            if stamps != self._stamps:
                self.loaded = self._load()
                self._stamps = stamps
                _log.info("certificate reloaded", file=self._tls.cert_file)
            self._is_failing = False
        except OSError as error:
            if not self._is_failing:
                _log.warning("certificate can't be reloaded", file=error.filename, reason=error.strerror)
            self._is_failing = True
        return self.loaded

    def _read_stamps(self) -> list[tuple[int, int, int]]:
        stats = [file.stat() for file in self._files]
        return [(stat.st_mtime_ns, stat.st_ino, stat.st_size) for stat in stats]

    def _load(self) -> grpc.ServerCertificateConfiguration:
        authorities = Path(self._tls.client_ca_file).read_bytes() if self._tls.client_ca_file else None
        pair = (Path(self._tls.key_file).read_bytes(), Path(self._tls.cert_file).read_bytes())
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=authorities)
