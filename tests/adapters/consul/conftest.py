"""A fake Consul for each test, and a supervised watch over it."""

import asyncio
import importlib.util
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from meshbridge.adapters.base import AdapterContext
from meshbridge.adapters.consul.settings import ConsulConfig
from meshbridge.bridge.supervise import Supervised
from meshbridge.schemas.registry import FullSync, GroupUpdate, InstanceGroup, SourceEvent, SourceReport

HERE = Path(__file__).parent


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"consul_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


HARNESS = _load("harness")


class Counts:
    """Metrics that can be looked at."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.levels: dict[str, object] = {}

    def attempt(self) -> None:
        self.seen.append("attempt")

    def success(self) -> None:
        self.seen.append("success")

    def error(self, reason: str) -> None:
        self.seen.append(f"error {reason}")

    def rejected(self, reason: str) -> None:
        self.seen.append(f"rejected {reason}")

    def strategy(self, name: str) -> None:
        self.levels["strategy"] = name

    def level(self, what: str, value: float) -> None:
        self.levels[what] = value


class Watch:
    """A running adapter: every event, and what follows from them."""

    def __init__(self, config: ConsulConfig, previous: Any, clock: Any, *, is_supervised: bool) -> None:
        self.events: list[SourceEvent] = []
        self.groups: dict[str, InstanceGroup] = {}
        self.counts = Counts()
        extra = {"clock": clock} if clock else {}
        context = AdapterContext("consul", self.counts, previous=lambda: previous or {}, **extra)
        adapter = config.build(context)
        if is_supervised:
            adapter = Supervised(adapter)
        self.task = asyncio.create_task(adapter.run(self._emit), name="adapter under test")

    async def _emit(self, event: SourceEvent) -> None:
        self.events.append(event)
        if isinstance(event, FullSync):
            self.groups = {found.key.name: found for found in event.groups}
        elif isinstance(event, GroupUpdate):
            self.groups[event.group.key.name] = event.group

    @property
    def data(self) -> list[SourceEvent]:
        return [event for event in self.events if not isinstance(event, SourceReport)]

    @property
    def report(self) -> SourceReport | None:
        found = [event for event in self.events if isinstance(event, SourceReport)]
        return found[-1] if found else None

    @property
    def state(self) -> str:
        return self.report.state.value if self.report else ""

    @property
    def details(self) -> dict[str, str]:
        return dict(self.report.details) if self.report else {}

    def addresses(self, service: str) -> set[str]:
        found = self.groups.get(service)
        return {instance.address for instance in found.instances} if found else set()


@pytest.fixture
async def fake() -> AsyncIterator[Any]:
    """A fake Consul without ACLs."""
    made = HARNESS.FakeConsul()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def make_fake() -> AsyncIterator[Callable[..., Any]]:
    """`await make_fake()` starts another; all end after the watches of a test."""
    async with AsyncExitStack() as stack:

        async def start(tls: Any = None, path: str = "") -> Any:
            made = HARNESS.FakeConsul(tls)
            await made.start(path)
            stack.push_async_callback(made.stop)
            return made

        yield start


@pytest.fixture
async def watch() -> AsyncIterator[Callable[..., Watch]]:
    """`watch(fake, wait="1s")` runs an adapter for the fake until the test ends."""
    async with AsyncExitStack() as stack:

        def start(
            fake: Any,
            *,
            previous: Any = None,
            clock: Any = None,
            is_supervised: bool = True,
            **settings: object,
        ) -> Watch:
            found = {"name": "consul", "wait": "200ms", "timeout": "500ms"}
            if fake is not None:
                found["address"] = fake.url
            made = Watch(ConsulConfig(**(found | settings)), previous, clock, is_supervised=is_supervised)

            async def end() -> None:
                made.task.cancel()
                await asyncio.wait([made.task])

            stack.push_async_callback(end)
            return made

        yield start
