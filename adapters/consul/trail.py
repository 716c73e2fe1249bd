"""Which moves of the catalog's index are explained by services that were read since. Pure.

Each write to Consul has an index of its own. The catalog's index tells that some service was changed by that
write, not which; the answer about the service that was changed has the same index.
"""

from enum import IntEnum

_MOST = 10_000
"""Indexes kept; beyond it nothing counts as explained, which leads to reads, not to losses."""


class Doubt(IntEnum):
    """Whether a service that nobody read may have changed."""

    NONE = 0
    SLIGHT = 1
    """The catalog's newest move is explained, not every write before it."""
    GRAVE = 2
    """The catalog's newest move is not explained."""


class Trail:
    """The catalog's index, and the indexes of answers about single services."""

    def __init__(self) -> None:
        self._settled = 0
        self._newest = 0
        self._seen: set[int] = set()

    def begin(self, index: int) -> None:
        """Take this index of the catalog as explained: everything is read anyway."""
        self._newest = index
        self.settle(index)

    def settle(self, index: int) -> None:
        """Take everything up to this index as explained: all services were read since."""
        self._settled = index
        self._seen = {seen for seen in self._seen if seen > index}

    def move(self, index: int) -> None:
        """Note that the catalog's index is this now."""
        self._newest = max(self._newest, index)

    def explain(self, index: int) -> None:
        """Note that a service with this index was read."""
        if index > self._settled:
            if len(self._seen) == _MOST:
                self._seen.clear()
            self._seen.add(index)

    @property
    def doubt(self) -> Doubt:
        """Whether something is not explained."""
        if self._newest <= self._settled:
            return Doubt.NONE
        if self._newest not in self._seen:
            return Doubt.GRAVE
        explained = sum(index <= self._newest for index in self._seen)
        return Doubt.SLIGHT if explained < self._newest - self._settled else Doubt.NONE
