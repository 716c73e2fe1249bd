"""A real Consul behind a bad network: nothing registered may leave, and good times are made use of."""

from collections.abc import AsyncIterator

import pytest

from integration.consul.agents import Agent
from integration.consul.watching import ADDRESSES, config_for, fill, watching
from integration.processes import eventually as until
from integration.processes import stays
from integration.proxy import NO_FAULT, Fault, Proxy
from meshbridge.adapters.consul.settings import ConsulConfig
from meshbridge.schemas.registry import SourceState

pytest_plugins = ["integration.consul.servers"]


@pytest.fixture
async def proxy(server: Agent) -> AsyncIterator[Proxy]:
    """A proxy in front of a server that has what `fill` registers."""
    await fill(server)
    async with Proxy(int(server.url.rpartition(":")[2])) as made:
        yield made


def through(proxy: Proxy, server: Agent, **settings: object) -> ConsulConfig:
    address = f"http://127.0.0.1:{proxy.port}"
    return config_for(server, **({"address": address, "wait": "1s", "timeout": "500ms"} | settings))


@pytest.mark.parametrize(
    "fault",
    [
        Fault(bytes_per_second=100),
        Fault(cut_after=20),
        Fault(cut_after=700),
        Fault(is_silent=True),
        Fault(latency=2.0),
    ],
    ids=["drips", "cut in the header", "cut in the body", "silent", "late"],
)
async def test_a_spoilt_network_takes_nothing(server: Agent, proxy: Proxy, fault: Fault) -> None:
    async with watching(through(proxy, server)) as watch:
        proxy.fault = fault
        await until(watch.is_in_trouble)
        await server.deregister("orders", "192.0.2.1")
        assert await stays(watch.lost_nothing, 1)

        proxy.fault = NO_FAULT
        await watch.holds("orders", ADDRESSES - {"192.0.2.1"})
        assert watch.held["payments"] == ADDRESSES


async def test_reset_connections_take_nothing(server: Agent, proxy: Proxy) -> None:
    async with watching(through(proxy, server, wait="30s")) as watch:

        async def are_waiting() -> bool:
            return proxy.connections >= 4

        await until(are_waiting)
        for _ in range(5):
            proxy.reset()
            assert await stays(watch.lost_nothing, 0.2)

        await server.deregister("orders", "192.0.2.1")
        await watch.holds("orders", ADDRESSES - {"192.0.2.1"})


async def test_a_slow_network_is_no_trouble(server: Agent, proxy: Proxy) -> None:
    proxy.fault = Fault(latency=0.1)
    async with watching(through(proxy, server)) as watch:
        await server.deregister("orders", "192.0.2.1")
        await watch.holds("orders", ADDRESSES - {"192.0.2.1"})

        assert set(watch.states) == {SourceState.SYNCED}
