"""A watch over a real Consul, what it holds, and the least it ever held."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from integration.consul.agents import Agent
from integration.processes import eventually as until
from meshbridge.adapters.base import AdapterContext
from meshbridge.adapters.consul.settings import ConsulConfig
from meshbridge.schemas.errors import RegistryDenied, RegistryError
from meshbridge.schemas.registry import FullSync, GroupUpdate, Instance, SourceEvent, SourceState

ADDRESSES = {f"192.0.2.{number}" for number in range(1, 6)}
SERVICES = ("orders", "payments")
_RESTART = 0.3
"""Seconds from the end of a run to the next; the supervisor of the bridge waits longer."""


class Watch:
    """An adapter that is run again and again."""

    def __init__(self, config: ConsulConfig) -> None:
        self.held: dict[str, set[str]] = {}
        self.instances: dict[str, tuple[Instance, ...]] = {}
        self.notes: dict[str, set[str]] = {}
        self.states: list[SourceState] = []
        self.reason = ""
        self.syncs = 0
        self.is_complete = False
        self.least = 10**9
        self._adapter = config.build(AdapterContext("consul"))

    async def run(self) -> None:
        while True:
            try:
                await self._adapter.run(self._emit)
            except RegistryError as error:
                is_denied = isinstance(error, RegistryDenied)
                self.states.append(SourceState.DENIED if is_denied else SourceState.STALE)
                self.reason = str(error)
            await asyncio.sleep(_RESTART)

    async def _emit(self, event: SourceEvent) -> None:
        groups = ()
        if isinstance(event, FullSync):
            self.syncs += 1
            self.held, self.instances = {}, {}
            groups = event.groups
            self.states.append(SourceState.SYNCED)
        elif isinstance(event, GroupUpdate):
            groups = (event.group,)
        else:
            self.states.append(event.state)
            self.reason = event.reason
        for found in groups:
            self.held[found.key.name] = {i.address for i in found.instances}
            self.instances[found.key.name] = found.instances
            self.notes[found.key.name] = {note.reason for note in found.notes}
        if self.count == len(ADDRESSES) * len(SERVICES):
            self.is_complete = True
        if self.is_complete:
            self.least = min(self.least, self.count)

    @property
    def count(self) -> int:
        return sum(len(self.held.get(service, ())) for service in SERVICES)

    @property
    def state(self) -> SourceState | None:
        return self.states[-1] if self.states else None

    async def has_all(self) -> bool:
        return all(self.held.get(service) == ADDRESSES for service in SERVICES)

    async def is_synced_again(self) -> bool:
        return self.state is SourceState.SYNCED and await self.has_all()

    async def lost_nothing(self) -> bool:
        return self.least == len(ADDRESSES) * len(SERVICES)

    async def is_in_trouble(self) -> bool:
        return self.state in (SourceState.STALE, SourceState.DENIED)

    async def holds(self, service: str, addresses: set[str], within: float = 30.0) -> None:
        async def check() -> bool:
            return self.held.get(service, set()) == addresses

        await until(check, within)


@asynccontextmanager
async def started(config: ConsulConfig) -> AsyncIterator[Watch]:
    """A watch that runs."""
    watch = Watch(config)
    task = asyncio.create_task(watch.run())
    try:
        yield watch
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def watching(config: ConsulConfig) -> AsyncIterator[Watch]:
    """A watch that holds what `fill` registered."""
    async with started(config) as watch:
        await until(watch.has_all)
        yield watch


async def fill(agent: Agent) -> None:
    for service in SERVICES:
        for address in sorted(ADDRESSES):
            await agent.register(service, address, Tags=["blue"], Meta={"version": "v1"})


def config_for(agent: Agent, **settings: object) -> ConsulConfig:
    return ConsulConfig(
        **({"name": "consul", "address": agent.url, "wait": "1s", "timeout": "1500ms"} | settings)
    )
