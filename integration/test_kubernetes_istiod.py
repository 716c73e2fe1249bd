"""A real istiod that reads, from a real API server, what the bridge has written there."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from integration.bridges import Bridge
from integration.conftest import MakeIstiod, Note
from integration.istiod import configz
from integration.kubernetes.fixtures import api_server
from integration.kubernetes.process import ApiServer
from integration.processes import eventually
from integration.samples import PAYMENTS, PAYMENTS_ENDPOINTS, PORT, SHOP, on_port, shop

MANY = 5000
"""Instances: more than one ServiceEntry may have."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """An API server that these tests share."""
    with api_server(tmp_path_factory.mktemp("kubernetes")) as started:
        yield started


async def test_istiod_tells_proxies_what_the_bridge_wrote(
    server: ApiServer, tmp_path: Path, make_istiod: MakeIstiod, figure: Note
) -> None:
    bridge = Bridge(tmp_path, outputs=_outputs(server))
    bridge.inventory.write(shop("10.0.0.1", "10.0.0.2"), PAYMENTS, _many())
    async with bridge, make_istiod("", kubeconfig=server.kubeconfig.read_text()) as istiod:
        await istiod.wait_ready()
        await eventually(lambda: _is_settled(bridge))
        served = await bridge.objects("serviceentries")
        assert [name for name in map(_name, served) if "many" in name] == [
            "many.vms.mesh",
            "many.vms.mesh-part2",
        ]

        async def holds_all() -> bool:
            return configz.held(await istiod.configz()).keys() == configz.served(served).keys()

        await eventually(holds_all)
        async with (
            istiod.endpoints(SHOP, PORT) as proxy,
            istiod.endpoints("payments.vms.mesh", 9090) as other,
            istiod.endpoints("many.vms.mesh", 80) as many,
        ):
            await proxy.wait_for_addresses(on_port("10.0.0.1", "10.0.0.2"))
            await other.wait_for(lambda update: update.endpoints == PAYMENTS_ENDPOINTS)
            update = await many.wait_for(lambda update: len(update.endpoints) == MANY)
            assert len(set(update.addresses)) == MANY
            figure("endpoints of one host from two ServiceEntries at a proxy", str(len(update.addresses)))

            bridge.inventory.write(shop("10.0.0.3"), PAYMENTS, _many())

            await proxy.wait_for_addresses(on_port("10.0.0.3"))


def _many() -> Mapping[str, Any]:
    instances = [
        {"address": f"10.{9 + number // 60_000}.{number // 250}.{number % 250 + 1}"} for number in range(MANY)
    ]
    return {"name": "many", "port": 80, "instances": instances}


def _outputs(server: ApiServer) -> Mapping[str, object]:
    kubernetes = {"enabled": True, "kubeconfig": str(server.kubeconfig), "create_namespaces": True}
    return {"mcp": {"enabled": False}, "kubernetes": kubernetes}


def _name(found: Mapping[str, Any]) -> str:
    return str(found["metadata"]["name"])


async def _is_settled(bridge: Bridge) -> bool:
    outputs = await bridge.get("outputs")
    return all(one["state"] == "leading" and not one["pending"] and one["owned"] == 4 for one in outputs)
