"""The Eureka adapter against real servers: the contract, restarts, peers, overrides, and into a mesh."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from integration.conftest import MakeBridge, Note
from integration.eureka import real
from integration.eureka.process import QUICK, Clients, EurekaServer, Gate
from integration.eureka.real import CONTRACT, watching
from integration.processes import eventually as wait_for
from meshbridge.adapters.eureka.settings import EurekaConfig
from meshbridge.mcp.client import IstiodClient
from meshbridge.schemas.registry import Health, SourceState

A, B, C = "192.0.2.1", "192.0.2.2", "192.0.2.3"
MANY = [f"10.0.0.{number}" for number in range(1, 21)]


class RealEureka:
    """The contract's world: the shared server behind a gate."""

    secret = ""

    def __init__(self, clients: Clients, gate: Gate) -> None:
        self._clients = clients
        self._gate = gate

    def config(self) -> EurekaConfig:
        # A real server's delta cache misses a change now and then, which `confirm_after` mends.
        return EurekaConfig(name="tested", urls=[self._gate.url], poll_interval="50ms", confirm_after="1s")

    async def register(self, service: str, address: str) -> None:
        await self._clients.register(service, address)

    async def deregister(self, service: str, address: str) -> None:
        await self._clients.cancel(service, address)

    async def corrupt(self, service: str, address: str) -> None:
        await self._clients.register(service, address, port=70000)

    async def shuffle(self) -> None:
        """The server's order can't be changed."""

    async def break_(self) -> None:
        self._gate.status = 503

    async def heal(self) -> None:
        self._gate.status = 200


@pytest.fixture
async def harness(server: EurekaServer, clients: Clients) -> AsyncIterator[RealEureka]:
    async with Gate(server.url) as gate:
        yield RealEureka(clients, gate)


globals().update({**CONTRACT.TESTS, **real.FIXTURES})


async def test_override_drains_and_its_end_does_not_break_anything(server, clients, eventually) -> None:
    await clients.register("shop", A)
    await clients.register("shop", B)

    async with watching(server.url) as seen:
        await eventually(lambda: seen.addresses("shop") == {A, B})

        def health() -> dict[str, Health]:
            return {found.address: found.health for found in seen.groups["shop"].instances}

        await clients.override("shop", A, "OUT_OF_SERVICE")
        await eventually(lambda: health() == {A: Health.DRAINING, B: Health.READY})
        await clients.drop_override("shop", A)
        await asyncio.sleep(1.0)
        assert health() == {A: Health.DRAINING, B: Health.READY}, "the server says UNKNOWN until a heartbeat"
        await clients.register("shop", A)
        await eventually(lambda: health() == {A: Health.READY, B: Health.READY})


async def test_restart_of_the_server_loses_nothing(
    eureka_jar: Path, tmp_path: Path, eventually, figure: Note
) -> None:
    with EurekaServer(eureka_jar, tmp_path, *QUICK) as server:
        clients = Clients(server.url)
        for address in MANY:
            await clients.register("shop", address)
        async with watching(server.url, settle="6s") as seen:
            await eventually(lambda: seen.addresses("shop") == set(MANY))

            server.kill()
            await eventually(lambda: seen.state is SourceState.STALE)
            took = await asyncio.to_thread(server.start)
            await eventually(lambda: "kept" in seen.details)
            assert seen.addresses("shop") == set(MANY), "the restarted server has nothing"
            for address in MANY[:18]:
                await clients.register("shop", address)
            await eventually(lambda: seen.details.get("kept") == "2")
            await eventually(lambda: seen.addresses("shop") == set(MANY[:18]))

            assert seen.fewest("shop") == 18, "nothing but the two that never came back may have left"
            await eventually(lambda: seen.state is SourceState.SYNCED)
    figure("Eureka killed and started again", f"{took:.1f} s, 20 instances kept, 2 lost that stayed away")


async def test_two_peers_of_which_one_is_emptied(
    eureka_jar: Path, tmp_path: Path, eventually, figure: Note
) -> None:
    first = EurekaServer(eureka_jar, tmp_path)
    second = EurekaServer(eureka_jar, tmp_path)
    for one, other in ((first, second), (second, first)):
        one.settings = (
            *QUICK,
            f"--eureka.server.my-url={one.url}/",
            f"--eureka.instance.hostname=eureka-{one.port}",
            "--eureka.client.register-with-eureka=false",
            "--eureka.client.fetch-registry=true",
            f"--eureka.client.service-url.defaultZone={other.url}/",
        )
    with first, second:
        clients = Clients(first.url)
        for address in MANY:
            await clients.register("shop", address)
        async with watching(second.url) as copy:
            await eventually(lambda: copy.addresses("shop") == set(MANY))
        zones = {"near": [second.url], "far": [first.url]}
        async with watching(zone="near", zones=zones) as seen:
            await eventually(lambda: seen.addresses("shop") == set(MANY))
            assert seen.details["server"] == second.url, "the servers of our zone go first"

            second.kill()
            await eventually(lambda: seen.details.get("server") == first.url)
            await eventually(lambda: seen.state is SourceState.SYNCED)
            killed = time.monotonic()
            second.settings = QUICK  # It comes back on its own, and empty for good.
            first.kill()
            await asyncio.to_thread(second.start)
            await eventually(lambda: seen.details.get("server") == second.url)
            await asyncio.sleep(2.0)
            assert seen.addresses("shop") == set(MANY), "the empty peer removed something"
            assert seen.state is SourceState.STALE

            await asyncio.to_thread(first.start)
            for address in MANY:
                await clients.register("shop", address)
            await eventually(lambda: seen.state is SourceState.SYNCED, within=40.0)
            assert seen.addresses("shop") == set(MANY)
            assert seen.fewest("shop") == 20
    figure("two peers killed in turn, one back empty", f"nothing left in {time.monotonic() - killed:.0f} s")


