"""Runs the adapter as the bridge would, and keeps what it says."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

from integration.processes import eventually as until
from meshbridge.adapters.base import AdapterContext
from meshbridge.adapters.zookeeper.adapter import ZooKeeperAdapter
from meshbridge.adapters.zookeeper.settings import RootSettings, ZookeeperConfig
from meshbridge.schemas.errors import RegistryError
from meshbridge.schemas.registry import (
    FullSync,
    InstanceGroup,
    Labels,
    SourceEvent,
    SourceReport,
    SourceState,
)

JSON_ROOT = {"path": "/mesh", "layout": "json"}


T = TypeVar("T")


async def eventually(condition: Callable[[], T], within: float = 20.0) -> T:
    """Return the first true value of the condition.

    Raises:
        TimeoutError: it has none within so many seconds.
    """

    async def check() -> T:
        return condition()

    return await until(check, within)


class Watching:
    """Runs the adapter of a root, as often as it raises, and keeps what it says."""

    def __init__(self, hosts: str, root: dict[str, object], **settings: object) -> None:
        settings = {"session_timeout": "4s", "connect_timeout": "5s"} | settings
        roots = [RootSettings.model_validate(root)]
        self.config = ZookeeperConfig.model_validate(
            {"name": "zk", "hosts": hosts, "roots": roots, **settings}
        )
        self.adapter = self.config.build(AdapterContext("zk"))
        assert isinstance(self.adapter, ZooKeeperAdapter)
        self.events: list[tuple[float, SourceEvent]] = []
        self.groups: dict[str, InstanceGroup] = {}
        self.errors: list[RegistryError] = []
        self.fewest = 10**9
        """The smallest number of instances there has been since the first full read."""
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            try:
                await self.adapter.run(self._emit)
            except RegistryError as error:
                self.errors.append(error)
            await asyncio.sleep(0.2)

    async def _emit(self, event: SourceEvent) -> None:
        self.events.append((time.monotonic(), event))
        if isinstance(event, FullSync):
            self.groups = {group.key.name: group for group in event.groups}
        elif not isinstance(event, SourceReport):
            self.groups[event.group.key.name] = event.group
        self.fewest = min(self.fewest, self.count)

    @property
    def count(self) -> int:
        """How many instances there are."""
        if self.task.done():
            self.task.result()
        return sum(len(group.instances) for group in self.groups.values())

    @property
    def state(self) -> SourceState | None:
        reports = [event for _, event in self.events if isinstance(event, SourceReport)]
        return reports[-1].state if reports else None

    @property
    def details(self) -> Labels:
        """What the last report says besides the state."""
        reports = [event for _, event in self.events if isinstance(event, SourceReport)]
        return reports[-1].details if reports else ()

    @property
    def reasons(self) -> set[str]:
        """Everything that reports ever said."""
        return {event.reason for _, event in self.events if isinstance(event, SourceReport)}

    def addresses(self, service: str) -> set[str]:
        found = self.groups.get(service)
        return {instance.address for instance in found.instances} if found else set()


@asynccontextmanager
async def watching(
    hosts: str, root: dict[str, object] | None = None, **settings: object
) -> AsyncIterator[Watching]:
    made = Watching(hosts, root or JSON_ROOT, **settings)
    try:
        yield made
    finally:
        made.task.cancel()
        with suppress(asyncio.CancelledError):
            await made.task
