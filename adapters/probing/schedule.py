"""When each target is checked: one heap for all of them, and a budget of checks under way."""

import asyncio
import heapq
import itertools
import random
from collections.abc import Awaitable, Callable
from typing import Never

from meshbridge.adapters.probing.roster import Target

_GRAIN = 0.001
"""Seconds by which a check may be early: timers are no finer, and fewer wake-ups are needed."""


class Schedule:
    """Checks targets at their intervals, each from its own random moment on. Lives in one event loop."""

    def __init__(self, concurrency: int) -> None:
        self._heap: list[tuple[float, int, Target]] = []
        self._order = itertools.count()  # Equal times must not compare targets.
        self._earlier = asyncio.Event()
        self._budget = asyncio.Semaphore(concurrency)

    def add(self, target: Target) -> None:
        """Check this target from now on, until it has no users; the first time within an interval."""
        phase = random.random() * target.probe.interval  # noqa: S311 - it spreads load and hides nothing
        self._push(asyncio.get_running_loop().time() + target.probe.initial_delay + phase, target)

    async def run(self, check: Callable[[Target], Awaitable[None]]) -> Never:
        """Call `check` for whatever is due; when the budget is spent, targets wait for their turn."""
        async with asyncio.TaskGroup() as checks:
            while True:
                await self._budget.acquire()
                due, target = await self._next()
                checks.create_task(self._check_once(check, due, target), name=f"probe {target.address}")

    async def _check_once(
        self, check: Callable[[Target], Awaitable[None]], due: float, target: Target
    ) -> None:
        try:
            await check(target)
        finally:
            self._budget.release()
        probe = target.probe
        pause = probe.interval * random.uniform(1 - probe.jitter, 1 + probe.jitter)  # noqa: S311 - as above
        self._push(max(due + pause, asyncio.get_running_loop().time()), target)

    async def _next(self) -> tuple[float, Target]:
        """Wait for the next target that is due and hasn't left; return it with its time."""
        while True:
            await self._until_due()
            due, _, target = heapq.heappop(self._heap)
            if target.users:
                return due, target

    async def _until_due(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._heap or self._heap[0][0] > loop.time() + _GRAIN:
            self._earlier.clear()
            timer = loop.call_at(self._heap[0][0], self._earlier.set) if self._heap else None
            try:
                await self._earlier.wait()
            finally:
                if timer:
                    timer.cancel()

    def _push(self, due: float, target: Target) -> None:
        if not self._heap or due < self._heap[0][0]:
            self._earlier.set()
        heapq.heappush(self._heap, (due, next(self._order), target))
