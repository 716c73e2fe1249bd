"""The Consul adapter against real servers, with and without streaming: the contract, and the whole bridge."""

import asyncio
import importlib.util
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from integration.consul.agents import Agent
from integration.consul.watching import ADDRESSES, fill
from integration.processes import eventually as until
from meshbridge.adapters.consul.settings import ConsulConfig
from meshbridge.bridge.app import running
from meshbridge.bridge.config.models import Config
from meshbridge.mcp.client import IstiodClient

pytest_plugins = ["integration.consul.servers"]

SERVICE_ENTRIES = "networking.istio.io/v1/ServiceEntry"


def _contract() -> ModuleType:
    path = Path(__file__).parent.parent / "tests" / "contract.py"
    spec = importlib.util.spec_from_file_location("adapter_contract_for_consul", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def eventually() -> Callable[..., Any]:
    """What the contract waits with; a real server takes longer."""

    async def wait(condition: Callable[[], Any], *, within: float = 15.0) -> Any:
        async def check() -> Any:
            return condition()

        return await until(check, within)

    return wait


class RealConsul:
    """The contract's view of a real server."""

    kind = "consul"
    label = "real consul"
    secret = ""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent

    def config(self) -> ConsulConfig:
        return ConsulConfig(name="tested", address=self.agent.url, wait="3s")

    async def register(self, service: str, address: str) -> None:
        await self.agent.register(service, address)

    async def deregister(self, service: str, address: str) -> None:
        await self.agent.deregister(service, address)

    async def corrupt(self, service: str, address: str) -> None:
        await self.agent.register(service, address, 70_000)

    async def shuffle(self) -> None:
        """A real server has an order of its own."""

    async def break_(self) -> None:
        await self.agent.kill()

    async def heal(self) -> None:
        await self.agent.start()


class BrokenThenChanged(RealConsul):
    """Changes made while it is broken are made when it is back, before anybody reads."""

    def __init__(self, agent: Agent) -> None:
        super().__init__(agent)
        self._is_broken = False
        self._missed: list[tuple[str, str, str]] = []

    async def break_(self) -> None:
        await super().break_()
        self._is_broken = True

    async def heal(self) -> None:
        await super().heal()
        self._is_broken = False
        for change, service, address in self._missed:
            await getattr(self, change)(service, address)

    async def register(self, service: str, address: str) -> None:
        if self._is_broken:
            self._missed.append(("register", service, address))
        else:
            await super().register(service, address)

    async def deregister(self, service: str, address: str) -> None:
        if self._is_broken:
            self._missed.append(("deregister", service, address))
        else:
            await super().deregister(service, address)


@pytest.fixture
async def harness(server: Agent) -> AsyncIterator[RealConsul]:
    """A server under the contract's control."""
    harness = BrokenThenChanged(server)
    yield harness
    if harness._is_broken:
        await server.start()


globals().update(_contract().TESTS)


async def test_changes_reach_istiod_and_a_dead_server_takes_nothing_away(
    server: Agent, version: str, figure: Callable[[str, str], None]
) -> None:
    await fill(server)
    source = {"name": "consul", "kind": "consul", "address": server.url, "wait": "2s"}
    config = Config.model_validate(
        {
            "sources": [source],
            "outputs": {"mcp": {"listen": "127.0.0.1:0"}},
            "admin": {"listen": "127.0.0.1:0"},
        }
    )

    def endpoints(client: IstiodClient, service: str) -> set[str]:
        held = client.entries.get(SERVICE_ENTRIES, {}).get(f"meshbridge/{service}.consul.mesh")
        return {found.address for found in held.spec.endpoints} if held else set()

    async with running(config) as bridge, IstiodClient(bridge.mcp_address) as client:
        await client.wait_for(lambda seen: seen.synced.is_set(), 30)
        await client.wait_for(lambda seen: endpoints(seen, "orders") == ADDRESSES, 30)

        started = time.monotonic()
        await server.register("orders", "192.0.2.66")
        await client.wait_for(lambda seen: "192.0.2.66" in endpoints(seen, "orders"), 30)
        figure(
            f"consul {version}: registered to held by istiod",
            f"{(time.monotonic() - started) * 1e3:.0f} ms",
        )

        await server.kill()
        await asyncio.sleep(1.5)
        assert endpoints(client, "orders") == ADDRESSES | {"192.0.2.66"}
        assert endpoints(client, "payments") == ADDRESSES
        await server.start()
        await server.deregister("orders", "192.0.2.66")
        await client.wait_for(lambda seen: endpoints(seen, "orders") == ADDRESSES, 30)
