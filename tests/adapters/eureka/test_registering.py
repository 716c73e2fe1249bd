import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from meshbridge.adapters.eureka.registering import Registration, Server, keep_registered
from meshbridge.schemas.errors import RegistryDenied, RegistryUnavailable
from meshbridge.schemas.registry import Health, Port

SHOP = Registration("shop", "192.0.2.1", 8080, heartbeat=0.02, metadata={"version": "v2", "zone": "eu-1a"})


class Keeping:
    """A registration that is kept up, and what it tells."""

    def __init__(self, server: Server, instance: Registration) -> None:
        self.told: list[str] = []
        self.stop = asyncio.Event()
        work = keep_registered(server, instance, self.stop, self.told.append)
        self.task = asyncio.create_task(work, name="keeps registered")

    def has_told(self, text: str) -> Callable[[], bool]:
        return lambda: any(text in line for line in self.told)


@asynccontextmanager
async def keeping(server: Server, instance: Registration = SHOP) -> AsyncIterator[Keeping]:
    found = Keeping(server, instance)
    try:
        yield found
    finally:
        found.stop.set()
        await found.task


async def test_registered_instance_is_what_the_adapter_reads(eureka, start, eventually) -> None:
    async with keeping(Server(eureka.url), Registration("shop", "192.0.2.1", 8080, 8443, vip="store,shop")):
        await eventually(lambda: eureka.apps)
        run = await start(eureka)

        (found,) = run.groups["shop"].instances
        assert (found.id, found.address, found.health) == ("192.0.2.1:shop:8080", "192.0.2.1", Health.READY)
        assert found.ports == (Port("http", 8080, "http"), Port("https", 8443, "https", tls=True))
        assert run.groups["shop"].attributes == (("vip", "shop,store"),)
    assert eureka.apps == {}


async def test_status_and_metadata_are_told(eureka, start, eventually) -> None:
    instance = Registration("shop", "192.0.2.1", 8080, status="OUT_OF_SERVICE", metadata={"version": "v2"})
    async with keeping(Server(eureka.url), instance):
        await eventually(lambda: eureka.apps)
        run = await start(eureka)

        (found,) = run.groups["shop"].instances
        assert (found.health, found.labels) == (Health.DRAINING, (("version", "v2"),))


async def test_heartbeats_go_on_until_the_end_and_bring_back_what_a_server_has_lost(
    eureka, eventually
) -> None:
    async with keeping(Server(eureka.url)) as kept:
        await eventually(lambda: eureka.asked["heartbeat"] > 2)
        eureka.apps.clear()
        await eventually(kept.has_told("registered again"))
        assert "192.0.2.1" in eureka.apps["SHOP"]

    assert [line.partition(" ")[0] for line in kept.told] == ["registered", "the", "deregistered"]


async def test_trouble_is_told_once_and_so_is_its_end(eureka, eventually) -> None:
    async with keeping(Server(eureka.url)) as kept:
        await eventually(lambda: eureka.asked["heartbeat"] > 0)
        eureka.status = 500
        beats = eureka.asked["heartbeat"]
        await eventually(lambda: eureka.asked["heartbeat"] > beats + 3)
        eureka.status = 200
        await eventually(kept.has_told("heartbeats arrive again"))

    assert kept.told[1:3] == ["no heartbeat: HTTP status 500", "heartbeats arrive again"]


async def test_password_is_used_and_never_shown(eureka) -> None:
    pair = base64.b64encode(b"me@corp:p/ss:word").decode()
    eureka.authorization = f"Basic {pair}"
    server = Server(eureka.url, "me@corp", "p/ss:word")

    async with keeping(server) as kept:
        pass
    with pytest.raises(RegistryDenied) as raised:
        await keep_registered(Server(eureka.url, "me", "wr0ng"), SHOP, asyncio.Event(), kept.told.append)

    assert "p/ss" not in repr(server) + repr(kept.told)
    assert "wr0ng" not in str(raised.value)
    assert raised.value.__cause__ is None


async def test_server_that_can_not_be_used_is_an_error(eureka) -> None:
    stop = asyncio.Event()
    with pytest.raises(RegistryUnavailable, match="has to end with the path"):
        await keep_registered(Server(eureka.url.removesuffix("/eureka")), SHOP, stop, print)
    await eureka.stop()
    with pytest.raises(RegistryUnavailable, match="no answer"):
        await keep_registered(Server(eureka.url), SHOP, stop, print)
    await eureka.start()
