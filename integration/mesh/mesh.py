"""A bridge that follows a registry, and an istiod that follows the bridge."""

from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from integration.bridges import Bridge
from integration.istiod.process import Istiod
from integration.mesh.registries import Registry


class Mesh:
    """Both run, and istiod is ready, for as long as `async with` lasts."""

    def __init__(self, registry: Registry, bridge: Bridge, istiod: Istiod) -> None:
        self.registry = registry
        self.bridge = bridge
        self.istiod = istiod
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.bridge)
            await stack.enter_async_context(self.istiod)
            await self.istiod.wait_ready()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    @property
    def kind(self) -> str:
        """Kind of the registry."""
        return str(self.registry.source["kind"])

    def host(self, service: str) -> str:
        """Return the name that the bridge gives the service."""
        return f"{service}.{self.registry.source['name']}.mesh"

    async def registry_is(self, state: str) -> bool:
        """Whether the registry is in this state, as the bridge sees it."""
        return all(source["state"] == state for source in await self.bridge.get("sources"))
