"""Retained state: the groups that counted last, one file for each source, for the next start.

File: one line of JSON (`Header`), then the groups as MessagePack. Groups rather than resources, so that
a source which is down can be filled in beside others that are not, and rules may change in between.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import msgspec
import structlog

from meshbridge.schemas.registry import InstanceGroup

log = structlog.get_logger(__name__)

FORMAT = 1
_SUFFIX = ".state"


class Header(msgspec.Struct, frozen=True):
    """The first line of a state file."""

    format: int
    source: str
    fingerprint: str
    """Of the configuration that says which registry the groups are from."""
    saved: float
    """Unix seconds."""
    sha256: str
    """Of everything after the first line."""


class StateFiles:
    """A directory of state files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def save(self, source: str, fingerprint: str, groups: Iterable[InstanceGroup], now: float) -> None:
        """Replace the file of a source, atomically.

        Raises:
            OSError: the directory can't be written.
        """
        body = _encode(groups)
        header = Header(FORMAT, source, fingerprint, now, hashlib.sha256(body).hexdigest())
        self._directory.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._directory, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(msgspec.json.encode(header) + b"\n" + body)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path(source))
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def load(self, source: str, fingerprint: str, max_age: float, now: float) -> list[InstanceGroup] | None:
        """Return the groups kept of a source, None when there are none of use.

        A file that can't be used is said so in the log; a damaged one is set aside, never deleted.
        """
        path = self._path(source)
        try:
            header, groups = _parse(path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            log.error("state unreadable", file=str(path), reason=str(error))
            return None
        except (ValueError, RecursionError) as error:
            self._set_aside(path, str(error))
            return None
        if header.source != source or header.fingerprint != fingerprint:
            log.warning("state of another registry", file=str(path), source=source)
            return None
        if now - header.saved > max_age:
            log.warning("state too old", file=str(path), source=source, age_seconds=round(now - header.saved))
            return None
        return groups

    def _path(self, source: str) -> Path:
        return self._directory / (source.replace("/", "__") + _SUFFIX)

    def _set_aside(self, path: Path, reason: str) -> None:
        aside = path.with_suffix(".damaged")
        log.error("state unusable", file=str(path), reason=reason, set_aside=str(aside))
        try:
            path.replace(aside)
        except OSError as error:
            log.error("state not set aside", file=str(path), reason=str(error))


def _encode(groups: Iterable[InstanceGroup]) -> bytes:
    """Return the groups as one MessagePack array, made one by one: no encoder holds the GIL for long."""
    encoder = msgspec.msgpack.Encoder()
    pieces = [encoder.encode(group) for group in groups]
    return b"\xdd" + len(pieces).to_bytes(4, "big") + b"".join(pieces)


def _parse(content: bytes) -> tuple[Header, list[InstanceGroup]]:
    first, _, body = content.partition(b"\n")
    header = msgspec.json.decode(first, type=Header)
    if header.format != FORMAT:
        raise ValueError(f"format {header.format} is not {FORMAT}")
    if hashlib.sha256(body).hexdigest() != header.sha256:
        raise ValueError("the checksum does not match")
    return header, msgspec.msgpack.decode(body, type=list[InstanceGroup])
