"""TLS of the admin listener."""

import os
import ssl

import structlog

from meshbridge.schemas.errors import ConfigError
from meshbridge.schemas.settings import ServerTls

log = structlog.get_logger(__name__)


def server_context(tls: ServerTls) -> ssl.SSLContext:
    """Return a context that takes up a renewed certificate by itself.

    Raises:
        ConfigError: a file can't be read, or doesn't hold what it should.
    """
    try:
        context = _load(tls)
    except OSError as error:  # ssl.SSLError is one.
        files = ", ".join(name for name in (tls.cert_file, tls.key_file, tls.client_ca_file) if name)
        raise ConfigError([f"admin.tls: {files}: {error.strerror or error}"]) from error
    # The callback runs at every handshake, with or without a server name.
    context.sni_callback = _Renewal(tls, context).choose
    return context


def _load(tls: ServerTls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(tls.cert_file, tls.key_file)
    if tls.client_ca_file:
        context.load_verify_locations(tls.client_ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class _Renewal:
    """Gives each handshake the newest certificate."""

    def __init__(self, tls: ServerTls, context: ssl.SSLContext) -> None:
        self._tls = tls
        self._context = context
        self._stamp = self._current_stamp()

    def choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        stamp = self._current_stamp()
        if stamp != self._stamp:
            self._stamp = stamp
            self._renew()
        connection.context = self._context

    def _renew(self) -> None:
        try:
            self._context = _load(self._tls)
        except OSError as error:  # The old pair stays in force; the next change of a file is another try.
            log.warning("admin certificate unusable", file=self._tls.cert_file, reason=str(error))
            return
        log.info("admin certificate read again", file=self._tls.cert_file)

    def _current_stamp(self) -> tuple[int, ...]:
        try:
            found = [os.stat(path) for path in (self._tls.cert_file, self._tls.key_file)]
        except OSError:
            return ()
        return tuple(number for one in found for number in (one.st_ino, one.st_mtime_ns, one.st_size))
