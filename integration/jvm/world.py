"""ZooKeeper, the programs registered in it, a bridge, and a client of the mesh."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

import aiohttp

from integration.bridges import Bridge
from integration.jvm.programs import Program, curator, dubbo, spring
from integration.jvm.view import Registry, View
from integration.processes import free_ports
from integration.zookeeper.process import Ensemble
from integration.zookeeper.writer import Writer
from meshbridge.mcp.client import IstiodClient

OLD, BOTH, NEW, PLAIN, WEB = "10.4.0.7", "10.4.0.8", "10.4.0.9", "10.4.0.11", "10.4.0.12"
"""Addresses that are registered: by Dubbo 2.7, by Dubbo 3.3 on both levels and on that of applications alone,
by Curator and by Spring."""
ROOTS = [
    {"path": "/dubbo27"},
    {"path": "/dubbo", "layout": "dubbo", "applications": "/services"},
    {"path": "/services"},
    {"path": "/curator/services"},
]
_OLD = {"group": "blue", "version": "1.2.0", "weight": 50, "tag": "gray"}
_DISCOVERY = "spring.cloud.zookeeper.discovery"
_CATALOG = (
    "spring.application.name=catalog",
    f"{_DISCOVERY}.instance-host={WEB}",
    f"{_DISCOVERY}.metadata.version=v1",
    f"{_DISCOVERY}.metadata.zone=eu-1a",
)


class World:
    """ZooKeeper, the programs registered in it, a bridge, and a client of the mesh."""

    def __init__(self, jars: Path, place: Path) -> None:
        self._stack = AsyncExitStack()
        self._jars = jars
        self._place = place
        self.old_port, self.both_dubbo, self.both_tri, self.new_dubbo, self.new_tri, self.web = free_ports(6)
        self.took: dict[str, float] = {}
        """Seconds from each program's start until it had registered."""

    async def __aenter__(self) -> Self:
        try:
            await self._enter()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _enter(self) -> None:
        enter = self._stack.enter_async_context
        hosts = (await enter(Ensemble(self._place / "zookeeper"))).hosts
        self.writer = await enter(Writer(hosts))
        self.registry = Registry(self.writer.client)
        self.programs = self._make(hosts)
        self._stack.push_async_callback(self._stop)
        await self.restart(*self.programs)
        (self._place / "bridge").mkdir()
        source = {"name": "zk", "kind": "zookeeper", "hosts": hosts, "roots": ROOTS}
        # Curator's ten instances of one program leave at once: nothing for the guard to hold.
        safety = {"min_removed": 100}
        self.bridge = await enter(Bridge(self._place / "bridge", sources=[source], safety=safety))
        client = await enter(IstiodClient(self.bridge.mcp_address))
        self.view = View(client, "zk.mesh")
        await client.wait_for(lambda found: found.synced.is_set(), within=30)

    def _make(self, hosts: str) -> dict[str, Program]:
        jars, place = self._jars, self._place
        both = {"app": "ledger", "protocols": f"dubbo:{self.both_dubbo},tri:{self.both_tri}", "weight": 30}
        new = {"app": "billing", "protocols": f"dubbo:{self.new_dubbo},tri:{self.new_tri}"}
        old = {"app": "orders", "protocols": f"dubbo:{self.old_port}", "root": "dubbo27", **_OLD}
        return {
            "old": dubbo(jars / "dubbo2", place / "old", hosts, OLD, old),
            "both": dubbo(jars / "dubbo3", place / "both", hosts, BOTH, both | _dubbo3("all")),
            "new": dubbo(jars / "dubbo3", place / "new", hosts, NEW, new | _dubbo3("instance")),
            "plain": curator(jars / "curator", place / "plain", hosts, PLAIN, "/curator/services"),
            "catalog": spring(jars / "spring", place / "catalog", hosts, self.web, _CATALOG),
        }

    async def restart(self, *names: str) -> None:
        """Start programs at once, as they were started before if they were."""
        seconds = await asyncio.gather(*(self.programs[name].start() for name in names))
        self.took |= dict(zip(names, seconds, strict=True))

    async def _stop(self) -> None:
        await asyncio.gather(*(program.stop() for program in self.programs.values()))

    async def instance_status(self, status: str) -> None:
        """Set the status of the Spring service, as its operators do."""
        url = f"http://127.0.0.1:{self.web}/actuator/serviceregistry"
        async with aiohttp.ClientSession(raise_for_status=True) as http:
            (await http.post(url, json={"status": status})).release()


def _dubbo3(register_mode: str) -> Mapping[str, object]:
    return {
        "version": "2.0.0",
        "metadata": "true",
        "dubbo.application.register-mode": register_mode,
        "dubbo.application.metadata-type": "remote",
    }
