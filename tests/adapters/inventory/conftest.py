"""What the tests of inventories share."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from meshbridge.adapters.base import AdapterContext
from meshbridge.adapters.inventory.adapter import InventoryAdapter
from meshbridge.adapters.inventory.settings import InventoryConfig
from meshbridge.schemas.errors import RegistryError
from meshbridge.schemas.registry import FullSync, GroupUpdate, InstanceGroup, SourceEvent, SourceReport


class Counts:
    """Metrics that can be looked at."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()

    def attempt(self) -> None:
        self.seen["attempt"] += 1

    def success(self) -> None:
        self.seen["success"] += 1

    def error(self, reason: str) -> None:
        self.seen[f"error {reason}"] += 1

    def rejected(self, reason: str) -> None:
        self.seen[f"rejected {reason}"] += 1


class Run:
    """A running adapter, what it said, and what that amounts to."""

    def __init__(self, adapter: InventoryAdapter, counts: Counts) -> None:
        self.adapter = adapter
        self.counts = counts
        self.events: list[SourceEvent] = []
        self.groups: dict[str, InstanceGroup] = {}
        self.synced = asyncio.Event()
        self.task = asyncio.create_task(adapter.run(self._emit), name="adapter under test")

    @property
    def updates(self) -> list[InstanceGroup]:
        return [event.group for event in self.events if isinstance(event, GroupUpdate)]

    @property
    def report(self) -> SourceReport | None:
        return next((event for event in reversed(self.events) if isinstance(event, SourceReport)), None)

    def addresses(self, service: str) -> set[str]:
        return {i.address for i in self.groups[service].instances} if service in self.groups else set()

    def notes(self, service: str) -> list[str]:
        return [f"{note.record}: {note.reason}" for note in self.groups[service].notes]

    async def stop(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError, RegistryError):
            await self.task

    async def _emit(self, event: SourceEvent) -> None:
        self.events.append(event)
        if isinstance(event, FullSync):
            self.groups = {group.key.name: group for group in event.groups}
        elif isinstance(event, GroupUpdate):
            self.groups[event.group.key.name] = event.group
        else:
            self.synced.set()


Start = Callable[..., Awaitable[Run]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """`await start(files=[...])` gives a Run that has synced, or raises what `run()` raised."""
    runs: list[Run] = []

    async def begin(
        previous: dict[str, InstanceGroup] | None = None,
        adapter: InventoryAdapter | None = None,
        **settings: object,
    ) -> Run:
        counts = Counts()
        if adapter is None:
            values = {"name": "vms", "settle": "50ms", **settings}
            if not values.keys() & {"files", "urls", "commands"}:
                values["files"] = [str(tmp_path)]
            config = InventoryConfig.model_validate(values)
            context = AdapterContext("vms", counts, previous=lambda: previous or {})
            adapter = InventoryAdapter(config, context)
        run = Run(adapter, counts)
        runs.append(run)
        synced = asyncio.create_task(run.synced.wait(), name="waits for the first report")
        await asyncio.wait([run.task, synced], return_when=asyncio.FIRST_COMPLETED)
        synced.cancel()
        if run.task.done():
            await run.task
        return run

    yield begin
    for run in runs:
        await run.stop()