async def test_peers_that_register_themselves_are_a_service(
    eureka_jar: Path, tmp_path: Path, eventually
) -> None:
    server = EurekaServer(eureka_jar, tmp_path)
    server.settings = (
        *QUICK,
        f"--eureka.server.my-url={server.url}/",
        "--eureka.instance.hostname=eureka-1.corp",
        "--eureka.instance.metadata-map.zone=eu-1b",
        "--eureka.client.register-with-eureka=true",
        "--eureka.client.initial-instance-info-replication-interval-seconds=1",
        f"--eureka.client.service-url.defaultZone={server.url}/",
    )
    with server:
        async with watching(server.url) as seen:
            await eventually(lambda: "eureka" in seen.groups, within=60.0)

            found = seen.groups["eureka"].instances[0]
            assert found.locality == "/eu-1b"
            assert [(port.name, port.number) for port in found.ports] == [("http", server.port)]


async def test_change_reaches_a_client_of_the_mesh(
    server, clients, make_bridge: MakeBridge, figure: Note
) -> None:
    await clients.register("shop", A)
    source = {"name": "spring", "kind": "eureka", "urls": [server.url], "poll_interval": "200ms"}

    async with make_bridge(sources=[source]) as bridge, IstiodClient(bridge.mcp_address) as istiod:

        async def served() -> list[str]:
            objects = await bridge.objects("serviceentries")
            return sorted(point["address"] for found in objects for point in found["spec"]["endpoints"])

        async def acknowledged() -> int:
            return await bridge.clients(acknowledged=True)

        await wait_for(acknowledged)
        assert await served() == [A]
        took = []
        for number in range(2, 12):
            responses = istiod.counters.responses
            began = time.monotonic()
            await clients.register("shop", f"192.0.2.{number}")
            await istiod.wait_for(lambda found, seen=responses: found.counters.responses > seen, within=10)
            took.append(time.monotonic() - began)
        assert len(await served()) == 11
        sources = await bridge.get("sources")
        assert (sources[0]["state"], sources[0]["instances"]) == ("synced", 11)
    took.sort()
    figure(
        "registered in Eureka to client told, polled each 200 ms, 10 changes",
        f"median {took[5] * 1000:.0f} ms, longest {took[-1] * 1000:.0f} ms",
    )


async def test_large_registry_is_read_without_blocking(
    eureka_jar: Path, tmp_path: Path, eventually, figure: Note
) -> None:
    with EurekaServer(eureka_jar, tmp_path, *QUICK, heap="1g") as server:
        clients = Clients(server.url)
        await clients.register_many(2_000, 10)
        gaps = [0.0]
        began = time.monotonic()
        async with watching(server.url, poll_interval="1s") as seen:
            watcher = asyncio.create_task(_watch_turns(gaps), name="watches the loop's turns")
            await eventually(lambda: seen.watch.is_synced, within=60.0)
            took = time.monotonic() - began
            watcher.cancel()
            assert len(seen.groups) == 2_000
            assert sum(len(found.instances) for found in seen.groups.values()) == 20_000

            cost = time.process_time()
            await asyncio.sleep(5.0)
            cost = time.process_time() - cost
            began = time.monotonic()
            await clients.register("app-0007", A)
            await eventually(lambda: A in seen.addresses("app-0007"), within=60.0)
            told = time.monotonic() - began

        assert max(gaps) < 0.05, "the loop was blocked"
    figure("20,000 instances of a real server read", f"{took:.2f} s, loop blocked {max(gaps) * 1000:.0f} ms")
    figure("the same, nothing changing, polled each second", f"{cost / 5 * 100:.1f} % of a core")
    figure("the same, one change", f"{told * 1000:.0f} ms, polled each second")


async def _watch_turns(gaps: list[float]) -> None:
    """Note the CPU time between two turns of the loop."""
    last = time.thread_time()
    while True:
        await asyncio.sleep(0)
        now = time.thread_time()
        gaps.append(now - last)
        last = now
