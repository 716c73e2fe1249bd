"""ZooKeeper requests that kazoo lacks: recursive watches, and reads of many nodes at once.

They have the form kazoo gives its own (`type`, `serialize`, `deserialize`). Texts that are not UTF-8 are
read with replacement characters: such a node can't be asked for, but its neighbours can.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from meshbridge.adapters.zookeeper.session import Content, Refusal

GET_DATA: Final = 4
GET_CHILDREN: Final = 8
MAX_OPERATIONS: Final = 500
MAX_REQUEST: Final = 256 * 1024
"""Bytes of one request: a quarter of what servers take by default (`jute.maxbuffer`)."""

Answer = Content | tuple[str, ...] | Refusal

_INT = struct.Struct("!i")
_HEADER = struct.Struct("!i?i")
_STAT = struct.Struct("!qqqqiiiqiiq")
_LAST = _HEADER.pack(-1, True, -1)
_RECURSIVE = 1
_OVERHEAD = _HEADER.size + _INT.size + 1
"""Bytes of one operation besides its path."""
_REFUSALS = {-101: Refusal.MISSING, -102: Refusal.DENIED}


class AddWatch:
    """Sets a persistent watch on a node and everything below it."""

    type = 106

    def __init__(self, path: str) -> None:
        self._path = path

    def serialize(self) -> bytes:
        """Return the request's bytes."""
        return _text(self._path) + _INT.pack(_RECURSIVE)

    @staticmethod
    def deserialize(_buffer: bytes, _offset: int) -> bool:
        """Return that the watch is set."""
        return True


class MultiRead:
    """Reads the data, or lists the children, of many nodes in one request."""

    type = 22

    def __init__(self, operation: int, paths: Sequence[str]) -> None:
        self._operation = operation
        self._paths = paths

    def serialize(self) -> bytes:
        """Return the request's bytes."""
        header = _HEADER.pack(self._operation, False, -1)
        return b"".join([*(header + _text(path) + b"\0" for path in self._paths), _LAST])

    @staticmethod
    def deserialize(buffer: bytes, offset: int) -> list[Answer]:
        """Return one answer for each path, in order.

        Raises:
            ValueError: a node could not be read for a reason that is none of the node's.
        """
        found: list[Answer] = []
        while True:
            kind, done, code = _HEADER.unpack_from(buffer, offset)
            offset += _HEADER.size
            if done:
                return found
            if kind == -1:
                found.append(_refusal(code))
                offset += _INT.size
                continue
            answer, offset = _READERS[kind](buffer, offset)
            found.append(answer)


class ReadOne:
    """Reads one node and leaves a watch on it that fires once."""

    def __init__(self, operation: int, path: str) -> None:
        self.type = operation
        self._path = path

    def serialize(self) -> bytes:
        """Return the request's bytes."""
        return _text(self._path) + b"\1"

    def deserialize(self, buffer: bytes, offset: int) -> Answer:
        """Return the node's data or children."""
        return _READERS[self.type](buffer, offset)[0]


def read_event(buffer: bytes, offset: int) -> tuple[int, str]:
    """Return the kind and the path of a watch event."""
    (kind,) = _INT.unpack_from(buffer, offset)
    path, _ = _read_text(buffer, offset + 2 * _INT.size)
    return kind, path


def batches(paths: Sequence[str], operations: int = MAX_OPERATIONS) -> Iterator[Sequence[str]]:
    """Cut the paths into requests of at most so many operations and `MAX_REQUEST` bytes."""
    start = size = 0
    for index, path in enumerate(paths):
        cost = _OVERHEAD + (len(path) if path.isascii() else len(path.encode("utf-8", "replace")))
        if index > start and (index - start >= operations or size + cost > MAX_REQUEST):
            yield paths[start:index]
            start, size = index, 0
        size += cost
    if start < len(paths):
        yield paths[start:]


def _refusal(code: int) -> Refusal:
    try:
        return _REFUSALS[code]
    except KeyError:
        raise ValueError(f"error {code}") from None


def _text(value: str) -> bytes:
    encoded = value.encode("utf-8", "replace")
    return _INT.pack(len(encoded)) + encoded


def _read_bytes(buffer: bytes, offset: int) -> tuple[bytes, int]:
    (length,) = _INT.unpack_from(buffer, offset)
    offset += _INT.size
    end = offset + max(length, 0)  # -1 stands for none.
    return buffer[offset:end], end


def _read_text(buffer: bytes, offset: int) -> tuple[str, int]:
    value, offset = _read_bytes(buffer, offset)
    return value.decode("utf-8", "replace"), offset


def _read_content(buffer: bytes, offset: int) -> tuple[Content, int]:
    value, offset = _read_bytes(buffer, offset)
    stat = _STAT.unpack_from(buffer, offset)
    return Content(value, stat[7] != 0, stat[9]), offset + _STAT.size


def _read_names(buffer: bytes, offset: int) -> tuple[tuple[str, ...], int]:
    (count,) = _INT.unpack_from(buffer, offset)
    offset += _INT.size
    names = []
    for _ in range(count):
        name, offset = _read_text(buffer, offset)
        names.append(name)
    return tuple(names), offset


_READERS: dict[int, Callable[[bytes, int], tuple[Content | tuple[str, ...], int]]] = {
    GET_DATA: _read_content,
    GET_CHILDREN: _read_names,
}
