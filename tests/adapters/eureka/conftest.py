"""What the tests of Eureka share: servers in this process, and adapters that watch them."""

import asyncio
import importlib.util
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from meshbridge.adapters.base import AdapterContext
from meshbridge.adapters.eureka.adapter import EurekaAdapter
from meshbridge.adapters.eureka.settings import EurekaConfig
from meshbridge.schemas.errors import RegistryError
from meshbridge.schemas.registry import FullSync, GroupUpdate, InstanceGroup, SourceEvent, SourceReport


def _load_fake() -> Any:
    spec = importlib.util.spec_from_file_location("eureka_fake", Path(__file__).with_name("fake.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.FakeEureka


FakeEureka = _load_fake()


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


class Clock:
    """The loop's time, put forward at will."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return asyncio.get_running_loop().time() + self.ahead


class Run:
    """A running adapter, what it said, and what that amounts to."""

    def __init__(self, adapter: EurekaAdapter, counts: Counts, clock: Clock) -> None:
        self.adapter = adapter
        self.counts = counts
        self.clock = clock
        self.events: list[SourceEvent] = []
        self.groups: dict[str, InstanceGroup] = {}
        self.reported = asyncio.Event()
        self.polls = 0
        self.task = asyncio.create_task(adapter.run(self._emit), name="adapter under test")

    @property
    def data(self) -> list[FullSync | GroupUpdate]:
        return [event for event in self.events if not isinstance(event, SourceReport)]

    @property
    def report(self) -> SourceReport:
        return next(event for event in reversed(self.events) if isinstance(event, SourceReport))

    @property
    def details(self) -> dict[str, str]:
        return dict(self.report.details)

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
            self.reported.set()


Start = Callable[..., Awaitable[Run]]


@pytest.fixture
async def eureka() -> AsyncIterator[Any]:
    """A server that is running, empty."""
    server = FakeEureka()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def peer() -> AsyncIterator[Any]:
    """A second server of the cluster, running and empty; nothing is replicated by itself."""
    server = FakeEureka()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """`await start(server, poll_interval="1s")` gives a Run that has synced, or raises what it raised."""
    runs: list[Run] = []

    async def begin(
        *servers: Any,
        previous: dict[str, InstanceGroup] | None = None,
        adapter: EurekaAdapter | None = None,
        **settings: object,
    ) -> Run:
        counts, clock = Counts(), Clock()
        if adapter is None:
            values = {
                "name": "spring",
                "urls": [server.url for server in servers],
                "poll_interval": "10ms",
                **settings,
            }
            config = EurekaConfig.model_validate(values)
            context = AdapterContext("spring", counts, clock, previous=lambda: previous or {})
            adapter = EurekaAdapter(config, context)
        run = Run(adapter, counts, clock)
        runs.append(run)
        reported = asyncio.create_task(run.reported.wait(), name="waits for the first report")
        await asyncio.wait([run.task, reported], return_when=asyncio.FIRST_COMPLETED)
        reported.cancel()
        if run.task.done():
            await run.task
        return run

    yield begin
    for run in runs:
        await run.stop()
