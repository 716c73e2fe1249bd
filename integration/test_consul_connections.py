"""Ways to reach a real Consul: TLS, client certificates, unix sockets, several agents and datacenters."""

import os
from pathlib import Path

import pytest
import trustme

from integration.consul.agents import Agent
from integration.consul.fetch import BUILT, PACKAGED, binary
from integration.consul.watching import ADDRESSES, config_for, fill, started, watching
from integration.processes import eventually as until
from integration.processes import free_ports, stays

pytest_plugins = ["integration.consul.servers"]

GONE = "192.0.2.1"
LEFT = ADDRESSES - {GONE}


def tls_settings(version: str, authority: trustme.CA, folder: Path, *, is_mutual: bool) -> dict[str, object]:
    """Return the settings of an agent that serves https."""
    ours = authority.issue_cert("127.0.0.1", "localhost")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    ours.private_key_pem.write_to_path(str(folder / "key.pem"))
    ours.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    files = {f"{what}_file": str(folder / f"{what}.pem") for what in ("ca", "cert", "key")}
    if version == PACKAGED:
        return {**files, "verify_incoming_https": is_mutual}
    return {"tls": {"defaults": files, "https": {"verify_incoming": is_mutual}}}


@pytest.mark.parametrize("is_mutual", [False, True], ids=["tls", "mtls"])
async def test_an_agent_is_asked_over_tls(version: str, tmp_path: Path, is_mutual: bool) -> None:
    authority = trustme.CA()
    settings = tls_settings(version, authority, tmp_path, is_mutual=is_mutual)
    client = authority.issue_cert("meshbridge")
    client.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "client.pem"))
    (port,) = free_ports(1)
    url, trusting = f"https://127.0.0.1:{port}", {"ca_file": str(tmp_path / "ca.pem")}
    known = trusting | {"cert_file": str(tmp_path / "client.pem")}
    async with Agent(version, tmp_path, ports={"https": port}, **settings) as server:
        await fill(server)
        async with watching(config_for(server, address=url, tls=known if is_mutual else trusting)) as watch:
            await server.deregister("orders", GONE)
            await watch.holds("orders", LEFT)

        # Whoever doesn't know the authority, or isn't known to the agent, gets nothing.
        async with started(config_for(server, address=url, tls=trusting if is_mutual else {})) as stranger:
            await until(stranger.is_in_trouble)
            assert stranger.syncs == 0


async def test_an_agent_is_asked_through_a_unix_socket(version: str, tmp_path: Path) -> None:
    path = tmp_path / "consul.sock"
    addresses = {"http": f"unix://{path} 127.0.0.1"}
    async with Agent(version, tmp_path, addresses=addresses) as server:
        await fill(server)
        async with watching(config_for(server, address=f"unix://{path}")) as watch:
            await server.deregister("orders", GONE)
            await watch.holds("orders", LEFT)


async def test_another_agent_is_asked_when_one_is_killed_or_frozen(version: str, tmp_path: Path) -> None:
    async with (
        Agent(version, tmp_path) as server,
        Agent(version, tmp_path, "cl1", joins=server) as first,
        Agent(version, tmp_path, "cl2", joins=server) as second,
    ):
        await fill(server)
        given = config_for(first).model_dump(exclude={"address"}, exclude_unset=True)
        config = type(config_for(first))(**given, addresses=[first.url, second.url, server.url])
        async with watching(config) as watch:
            await first.kill()
            await server.deregister("orders", GONE)
            await watch.holds("orders", LEFT)

            second.freeze()
            await server.deregister("payments", GONE)
            await watch.holds("payments", LEFT)


async def test_each_datacenter_fails_alone(version: str, tmp_path: Path) -> None:
    async with (
        Agent(version, tmp_path) as near,
        Agent(version, tmp_path, "srv2", wan=near, datacenter="dc2") as far,
    ):
        await fill(near)
        await fill(far)
        await until(lambda: _lists_both(near))
        both = config_for(near, datacenters=["dc1", "dc2"]).expand()
        assert [config.name for config in both] == ["consul/dc1", "consul/dc2"]
        async with watching(both[0]) as here, watching(both[1]) as there:
            datacenters = {dict(found.metadata)["consul-datacenter"] for found in there.instances["orders"]}
            assert datacenters == {"dc2"}
            await far.deregister("payments", GONE)
            await there.holds("payments", LEFT)
            before = dict(there.held)

            await far.kill()
            await until(there.is_in_trouble)
            await near.deregister("orders", GONE)
            await here.holds("orders", LEFT)
            assert await stays(lambda: _same(there.held, before), 2)
            assert here.held["payments"] == ADDRESSES

            await far.start()
            await far.deregister("orders", GONE)
            await there.holds("orders", LEFT, within=60)
            assert there.held["payments"] == LEFT


async def test_services_of_a_peer_are_followed_and_outlive_it(tmp_path: Path) -> None:
    if not os.access(binary(BUILT), os.X_OK):
        pytest.skip(f"{binary(BUILT)} is missing; `python integration/consul/fetch.py` gets it")
    ports = [{"grpc_tls": port} for port in free_ports(2)]
    settings = {"connect": {"enabled": True}, "peering": {"enabled": True}}
    async with (
        Agent(BUILT, tmp_path, "far1", ports=ports[0], **settings) as far,
        Agent(BUILT, tmp_path, "near1", datacenter="dc2", ports=ports[1], **settings) as near,
    ):
        await fill(far)
        made = await far.call("POST", "/v1/peering/token", {"PeerName": "near"})
        token = {"PeerName": "far", "PeeringToken": made["PeeringToken"]}
        await near.call("POST", "/v1/peering/establish", token)
        exported = [{"Name": "*", "Consumers": [{"Peer": "near"}]}]
        entry = {"Kind": "exported-services", "Name": "default", "Services": exported}
        await far.call("PUT", "/v1/config", entry)
        async with watching(config_for(near, peers=["far"])) as watch:
            assert dict(watch.instances["orders"][0].metadata)["consul-peer"] == "far"
            await far.deregister("orders", GONE)
            await watch.holds("orders", LEFT)
            await far.register("new", GONE)
            await watch.holds("new", {GONE})

            before = dict(watch.held)
            await far.kill()
            assert await stays(lambda: _same(watch.held, before), 2)


async def _lists_both(agent: Agent) -> bool:
    found = await agent.call("GET", "/v1/catalog/datacenters")
    try:
        return set(found) == {"dc1", "dc2"} and bool(await agent.call("GET", "/v1/catalog/nodes?dc=dc2"))
    except RuntimeError:
        return False


async def _same(one: object, other: object) -> bool:
    return one == other
