"""A real Consul that ends, freezes or is restored: nothing registered may leave, changes are followed."""

import asyncio
from pathlib import Path

import pytest

from integration.consul.agents import Agent
from integration.consul.watching import ADDRESSES, config_for, fill, watching
from integration.processes import eventually as until
from integration.processes import stays

pytest_plugins = ["integration.consul.servers"]


@pytest.mark.parametrize("way", ["stop", "kill"])
async def test_a_restarted_server_loses_nothing(version: str, tmp_path: Path, way: str) -> None:
    async with Agent(version, tmp_path) as server:
        await fill(server)
        async with watching(config_for(server)) as watch:
            await (server.stop() if way == "stop" else server.kill())
            await until(watch.is_in_trouble)
            await server.start(is_ready=False)
            assert await stays(watch.lost_nothing, 1.5)
            await until(watch.is_synced_again)
            assert await watch.lost_nothing()

            await server.deregister("orders", "192.0.2.1")
            await watch.holds("orders", ADDRESSES - {"192.0.2.1"})


@pytest.mark.parametrize("killed", ["client", "server", "both"])
async def test_a_restarted_client_agent_loses_nothing(version: str, tmp_path: Path, killed: str) -> None:
    async with (
        Agent(version, tmp_path) as server,
        Agent(version, tmp_path, "cl1", joins=server) as client,
    ):
        await fill(server)
        async with watching(config_for(client)) as watch:
            if killed in ("server", "both"):
                await server.kill()
            if killed in ("client", "both"):
                await client.kill()
                # Without servers it has nothing to say, and with streaming says so as if it were the truth.
                await client.start(is_ready=killed == "client")
            assert await stays(watch.lost_nothing, 1.5)
            if killed in ("server", "both"):
                await server.start()
            await until(watch.is_synced_again, 60)
            assert await watch.lost_nothing()

            await server.deregister("orders", "192.0.2.1")
            await watch.holds("orders", ADDRESSES - {"192.0.2.1"})


async def test_a_frozen_server_loses_nothing(version: str, tmp_path: Path) -> None:
    async with Agent(version, tmp_path) as server:
        await fill(server)
        async with watching(config_for(server)) as watch:
            server.freeze()
            await until(watch.is_in_trouble)
            server.thaw()

            await until(watch.is_synced_again)
            assert await watch.lost_nothing()


async def test_a_restored_server_loses_nothing_and_is_followed(version: str, tmp_path: Path) -> None:
    async with Agent(version, tmp_path) as server:
        await fill(server)
        snapshot = await server.call("GET", "/v1/snapshot")
        for number in range(60):  # Moves the index well beyond that of the snapshot.
            await server.register("orders", "192.0.2.99", 1000 + number)
        await server.deregister("orders", "192.0.2.99")
        async with watching(config_for(server)) as watch:
            await server.call("PUT", "/v1/snapshot", snapshot)
            await asyncio.sleep(1.5)
            await server.register("orders", "192.0.2.77")

            await watch.holds("orders", ADDRESSES | {"192.0.2.77"})
            assert await watch.lost_nothing()
