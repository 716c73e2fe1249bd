"""Eureka under what the bridge puts around an adapter: active checks, and more sources beside it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from meshbridge.adapters.base import AdapterContext
from meshbridge.adapters.eureka.adapter import EurekaAdapter
from meshbridge.adapters.eureka.settings import EurekaConfig
from meshbridge.adapters.probing.adapter import Probing
from meshbridge.adapters.probing.settings import ProbeSettings
from meshbridge.schemas.registry import Health

HERE = "127.0.0.1"


@asynccontextmanager
async def listening() -> AsyncIterator[int]:
    """Give a port that is open."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), HERE, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture
async def probed(start, eureka):
    """An adapter with checks around it, which say "down" at the first failure."""
    context = AdapterContext("spring")
    config = EurekaConfig(name="spring", urls=[eureka.url], poll_interval="10ms")
    settings = ProbeSettings(tcp={}, interval="30ms", fall=1, panic_percent=100)

    async def begin():
        return await start(adapter=Probing(EurekaAdapter(config, context), settings, context))

    return begin


def register(eureka, name: str, port: int, **fields: object) -> None:
    item = {"ipAddr": HERE, "hostName": None, "instanceId": name, "port": {"$": port, "@enabled": "true"}}
    eureka.register("shop", name, **{**item, **fields})


def health(run) -> dict[str, Health]:
    return {found.id: found.health for found in run.groups["shop"].instances}


async def test_instance_that_is_up_with_a_closed_port_becomes_unready(eureka, probed, eventually) -> None:
    async with listening() as closed:
        pass
    async with listening() as port:
        register(eureka, "open", port)
        register(eureka, "dead", closed)
        register(eureka, "leaving", closed, status="OUT_OF_SERVICE")
        run = await probed()

        await eventually(lambda: health(run)["dead"] is Health.UNREADY)

        assert health(run) == {
            "open": Health.READY,
            "dead": Health.UNREADY,
            "leaving": Health.DRAINING,
        }


async def test_status_of_the_registry_passes_through_the_checks(eureka, probed, eventually) -> None:
    async with listening() as port:
        register(eureka, "a", port)
        run = await probed()
        await eventually(lambda: health(run) == {"a": Health.READY})

        eureka.change("shop", "a", status="OUT_OF_SERVICE")
        await eventually(lambda: health(run) == {"a": Health.DRAINING})
        eureka.change("shop", "a", status="DOWN")
        await eventually(lambda: health(run) == {"a": Health.UNREADY})
        eureka.change("shop", "a", status="UP")
        await eventually(lambda: health(run) == {"a": Health.READY})


async def test_several_clusters_are_several_sources_that_share_nothing(
    eureka, peer, start, eventually
) -> None:
    eureka.register("shop", "192.0.2.1")
    peer.register("shop", "192.0.2.2")
    runs = [
        await start(
            adapter=EurekaAdapter(
                EurekaConfig(name=name, urls=[server.url], poll_interval="10ms"), AdapterContext(name)
            )
        )
        for name, server in (("east", eureka), ("west", peer))
    ]

    await eureka.stop()
    await eventually(lambda: runs[0].is_in_trouble)
    peer.register("shop", "192.0.2.3")
    await eventually(lambda: runs[1].addresses("shop") == {"192.0.2.2", "192.0.2.3"})

    assert [str(run.groups["shop"].key) for run in runs] == ["east/shop", "west/shop"]
    assert runs[0].addresses("shop") == {"192.0.2.1"}
    assert not runs[1].is_in_trouble
    await eureka.start()
