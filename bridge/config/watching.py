"""Noticing that the configuration file changed.

Kubernetes replaces a mounted file by turning a link in its folder, editors rename a new file over
the old one: so the folder is watched, and the content decides.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from pathlib import Path

import structlog
from watchfiles import awatch

log = structlog.get_logger(__name__)

_LOOK_MS = 5000
"""How often to look without being notified: an edit may come before watching began."""


async def changes(path: Path, known: bytes | None = None) -> AsyncGenerator[None, None]:
    """Give a value whenever the content of the file is another one than before, until cancelled.

    `known` is the fingerprint of the content in use; default: of what is there now. A file that
    vanishes is no change; what comes after it is one when it differs.
    """
    known = fingerprint(path) if known is None else known
    async for _ in _moments(path.parent):
        found = fingerprint(path)
        if found and found != known:
            known = found
            yield


async def _moments(folder: Path) -> AsyncGenerator[None, None]:
    """Give a value whenever it is time to look, also where the system has no notifications to give."""
    is_failing = False
    while True:
        try:
            async for _ in awatch(
                folder, recursive=False, watch_filter=None, rust_timeout=_LOOK_MS, yield_on_timeout=True
            ):
                is_failing = False
                yield
        except OSError as error:  # Its limit of watches is reached, or the folder is gone.
            if not is_failing:
                log.warning("no file notifications, the file is read regularly instead", reason=str(error))
            is_failing = True
            await asyncio.sleep(_LOOK_MS / 1000)
            yield


def fingerprint(path: Path) -> bytes:
    """Return a hash of the content, b"" when it can't be read."""
    try:
        if not path.is_file():  # Opening a pipe would wait for a writer.
            return b""
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return b""
