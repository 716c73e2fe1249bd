"""Reads services that are not waited for when one of them may have changed, as fast as the doubt is grave."""

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Sequence

from meshbridge.adapters.consul.reads import Reads
from meshbridge.adapters.consul.settings import ConsulConfig
from meshbridge.adapters.consul.trail import Doubt

_SETTLE = 0.2
"""Seconds in which services that are waited for explain what the catalog says."""
_UNHURRIED = 0.1
"""Share of the rate at which services are read whose change is possible rather than certain."""


class Sweeps:
    """Reads around the circle of services, until everything is explained or all were read once."""

    def __init__(self, config: ConsulConfig, reads: Reads) -> None:
        self._rate = config.sweep_rate
        self._reads = reads
        self._moved = asyncio.Event()
        self._newest = 0
        self._last = ""
        """The service that was read last; the next one in order follows."""

    def note(self, index: int) -> None:
        """Note the catalog's index."""
        if index != self._newest:
            self._newest = index
            self._reads.trail.move(index)
            self._moved.set()

    async def run(self, cold: Callable[[], Sequence[str]]) -> None:
        """Sweep when there is doubt, until cancelled; `cold` returns the services to read, sorted."""
        while True:
            await self._moved.wait()
            await self._sweep(cold)

    async def _sweep(self, cold: Callable[[], Sequence[str]]) -> None:
        trail = self._reads.trail
        names, left, reached = cold(), 0, self._newest
        while self._moved.is_set() or left:
            if self._moved.is_set():  # All again, since those read before may have changed after.
                self._moved.clear()
                await asyncio.sleep(_SETTLE)
                names, reached = cold(), self._newest
                left = len(names)
            if trail.doubt is Doubt.NONE or not names:
                break
            self._last = names[bisect_right(names, self._last) % len(names)]
            self._reads.sweep.put(self._last)
            left -= 1
            share = 1.0 if trail.doubt is Doubt.GRAVE else _UNHURRIED
            await asyncio.sleep(1 / (self._rate * share))
        trail.settle(reached)
