"""Which objects want to be looked at, in which order, and which of them only later.

An object is looked at by one worker at a time, and stands in line once however often it changes.
"""

import asyncio
import heapq
from collections.abc import Callable
from enum import IntEnum

from meshbridge.schemas.resource import Kind, ResourceKey


class Phase(IntEnum):
    """The order: an entry finds its workloads there, and they outlive it. istiod is much faster so."""

    WORKLOADS = 0
    SERVICES = 1
    SERVICES_LEAVE = 2
    WORKLOADS_LEAVE = 3


def phase(kind: Kind, *, wanted: bool) -> Phase:
    """Return when an object's turn is."""
    if kind is Kind.SERVICE_ENTRY:
        return Phase.SERVICES if wanted else Phase.SERVICES_LEAVE
    return Phase.WORKLOADS if wanted else Phase.WORKLOADS_LEAVE


class Queue:
    """Keys in line. Times are those of the clock, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lines: tuple[dict[ResourceKey, None], ...] = tuple({} for _ in Phase)
        self._active: dict[ResourceKey, Phase | None] = {}
        """What is being looked at, and when to look again if it changed meanwhile."""
        self._later: list[tuple[float, ResourceKey, Phase]] = []
        self._due: dict[ResourceKey, float] = {}
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        """Return how many keys wait, including those for later."""
        return sum(map(len, self._lines)) + len(self._due) + len(self._active)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is in line now, or being looked at."""
        return not self._active and not any(self._lines)

    def clear(self) -> None:
        """Forget everything."""
        for line in self._lines:
            line.clear()
        self._active.clear()
        self._later.clear()
        self._due.clear()

    def add(self, key: ResourceKey, when: Phase) -> None:
        """Put a key in line; one that waits for later is looked at now."""
        self._due.pop(key, None)
        if key in self._active:
            self._active[key] = when
            return
        for line in self._lines:
            line.pop(key, None)
        self._lines[when][key] = None
        self._wake.set()

    def add_later(self, key: ResourceKey, when: Phase, seconds: float) -> None:
        """Put a key in line in so many seconds, unless something happens to it before."""
        if any(key in line for line in self._lines) or self._active.get(key) is not None:
            return
        due = self._clock() + seconds
        self._due[key] = due
        heapq.heappush(self._later, (due, key, when))
        self._wake.set()

    async def take(self) -> ResourceKey:
        """Return the next key; say `done` when it has been looked at."""
        while True:
            wait = self._promote()
            for line in self._lines:
                if line:
                    key = next(iter(line))
                    del line[key]
                    self._active[key] = None
                    return key
            self._wake.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def done(self, key: ResourceKey) -> None:
        """Let go of a key; if it changed meanwhile it is in line again."""
        again = self._active.pop(key, None)
        if again is not None:
            self.add(key, again)

    def _promote(self) -> float | None:
        """Put in line what is due; return the seconds until the next one is, None without one."""
        while self._later:
            due, key, when = self._later[0]
            if self._due.get(key) == due:
                if due > self._clock():
                    return due - self._clock()
                self.add(key, when)
            heapq.heappop(self._later)
        return None
