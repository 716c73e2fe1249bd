"""The bearer token, read from a file and read again when the file changes."""

import os
from pathlib import Path

import structlog

from meshbridge.schemas.errors import ConfigError

MAX_BYTES = 64 * 1024

log = structlog.get_logger(__name__)

_Stamp = tuple[int, int, int]


class TokenFile:
    """Knows the token that is in force; without a path there is none."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._stamp: _Stamp | None = None
        self._token = ""

    def load(self) -> None:
        """Read the file for the first time.

        Raises:
            ConfigError: it can't be read, or holds no token.
        """
        if not self._path:
            return
        try:
            self._token = _read(self._path)
        except (OSError, ValueError) as error:
            raise ConfigError([f"admin.token_file: {self._path}: {_reason(error)}"]) from error
        self._stamp = _stamp(self._path)

    def current(self) -> str:
        """Return the token, "" when there is none or the file is unusable: then nobody gets in."""
        stamp = _stamp(self._path) if self._path else None
        if stamp != self._stamp:
            self._stamp = stamp
            self._token = self._reread()
        return self._token

    def _reread(self) -> str:
        try:
            token = _read(self._path)
        except (OSError, ValueError) as error:
            log.warning("admin token unusable", file=self._path, reason=_reason(error))
            return ""
        log.info("admin token read again", file=self._path)
        return token


def _read(path: str) -> str:
    with Path(path).open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    token = content.decode("ascii").strip()
    if not token or len(content) > MAX_BYTES:
        raise ValueError("holds no token")
    return token


def _stamp(path: str) -> _Stamp | None:
    # stat() follows links, so the symlink swap of a mounted Kubernetes secret changes the inode.
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, UnicodeDecodeError):  # Its text would show bytes of the secret.
        return "is not text"
    return (error.strerror or "can't be read") if isinstance(error, OSError) else str(error)
