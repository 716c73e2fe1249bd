"""Sources that are no longer configured, until they may go."""

import dataclasses
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import structlog

from meshbridge.bridge.pipeline.mesh import Mesh
from meshbridge.bridge.pipeline.preview import Losses, losses_of_leaving

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Leaving:
    """A source that is no longer configured, and for how long its groups stay."""

    successors: frozenset[str]
    """Sources that came in its place, which may turn out to have the same services."""
    until: float
    """The end of all waiting for them. Monotonic seconds."""
    is_meant: bool = False
    """Whether it may leave however much goes with it."""


class Departures:
    """Which sources are about to leave, and which stay since too much would go with them."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._leaving: dict[str, Leaving] = {}
        self.kept_back: dict[str, Losses] = {}
        """Sources that are taken out and stay, since too much would go with them."""

    def __bool__(self) -> bool:
        return bool(self._leaving)

    def add(self, name: str, successors: Iterable[str], until: float) -> None:
        """Take a source for one that leaves when its successors have been read, or at a monotonic time."""
        after = frozenset(successors)
        # Without successors the edit was judged as a whole, before it was taken.
        self._leaving[name] = Leaving(after, until, is_meant=not after)

    def due(self, configured: Collection[str], unread: Collection[str], now: float) -> Iterator[str]:
        """Yield each source that goes now; one that is configured again stays."""
        for name, leaving in list(self._leaving.items()):
            if name in configured:
                self._forget(name)
            elif (now >= leaving.until or leaving.successors.isdisjoint(unread)) and self._may_leave(
                name, leaving
            ):
                self._forget(name)
                yield name

    def allow(self) -> int:
        """Let those go that were kept back, and return how many hosts go with them."""
        for name in self.kept_back:
            self._leaving[name] = dataclasses.replace(self._leaving[name], is_meant=True)
        return sum(len(lost.hosts) for lost in self.kept_back.values())

    def _forget(self, name: str) -> None:
        del self._leaving[name]
        self.kept_back.pop(name, None)

    def _may_leave(self, name: str, leaving: Leaving) -> bool:
        """Whether little goes with a source, or somebody said it may; what does is noted otherwise."""
        lost = losses_of_leaving(self._mesh, name)
        if leaving.is_meant or not lost.are_too_many(self._mesh.guard(name).settings):
            return True
        if name not in self.kept_back:
            log.warning("source kept, too much would go with it", source=name, losses=str(lost))
        self.kept_back[name] = lost
        return False
