"""Retained state on disk, for the next start: one file for each source, one for what no source has.

Files are replaced as a whole, so that an end of the program at any moment leaves the old one or the new one.
"""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import structlog

from meshbridge.bridge.pipeline.bounds import Held
from meshbridge.bridge.state_copy import Copy, OtherFormat, decode_copy, encode_copy
from meshbridge.schemas.errors import ConfigError
from meshbridge.schemas.registry import InstanceGroup

log = structlog.get_logger(__name__)

_SUFFIX = ".state"


class StateFiles:
    """A directory of state files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other bridges out of the directory; one that can't be written is nobody's, and no error.

        Raises:
            ConfigError: another bridge uses it.
        """
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            log.warning("state directory unusable", directory=str(self._directory), reason=str(error))
            yield
            return
        try:
            self._lock(handle)
            self._remove_unfinished()
            yield
        finally:
            os.close(handle)

    def _lock(self, handle: int) -> None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # Ends with the process, however that ends.
        except BlockingIOError:
            problem = (
                f"safety.state_dir: {self._directory} is in use by another bridge; "
                "each needs a directory of its own"
            )
            raise ConfigError([problem]) from None
        except OSError as error:  # Some network file systems have no locks.
            log.warning("state directory not locked", directory=str(self._directory), reason=str(error))

    def save(
        self,
        source: str,
        fingerprint: str,
        groups: Iterable[InstanceGroup],
        now: float,
        held: Held | None = None,
    ) -> None:
        """Replace the file of a source, atomically.

        Raises:
            OSError: the directory can't be written.
        """
        self.write(_file_name(source), encode_copy(source, fingerprint, groups, now, held))

    def write(self, name: str, content: bytes) -> None:
        """Replace a file, atomically.

        Raises:
            OSError: the directory can't be written.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        handle, new = tempfile.mkstemp(dir=self._directory, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(new).replace(self._directory / name)
        except BaseException:
            Path(new).unlink(missing_ok=True)
            raise

    def _remove_unfinished(self) -> None:
        """Remove what an earlier process was writing when it was killed."""
        for path in self._directory.glob(".new-*"):
            with contextlib.suppress(OSError):
                path.unlink()

    def load(self, source: str, fingerprint: str, max_age: float, now: float) -> Copy | None:
        """Return what is kept of a source, None when there is nothing of use.

        A file that can't be used is said so in the log; a damaged one is set aside, never deleted.
        """
        path = self._directory / _file_name(source)
        try:
            copy = decode_copy(path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            log.error("state unreadable", file=str(path), reason=str(error))
            return None
        except (ValueError, RecursionError) as error:
            self.set_aside(path.name, error)
            return None
        if copy.header.source != source or copy.header.fingerprint != fingerprint:
            log.warning("state of another registry", file=str(path), source=source)
            return None
        age = now - copy.header.saved
        if age > max_age:
            log.warning("state too old", file=str(path), source=source, age_seconds=round(age))
            return None
        return copy

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, None when there is none that can be read."""
        try:
            return (self._directory / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            log.error("state unreadable", file=name, reason=str(error))
            return None

    def set_aside(self, name: str, error: Exception) -> None:
        """Rename a file that can't be used, and say so."""
        path = self._directory / name
        aside = path.with_suffix(".other-format" if isinstance(error, OtherFormat) else ".damaged")
        log.error("state unusable", file=str(path), reason=str(error), set_aside=str(aside))
        try:
            path.replace(aside)
        except OSError as failure:
            log.error("state not set aside", file=str(path), reason=str(failure))


def _file_name(source: str) -> str:
    return source.replace("/", "__") + _SUFFIX
