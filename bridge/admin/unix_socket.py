"""A listening unix socket that only its owner may open."""

import os
import socket
import stat
from pathlib import Path

from meshbridge.schemas.errors import SinkError


def bind(path: str) -> socket.socket:
    """Return a bound socket of mode 0600 at the path; a stale one of an earlier run is replaced.

    Raises:
        SinkError: something else is there, another process listens there, or the path is unusable.
    """
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        bound.bind(path)
        os.chmod(path, 0o600)  # Nobody gets in before: a socket that doesn't listen yet refuses.
        bound.setblocking(False)
    except (OSError, ValueError) as error:
        bound.close()
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise SinkError("admin", f"can't listen on {path}: {reason}", retryable=False) from error
    return bound


def inode(path: str) -> tuple[int, int] | None:
    """Return what identifies the file at the path, None when there is none."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def remove(path: str, ours: tuple[int, int] | None) -> None:
    """Remove the socket file unless another process has put its own there since."""
    if ours is not None and inode(path) == ours:
        Path(path).unlink(missing_ok=True)


def _remove_stale(path: str) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ValueError("exists and is not a socket; it is left alone")
    if _is_answering(path):
        raise ValueError("another process listens there")
    remove(path, (found.st_dev, found.st_ino))


def _is_answering(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
        except OSError:
            return True  # A full backlog, for one: in doubt somebody is there.
    return True
