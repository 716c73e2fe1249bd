"""Documents in files: which there are, what they hold, and when that may have changed.

Blocking; the adapter calls `Files` in a thread. A replaced symlink, as Kubernetes does with mounted
ConfigMaps, is a changed file like any other, because files are told apart by what the path leads to.
"""

import errno
import fnmatch
import glob
import os
import stat
from collections.abc import Iterable
from pathlib import Path

import msgspec

from meshbridge.adapters.inventory.documents import Failure

_SUFFIXES = (".yaml", ".yml", ".json", ".csv")
_ATTEMPTS = 3
_WORDS = {
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EISDIR: "it is a directory",
    errno.ELOOP: "too many symbolic links",
}

Signature = tuple[int, int, int, int, int]
"""Device, inode, size, and the times of the last change of content and of the inode, in nanoseconds."""


class Scan(msgspec.Struct):
    """What a look at the files brought."""

    listed: dict[str, list[str]] = msgspec.field(default_factory=dict)
    """Paths by pattern."""
    absent: list[str] = msgspec.field(default_factory=list)
    """Patterns whose file, or directory to look in, does not exist."""
    contents: dict[str, bytes] = msgspec.field(default_factory=dict)
    """Of the files that may have changed."""
    failures: dict[str, Failure] = msgspec.field(default_factory=dict)


class Files:
    """The files that some patterns name."""

    def __init__(self, patterns: Iterable[str], max_size: int) -> None:
        self._patterns = tuple(dict.fromkeys(patterns))
        self._max_size = max_size
        self._signatures: dict[str, Signature] = {}

    def scan(self, *, everything: bool) -> Scan:
        """Look at all files and read those that look changed, or all."""
        found = Scan({pattern: matches(pattern) for pattern in self._patterns})
        found.absent = [name for name, paths in found.listed.items() if not paths and not _has_place(name)]
        paths = sorted({path for listed in found.listed.values() for path in listed})
        for gone in self._signatures.keys() - set(paths):
            del self._signatures[gone]
        for path in paths:
            self._look(path, found, everything=everything)
        return found

    def _look(self, path: str, found: Scan, *, everything: bool) -> None:
        try:
            if not everything and _signature(os.stat(path)) == self._signatures.get(path):
                return
            self._signatures.pop(path, None)
            content, signature = read(path, self._max_size)
        except FileNotFoundError:
            for listed in found.listed.values():
                if path in listed:
                    listed.remove(path)
        except OSError as error:
            text = _WORDS.get(error.errno or 0, error.strerror or type(error).__name__)
            found.failures[path] = Failure("unreadable", text, is_denied=isinstance(error, PermissionError))
        except Failure as failure:
            found.failures[path] = failure
        else:
            found.contents[path] = content
            self._signatures[path] = signature


def read(path: str, max_size: int) -> tuple[bytes, Signature]:
    """Return a file's content, read while nobody wrote to it, and its signature.

    Raises:
        OSError: it can't be read.
        Failure: it is too large, not a regular file, or being written all the time.
    """
    for _ in range(_ATTEMPTS):
        # Opening a pipe that nobody writes to would block without O_NONBLOCK.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            before = os.fstat(descriptor)
            if not stat.S_ISREG(before.st_mode):
                raise Failure("unreadable", "it is not a regular file")
            if before.st_size > max_size:
                raise Failure("too_large", f"{before.st_size} bytes are more than max_size ({max_size})")
            content = file.read(max_size + 1)
            after = os.fstat(descriptor)
        if len(content) > max_size:
            raise Failure("too_large", f"more than max_size ({max_size} bytes)")
        if _signature(before) == _signature(after) and len(content) == after.st_size:
            return content, _signature(after)
    raise Failure("unreadable", "it changes while it is read")


def _signature(status: os.stat_result) -> Signature:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def matches(pattern: str) -> list[str]:
    """Return the files a pattern names: itself, those it matches, or those in the directory."""
    if os.path.isdir(pattern):
        names = sorted(os.listdir(pattern))
        chosen = (name for name in names if name.endswith(_SUFFIXES) and not name.startswith("."))
        return [path for name in chosen if not os.path.isdir(path := os.path.join(pattern, name))]
    if not is_glob(pattern):
        return [pattern] if os.path.lexists(pattern) else []
    return sorted(path for path in glob.glob(pattern) if not os.path.isdir(path))


def _has_place(pattern: str) -> bool:
    """Whether there is a directory in which a pattern could find files."""
    return os.path.isdir(anchor(pattern) if is_glob(pattern) else pattern)


def is_glob(pattern: str) -> bool:
    """Whether a pattern has wildcards, or names one file or directory."""
    return glob.has_magic(pattern)


def covers(pattern: str, path: str) -> bool:
    """Whether a pattern names a path, if such a file were there."""
    return path == pattern or os.path.dirname(path) == pattern.rstrip("/") or fnmatch.fnmatch(path, pattern)


def anchor(pattern: str) -> str:
    """Return the directory above the first wildcard of a pattern."""
    if not is_glob(pattern):
        return pattern if os.path.isdir(pattern) else os.path.dirname(pattern) or "."
    plain: list[str] = []
    for part in Path(pattern).parts[:-1]:
        if is_glob(part):
            break
        plain.append(part)
    return str(Path(*plain)) if plain else "."


def homes(patterns: Iterable[str]) -> frozenset[str]:
    """Return the directories in which a change may concern a file that the patterns name.

    Those are the ones the files are listed in, and the ones that symbolic links lead to.
    """
    found: set[str] = set()
    for pattern in patterns:
        paths = matches(pattern)
        found.add(os.path.abspath(anchor(pattern)))
        found |= {os.path.dirname(os.path.abspath(path)) for path in paths}
        found |= {os.path.dirname(os.path.realpath(path)) for path in paths}
    return frozenset(found)


def watchable(wanted: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Return the directories to watch and their identity, by which a replaced one is noticed.

    The directory above each tells when one comes or goes; the nearest that exists stands for a missing one.
    """
    found = {}
    for place in {near for home in wanted for near in (home, os.path.dirname(home))}:
        path = place
        while not os.path.isdir(path):
            path = os.path.dirname(path)
        status = os.stat(path)
        found[path] = (status.st_dev, status.st_ino)
    return found
