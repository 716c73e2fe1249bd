"""What rules set, at a real istiod: draining, failing over, virtual addresses, identities, revisions."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from integration.conftest import MakeBridge, MakeIstiod
from integration.istiod import configz
from integration.istiod.endpoints import Endpoint

HOST = "shop.mesh"
PORT = 8080


def vm(address: str, **fields: object) -> Mapping[str, object]:
    return {"address": address, **fields}


def inventory(path: Path, *instances: Mapping[str, object], **service: object) -> None:
    services = [{"name": "shop", "port": PORT, "protocol": "http", "instances": instances, **service}]
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"services": services}))
    new.replace(path)


def two_sources(folder: Path, **fields: Any) -> dict[str, Any]:
    """Return the settings of a bridge with a source `one` and a source `two` for one host."""
    sources = [
        {"name": name, "kind": "inventory", "files": [str(folder / f"{name}.json")]}
        for name in ("one", "two")
    ]
    return {"sources": sources, "rules": [{"set": {"host": HOST, **fields}}]}


async def entry(istiod: Any) -> Mapping[str, Any]:
    """Return the one ServiceEntry that istiod holds."""
    [found] = configz.held(await istiod.configz()).values()
    return found


async def test_draining_label_keeps_an_endpoint_out_of_ordinary_clusters(
    make_bridge: MakeBridge, make_istiod: MakeIstiod
) -> None:
    bridge = make_bridge(rules=[{"set": {"host": HOST, "draining": "label"}}])
    inventory(bridge.inventory.path, vm("10.0.0.1"), vm("10.0.0.2", weight=0))
    async with bridge, make_istiod(bridge.mcp_address) as istiod:
        await istiod.wait_ready()
        endpoints = (await entry(istiod))["spec"]["endpoints"]
        assert [one.get("labels") for one in endpoints] == [None, {"istio.io/draining": "true"}]

        async with istiod.endpoints(HOST, PORT) as proxy:
            found = await proxy.wait_for(lambda update: bool(update.endpoints))
            assert found.endpoints == (Endpoint(f"10.0.0.1:{PORT}", "", 1),)

            inventory(bridge.inventory.path, vm("10.0.0.1"), vm("10.0.0.2", weight=1))
            await proxy.wait_for_addresses([f"10.0.0.1:{PORT}", f"10.0.0.2:{PORT}"])


async def test_proxies_fail_over_from_one_source_to_the_other(
    tmp_path: Path, make_bridge: MakeBridge, make_istiod: MakeIstiod
) -> None:
    bridge = make_bridge(**two_sources(tmp_path, merge="failover"))
    inventory(tmp_path / "one.json", vm("10.0.0.1"))
    inventory(tmp_path / "two.json", vm("10.0.0.2"))
    rule = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "failover", "namespace": "meshbridge"},
        "spec": {
            "host": HOST,
            "trafficPolicy": {
                "outlierDetection": {"consecutive5xxErrors": 5},
                "loadBalancer": {
                    "simple": "ROUND_ROBIN",
                    "localityLbSetting": {"failoverPriority": ["meshbridge.io/source=one"]},
                },
            },
        },
    }
    async with bridge, make_istiod(bridge.mcp_address, has_policies=True) as istiod:
        istiod.write_policy("failover", rule)
        await istiod.wait_ready()

        async with istiod.endpoints(HOST, PORT) as proxy:
            wanted = {Endpoint(f"10.0.0.1:{PORT}", "", 1, 0), Endpoint(f"10.0.0.2:{PORT}", "", 1, 1)}
            await proxy.wait_for(lambda update: set(update.endpoints) == wanted)


async def test_source_that_stands_by_takes_over_without_a_gap(
    tmp_path: Path, make_bridge: MakeBridge, make_istiod: MakeIstiod
) -> None:
    bridge = make_bridge(**two_sources(tmp_path, merge="prefer"))
    inventory(tmp_path / "one.json", vm("10.0.0.1"))
    inventory(tmp_path / "two.json", vm("10.0.0.2"))
    async with bridge, make_istiod(bridge.mcp_address) as istiod:
        await istiod.wait_ready()
        async with istiod.endpoints(HOST, PORT) as proxy:
            await proxy.wait_for_addresses([f"10.0.0.1:{PORT}"])

            inventory(tmp_path / "one.json", vm("10.0.0.1", weight=0))

            await proxy.wait_for_addresses([f"10.0.0.2:{PORT}"])
            assert all(update.endpoints for update in proxy.updates)


async def test_istiod_takes_virtual_addresses_revisions_more_hosts_and_earlier_identities(
    make_bridge: MakeBridge, make_istiod: MakeIstiod
) -> None:
    fields = {"hosts": ["{service}.more.mesh"], "revision": "blue", "virtual_ips": "all", "tls_mode": "istio"}
    bridge = make_bridge(rules=[{"set": {"host": HOST, **fields}}])
    inventory(bridge.inventory.path, vm("10.0.0.1", service_account="old"))
    async with bridge, make_istiod(bridge.mcp_address) as istiod:
        await istiod.wait_ready()
        spec = (await entry(istiod))["spec"]
        assert spec["hosts"] == [HOST, "shop.more.mesh"]
        [address] = spec["addresses"]
        assert address.startswith("241.")
        assert "subjectAltNames" not in spec

        async with istiod.endpoints(HOST, PORT) as proxy:
            await proxy.wait_for_addresses([f"10.0.0.1:{PORT}"])
            inventory(bridge.inventory.path, vm("10.0.0.1", service_account="new"), vm("10.0.0.2"))
            await proxy.wait_for_addresses([f"10.0.0.1:{PORT}", f"10.0.0.2:{PORT}"])

        found = await entry(istiod)
        assert found["spec"]["subjectAltNames"] == ["spiffe://cluster.local/ns/meshbridge/sa/old"]
        assert found["metadata"]["labels"]["istio.io/rev"] == "blue"
