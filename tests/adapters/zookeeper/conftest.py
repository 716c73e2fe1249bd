"""A ZooKeeper server and a watched root for the tests of this folder."""

import asyncio
import importlib.util
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from meshbridge.adapters.base import AdapterContext
from meshbridge.adapters.zookeeper.settings import RootSettings, ZookeeperConfig
from meshbridge.schemas.errors import RegistryError
from meshbridge.schemas.registry import FullSync, InstanceGroup, SourceEvent, SourceReport, SourceState

_PATH = Path(__file__).with_name("server.py")
_SPEC = importlib.util.spec_from_file_location("fake_zookeeper", _PATH)
_MODULE = importlib.util.module_from_spec(_SPEC)
sys.modules["fake_zookeeper"] = _MODULE
_SPEC.loader.exec_module(_MODULE)


class Watching:
    """Runs the adapter of a root and keeps what it says."""

    def __init__(self, server: object, *, root: Mapping[str, object], **settings: object) -> None:
        self.events: list[SourceEvent] = []
        self.groups: dict[str, InstanceGroup] = {}
        self.counts: Counter[str] = Counter()
        self.previous: dict[str, InstanceGroup] = {}
        settings = {"hosts": f"127.0.0.1:{server.port}", "connect_timeout": "500ms"} | settings
        self.config = ZookeeperConfig(name="zk", roots=[RootSettings(**root)], **settings)
        self.adapter = self.config.build(AdapterContext("zk", self, previous=lambda: self.previous))
        self.task: asyncio.Task[None]

    def attempt(self) -> None:
        self.counts["attempt"] += 1

    def success(self) -> None:
        self.counts["success"] += 1

    def error(self, reason: str) -> None:
        self.counts[f"error {reason}"] += 1

    def rejected(self, reason: str) -> None:
        self.counts[f"rejected {reason}"] += 1

    def start(self) -> None:
        self.task = asyncio.create_task(self.adapter.run(self._emit), name="adapter under test")

    async def stop(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError, RegistryError):
            await self.task

    @property
    def data(self) -> list[SourceEvent]:
        return [event for event in self.events if not isinstance(event, SourceReport)]

    @property
    def report(self) -> SourceReport | None:
        return next((event for event in reversed(self.events) if isinstance(event, SourceReport)), None)

    @property
    def is_synced(self) -> bool:
        return self.report is not None and self.report.state is SourceState.SYNCED

    @property
    def is_stale(self) -> bool:
        return self.report is not None and self.report.state is SourceState.STALE

    @property
    def addresses(self) -> dict[str, set[str]]:
        """Addresses by service, for services that have instances."""
        found = {name: {i.address for i in group.instances} for name, group in self.groups.items()}
        return {name: addresses for name, addresses in found.items() if addresses}

    async def _emit(self, event: SourceEvent) -> None:
        self.events.append(event)
        if isinstance(event, FullSync):
            self.groups = {group.key.name: group for group in event.groups}
        elif not isinstance(event, SourceReport):
            self.groups[event.group.key.name] = event.group


@pytest.fixture
async def server() -> AsyncIterator[object]:
    """A running server with an empty root /mesh."""
    made = _MODULE.Server()
    made.create("/mesh", ephemeral=False)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def make_watching(server: object) -> AsyncIterator[object]:
    """Makes a watched root, not started: `make_watching(session_timeout="2s", root={...})`."""
    made: list[Watching] = []

    def make(**settings: object) -> Watching:
        root = settings.pop("root", {"path": "/mesh", "layout": "json"})
        made.append(Watching(server, root=root, **settings))
        return made[-1]

    yield make
    for watching in made:
        if hasattr(watching, "task"):
            await watching.stop()


@pytest.fixture
async def watching(make_watching: object) -> Watching:
    """The root /mesh of the server, layout json, being watched."""
    made = make_watching()
    made.start()
    return made


@pytest.fixture
def record() -> object:
    """`record("10.0.0.1")` is the data of an instance's node."""
    return lambda address: json.dumps({"address": address, "port": 80}).encode()
