"""Odd registrations on a real Consul, as the adapter and a client of the bridge see them."""

from integration.consul.agents import Agent
from integration.consul.watching import ADDRESSES, config_for, fill, started
from meshbridge.bridge.app import running
from meshbridge.bridge.config.models import Config
from meshbridge.mcp.client import IstiodClient

pytest_plugins = ["integration.consul.servers"]

A = "192.0.2.1"
NAMES = ("Under_Score", "CamelCase", "with space", "per%cent", "sch\u00f6n", "a/b", "q?x=1", "x" * 200)
SERVICE_ENTRIES = "networking.istio.io/v1/ServiceEntry"


async def test_odd_names_are_taken_as_they_are(server: Agent) -> None:
    for name in NAMES:
        await server.register(name, A)

    async with started(config_for(server)) as watch:
        for name in NAMES:
            await watch.holds(name, {A})
        await server.register("CamelCase", "192.0.2.2")
        await watch.holds("CamelCase", {A, "192.0.2.2"})
        await server.deregister("a/b", A)
        await watch.holds("a/b", set())


async def test_odd_instances_are_taken_or_skipped_with_a_reason(server: Agent) -> None:
    await server.register("odd", "2001:db8::1")
    await server.register("odd", "vm-7.corp.example")
    await server.register("odd", "192.0.2.7", 0)
    await server.register("odd", "192.0.2.8", 70_000)
    await server.register("odd", "192.0.2.9", Weights={"Passing": 7, "Warning": 2}, Status="warning")

    async with started(config_for(server)) as watch:
        await watch.holds("odd", {"2001:db8::1", "vm-7.corp.example", "192.0.2.9"})

        assert watch.notes["odd"] == {"it has no port", "its port is not between 1 and 65535"}
        assert {found.address: found.weight for found in watch.instances["odd"]}["192.0.2.9"] == 2


async def test_as_much_metadata_as_consul_takes_hides_nothing(server: Agent) -> None:
    largest = {f"key-{number:02}-{'k' * 120}"[:128]: "v" * 512 for number in range(63)}
    tags = [f"tag-{number}-{'t' * 200}" for number in range(2000)]
    await server.register("big", A, Meta=largest | {"version": "v1"}, Tags=tags)
    await server.register("big", "192.0.2.2", Meta={"version": "v2"})

    async with started(config_for(server)) as watch:
        await watch.holds("big", {A, "192.0.2.2"})

        (big,) = (found for found in watch.instances["big"] if found.address == A)
        assert largest.items() <= dict(big.metadata).items()
        assert dict(big.labels) == {"version": "v1"}
        assert set(big.tags) == set(tags)


async def test_a_client_of_the_bridge_gets_what_can_be_expressed(server: Agent) -> None:
    await fill(server)
    for name in NAMES:
        await server.register(name, A)
    await server.register("odd", "2001:db8::1")
    await server.register("odd", "192.0.2.7", 0)
    source = {"name": "consul", "kind": "consul", "address": server.url, "wait": "2s"}
    outputs = {"mcp": {"listen": "127.0.0.1:0"}}
    config = Config.model_validate(
        {"sources": [source], "outputs": outputs, "admin": {"listen": "127.0.0.1:0"}}
    )

    def endpoints(client: IstiodClient) -> dict[str, set[str]]:
        held = client.entries.get(SERVICE_ENTRIES, {})
        return {found.spec.hosts[0]: {e.address for e in found.spec.endpoints} for found in held.values()}

    async with running(config) as bridge, IstiodClient(bridge.mcp_address) as client:
        await client.wait_for(lambda seen: len(endpoints(seen)) >= len(NAMES), 30)

        found = endpoints(client)
        assert found["orders.consul.mesh"] == found["payments.consul.mesh"] == ADDRESSES
        assert found["odd.consul.mesh"] == {"2001:db8::1"}
        assert found["under-score.consul.mesh"] == {A}
        assert found["camelcase.consul.mesh"] == {A}
