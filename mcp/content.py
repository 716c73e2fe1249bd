"""The framed resources of one kind, and when each was last changed. No I/O."""

from collections.abc import Iterable

import msgspec

from meshbridge.schemas.resource import ResourceKey

_MODULUS = 1 << 128
_MIN_GONE = 1000
"""So many removed names are remembered at least; at most, as many as there are resources."""


class Framed(msgspec.Struct, frozen=True):
    """A resource as a `resources` entry."""

    key: ResourceKey
    version: str
    frame: bytes


class Content(msgspec.Struct):
    """One kind."""

    frames: dict[str, bytes] = {}
    is_sorted: bool = True
    """Whether the frames are in the order of their names."""
    versions: dict[str, str] = {}
    checksum: int = 0
    changed_in: int = 0
    changes: dict[str, int] = {}
    """The generation that last changed each name, oldest first; also of removed ones."""
    forgotten: int = 0
    """Names removed up to this generation may not be known any more."""

    @property
    def version(self) -> str:
        """32 hex digits; equal sets of resources have equal versions."""
        return f"{self.checksum % _MODULUS:032x}"

    def put(self, found: Iterable[tuple[str, Framed]], generation: int) -> None:
        """Put resources by name."""
        frames, versions, changes, checksum = self.frames, self.versions, self.changes, self.checksum
        for name, one in found:
            old = versions.get(name)
            if old is not None:
                checksum -= int(old, 16)
            else:
                self.is_sorted = False
            changes.pop(name, None)  # So that it moves to the end.
            changes[name] = generation
            frames[name], versions[name] = one.frame, one.version
            checksum += int(one.version, 16)
        self.checksum = checksum

    def drop(self, name: str, generation: int) -> None:
        """Remove a resource."""
        self.checksum -= int(self.versions.pop(name, "0"), 16)
        self.frames.pop(name, None)
        self.changes.pop(name, None)
        self.changes[name] = generation

    def sort(self) -> None:
        """Put the frames in the order of their names, so that all replicas give the same bytes."""
        if not self.is_sorted:
            self.frames = dict(sorted(self.frames.items()))
            self.is_sorted = True

    def forget(self) -> None:
        """Bound what is remembered of removed names."""
        gone = len(self.changes) - len(self.frames)
        if gone > 2 * max(_MIN_GONE, len(self.frames)):
            old = [name for name in self.changes if name not in self.frames][: gone // 2]
            self.forgotten = max(self.forgotten, *(self.changes.pop(name) for name in old))
