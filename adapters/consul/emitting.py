"""Says what changed: newest wins, and services that change together are told together."""

import asyncio
from collections.abc import Callable

from meshbridge.adapters.base import AdapterContext, Emit
from meshbridge.adapters.consul.readings import Readings
from meshbridge.schemas.registry import FullSync, GroupUpdate, SourceReport

_MANY = 5
"""More services than this changing at once are told in one event."""
_GATHER = 0.1
"""Seconds that a loss waits for further ones, so that whoever judges losses sees them together."""


class Outbox:
    """What is still to be said. It holds names, so a slow consumer gets the newest state."""

    def __init__(
        self, readings: Readings, context: AdapterContext, report: Callable[[], SourceReport]
    ) -> None:
        """Prepare to tell of the readings; `report` says how the source fares."""
        self._readings = readings
        self._context = context
        self._report = report
        self._changed: dict[str, float] = {}
        self._has_loss = False
        self._reported: SourceReport | None = None
        self._woken = asyncio.Event()

    def put(self, name: str, observed: float, *, is_loss: bool) -> None:
        """Note that a service's group differs; `observed` in monotonic seconds."""
        self._changed.setdefault(name, observed)
        self._has_loss = self._has_loss or is_loss
        self._woken.set()

    def wake(self) -> None:
        """Have the report looked at: it may be news."""
        self._woken.set()

    async def run(self, emit: Emit) -> None:
        """Say everything once, then what changes, until cancelled."""
        self._changed, self._has_loss = {}, False
        await emit(FullSync(self._readings.groups(), self._context.clock()))
        while True:
            await self._say_report(emit)
            await self._woken.wait()
            if self._has_loss:
                await asyncio.sleep(_GATHER)
            self._woken.clear()
            changed, self._changed, self._has_loss = self._changed, {}, False
            await self._say(changed, emit)

    async def _say(self, changed: dict[str, float], emit: Emit) -> None:
        if len(changed) > _MANY:
            await emit(FullSync(self._readings.groups(), min(changed.values())))
            self._reported = None  # It said "synced", which may not be the whole truth.
            return
        for name, observed in changed.items():
            await emit(GroupUpdate(self._readings.group(name), observed))

    async def _say_report(self, emit: Emit) -> None:
        report = self._report()
        if report != self._reported:
            self._reported = report
            await emit(report)
