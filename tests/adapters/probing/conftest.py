"""A registry that says what it is told to, and checks that answer what they are told to."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest

from meshbridge.adapters.base import AdapterContext, Emit
from meshbridge.adapters.probing.adapter import Probing
from meshbridge.adapters.probing.checks import Check
from meshbridge.adapters.probing.settings import ProbeSettings
from meshbridge.schemas.registry import (
    FullSync,
    GroupUpdate,
    Instance,
    InstanceGroup,
    Port,
    ServiceKey,
    SourceEvent,
    SourceReport,
    group,
)


class FakeRegistry:
    """An adapter that emits, raises or returns (None) what it finds in its inbox."""

    name = "vms"

    def __init__(self) -> None:
        self.inbox: asyncio.Queue[SourceEvent | Exception | None] = asyncio.Queue()

    async def run(self, emit: Emit) -> None:
        while (event := await self.inbox.get()) is not None:
            if isinstance(event, Exception):
                raise event
            await emit(event)


class Scene:
    """A Probing between a fake registry, fake checks, and a consumer that remembers."""

    def __init__(self) -> None:
        self.registry = FakeRegistry()
        self.failures: dict[str, str] = {}
        """Why the check of an address fails; others pass."""
        self.hanging: set[str] = set()
        self.checks: list[tuple[float, str]] = []
        """Loop time and address of each check."""
        self.under_way = 0
        self.most_under_way = 0
        self.events: list[SourceEvent] = []
        self.open = asyncio.Event()
        """Whether the consumer takes events."""
        self.open.set()
        self.tasks: list[asyncio.Task[None]] = []
        self.previous: dict[str, InstanceGroup] = {}

    async def __aenter__(self) -> Check:
        return self.check

    async def __aexit__(self, *_: object) -> None:
        assert self.under_way == 0, "checks end before what they share is closed"

    async def check(self, address: str, port: int, probe: ProbeSettings) -> str:
        self.checks.append((asyncio.get_running_loop().time(), address))
        failure = self.failures.get(address, "")
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if address in self.hanging:
                await asyncio.Event().wait()
            await asyncio.sleep(0.01)
        finally:
            self.under_way -= 1
        if failure == "bug":
            raise KeyError(address)
        return failure

    async def emit(self, event: SourceEvent) -> None:
        await self.open.wait()
        self.events.append(event)

    def make(self, **probe: object) -> Probing:
        settings = ProbeSettings.model_validate({"tcp": {}, **probe})
        context = AdapterContext("vms", clock=time.monotonic, previous=lambda: self.previous)
        return Probing(self.registry, settings, context, self)

    def run(self, probing: Probing) -> asyncio.Task[None]:
        self.tasks.append(asyncio.create_task(probing.run(self.emit), name="probing"))
        return self.tasks[-1]

    def start(self, **probe: object) -> asyncio.Task[None]:
        return self.run(self.make(**probe))

    def say(self, *events: SourceEvent | Exception | None) -> None:
        for event in events:
            self.registry.inbox.put_nowait(event)

    @property
    def groups(self) -> dict[str, InstanceGroup]:
        """What a consumer knows now, by service name."""
        known: dict[str, InstanceGroup] = {}
        for event in self.events:
            if isinstance(event, FullSync):
                known = {one.key.name: one for one in event.groups}
            elif isinstance(event, GroupUpdate):
                known[event.group.key.name] = event.group
        return known

    def healths(self, name: str = "pay") -> dict[str, str]:
        return {instance.id: instance.health.value for instance in self.groups[name].instances}

    @property
    def reports(self) -> list[SourceReport]:
        return [event for event in self.events if isinstance(event, SourceReport)]


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    yield scene
    for task in scene.tasks:
        task.cancel()
    await asyncio.gather(*scene.tasks, return_exceptions=True)


@pytest.fixture
def make_group() -> Callable[..., InstanceGroup]:
    def make(*numbers: int, name: str = "pay", **fields: object) -> InstanceGroup:
        instances = [
            Instance(str(number), f"10.0.0.{number}", (Port("web", 80),), **fields)  # type: ignore[arg-type]
            for number in numbers
        ]
        return group(ServiceKey("vms", name), instances)

    return make
