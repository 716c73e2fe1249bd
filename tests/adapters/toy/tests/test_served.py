"""A whole bridge over the toy registry."""

import importlib.util
from pathlib import Path

import yaml

from meshbridge.bridge.app import running
from meshbridge.bridge.config.loading import load
from meshbridge.mcp.client import IstiodClient

SERVICE_ENTRIES = "networking.istio.io/v1/ServiceEntry"

_spec = importlib.util.spec_from_file_location("toy_harness", Path(__file__).with_name("harness.py"))
_harness = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_harness)


async def test_instance_reaches_a_client_of_the_bridge_and_leaves_it(tmp_path, eventually) -> None:
    registry = _harness.Toy(tmp_path)
    await registry.start()
    await registry.register("orders", "192.0.2.1")
    await registry.register("orders", "192.0.2.2")
    config = {
        "sources": [{"name": "things", "kind": "toy", "url": registry.url, "refresh": "30ms"}],
        "outputs": {"mcp": {"listen": "127.0.0.1:0"}},
        "admin": {"listen": "127.0.0.1:0"},
    }
    (tmp_path / "meshbridge.yaml").write_text(yaml.safe_dump(config))

    async with (
        running(load(tmp_path / "meshbridge.yaml", {})) as bridge,
        IstiodClient(bridge.mcp_address) as client,
    ):
        await eventually(lambda: _endpoints(client) == {"192.0.2.1", "192.0.2.2"})
        await registry.deregister("orders", "192.0.2.2")
        await eventually(lambda: _endpoints(client) == {"192.0.2.1"})
    await registry.stop()


def _endpoints(client: IstiodClient) -> set[str]:
    specs = [found.spec for found in client.entries[SERVICE_ENTRIES].values()]
    return {endpoint.address for spec in specs for endpoint in spec.endpoints}
