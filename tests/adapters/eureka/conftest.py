"""What the tests of Eureka share: servers in this process, and adapters that watch them."""

import asyncio
import importlib.util
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from meshbridge.adapters.base import AdapterContext
from meshbridge.adapters.eureka.adapter import EurekaAdapter
from meshbridge.adapters.eureka.settings import EurekaConfig
from meshbridge.schemas.registry import InstanceGroup


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"eureka_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


CONTRACT = _load(Path(__file__).parents[2] / "contract.py")
FakeEureka = _load(Path(__file__).with_name("fake.py")).FakeEureka


class Clock:
    """The loop's time, put forward at will."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return asyncio.get_running_loop().time() + self.ahead


class Run(CONTRACT.Watch):
    """A running adapter whose clock can be put forward."""

    def __init__(self, adapter: EurekaAdapter, counts: object, clock: Clock) -> None:
        super().__init__(adapter, counts=counts)
        self.clock = clock


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
        counts, clock = CONTRACT.Counts(), Clock()
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
        await run.settled()
        return run

    yield begin
    for run in runs:
        await run.stop()
