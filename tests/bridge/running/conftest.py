"""A whole bridge on free ports, with inventory files, and a client that behaves as istiod does."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from meshbridge.bridge.app import Bridge, running
from meshbridge.bridge.config.loading import load
from meshbridge.mcp.client import ClientSettings, IstiodClient
from meshbridge.schemas.istio import ServiceEntry

SERVICE_ENTRIES = "networking.istio.io/v1/ServiceEntry"
Services = Mapping[str, Sequence[str]]
"""Addresses by service."""


class Site:
    """A folder with inventories and a configuration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "meshbridge.yaml"
        self.state = folder / "state"

    def inventory(self, name: str, services: Services | str) -> Path:
        """Replace an inventory, as an editor or `kubectl` would: at once."""
        if not isinstance(services, str):
            listed = [
                {"name": service, "port": 80, "instances": [{"address": address} for address in addresses]}
                for service, addresses in services.items()
            ]
            services = yaml.safe_dump({"services": listed})
        return self._replace(self.folder / name, services)

    def source(self, name: str, *files: str, **more: Any) -> dict[str, Any]:
        """Return the configuration of a source that reads these inventories."""
        return {
            "name": name,
            "kind": "inventory",
            "files": [str(self.folder / file) for file in files],
            "settle": "50ms",
            **more,
        }

    def configure(self, *sources: Mapping[str, Any], **parts: Any) -> None:
        """Write the configuration file."""
        config = {
            "sources": list(sources),
            "outputs": {"mcp": {"listen": "127.0.0.1:0", "min_push_interval": "1ms"}},
            "admin": {"listen": "127.0.0.1:0"},
            **parts,
        }
        self._replace(self.path, yaml.safe_dump(config))

    def running(self) -> Any:
        """Run a bridge by the configuration file for as long as the context lasts."""
        return running(load(self.path, {}), self.path)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[tuple[Bridge, IstiodClient]]:
        """Run a bridge and a client of it."""
        async with self.running() as bridge, self.client(bridge) as client:
            yield bridge, client

    @staticmethod
    def client(bridge: Bridge) -> IstiodClient:
        """Return a client that tries again quickly."""
        return IstiodClient(bridge.mcp_address, ClientSettings(first_retry=0.02, max_retry=0.05))

    @staticmethod
    def held(client: IstiodClient) -> dict[str, list[str]]:
        """Return what the client knows: addresses by host."""
        specs = [found.spec for found in client.entries[SERVICE_ENTRIES].values()]
        return {
            spec.hosts[0]: [endpoint.address for endpoint in spec.endpoints]
            for spec in specs
            if isinstance(spec, ServiceEntry)
        }

    @staticmethod
    async def metric(bridge: Bridge, line: str) -> float | None:
        """Return the value of one series, None when there is no such series."""
        address = f"http://{bridge.admin_address}/metrics"
        async with aiohttp.ClientSession() as session, session.get(address) as response:
            text = await response.text()
        found = [one.rpartition(" ") for one in text.splitlines() if not one.startswith("#")]
        return next((float(value) for name, _, value in found if name == line), None)

    @staticmethod
    def _replace(path: Path, content: str) -> Path:
        fresh = path.with_suffix(".new")
        fresh.write_text(content)
        return fresh.replace(path)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)
