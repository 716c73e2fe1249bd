"""Registries with real servers, with instances in them as their clients put them there."""

import json
import os
import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from py_eureka_client import eureka_basic

from integration.build_eureka import jar
from integration.consul.agents import Agent
from integration.consul.fetch import BUILT, binary
from integration.eureka.process import Clients, EurekaServer
from integration.mesh.backends import Backend
from integration.mesh.registries import PORT, Instance, Registry, VmInventory
from integration.processes import free_ports
from integration.zookeeper.process import Kind as ServerKind
from integration.zookeeper.process import Server
from integration.zookeeper.process import missing as no_zookeeper
from integration.zookeeper.writer import Writer

_LEASE = 3600
"""Seconds that an instance lives in Eureka without a heartbeat: nothing here sends one."""
_SESSION = 120
"""Seconds that an instance lives in ZooKeeper while its session is cut off."""


def _rules(port: str) -> Sequence[Mapping[str, Any]]:
    """Return rules for registries that know only metadata of what a mesh has: whose ports have this name."""
    carried = {"service_account": "{metadata.account|}", "locality": "{metadata.place|}"}
    return [{"match": {}, "set": {"protocol": "grpc", "ports": {port: PORT}, **carried}}]


def _metadata(instance: Instance) -> dict[str, str]:
    place = f"{instance.region}/{instance.zone}" if instance.region else ""
    found = {"version": instance.version, "account": instance.service_account, "place": place}
    return {key: value for key, value in found.items() if value}


class ZooKeeper:
    """Ephemeral nodes of Curator's service discovery, as Spring Cloud writes them."""

    rules = _rules("grpc")
    ways_to_fail = ("stopped",)

    def __init__(self, server: Server, writer: Writer) -> None:
        self._server = server
        self._writer = writer
        roots = [{"path": "/services", "layout": "curator"}]
        hosts = f"127.0.0.1:{server.port}"
        self.source: Mapping[str, Any] = {"name": "zk", "kind": "zookeeper", "hosts": hosts, "roots": roots}

    @classmethod
    @asynccontextmanager
    async def run(cls, folder: Path, _shared: EurekaServer | None) -> AsyncIterator[Registry]:
        # A session has to outlive the outage, or what it registered is really gone.
        server = Server(folder / "zk", free_ports(1)[0], ServerKind(f"maxSessionTimeout={_SESSION * 1000}\n"))
        await server.start()
        try:
            await server.wait_serving()
            async with Writer(f"127.0.0.1:{server.port}", timeout=_SESSION) as writer:
                await writer.put("/services")
                yield cls(server, writer)
        finally:
            await server.stop()

    async def register(self, service: str, instance: Instance) -> None:
        backend = instance.backend
        known = _metadata(instance) | ({"weight": str(instance.weight)} if instance.weight else {})
        record = {"name": service, "id": backend.name, "address": "127.0.0.1", "port": backend.port}
        record |= {"payload": known, "serviceType": "DYNAMIC"}
        await self._writer.put(_node(service, backend), json.dumps(record).encode(), ephemeral=True)

    async def deregister(self, service: str, backend: Backend) -> None:
        await self._writer.remove(_node(service, backend))

    async def fail(self, way: str) -> None:
        assert way == "stopped"
        await self._server.stop()

    async def heal(self) -> None:
        await self._server.start()
        await self._server.wait_serving()


def _node(service: str, backend: Backend) -> str:
    return f"/services/{service}/{backend.name}"


class Eureka:
    """Instances that register over REST, as Spring's do."""

    rules = _rules("http")
    ways_to_fail = ("frozen",)

    def __init__(self, server: EurekaServer, clients: Clients) -> None:
        self._server = server
        self._clients = clients
        often = {"poll_interval": "500ms", "timeout": "2s"}
        self.source: Mapping[str, Any] = {"name": "eureka", "kind": "eureka", "urls": [server.url]} | often

    @classmethod
    @asynccontextmanager
    async def run(cls, _folder: Path, shared: EurekaServer | None) -> AsyncIterator[Registry]:
        assert shared is not None
        clients = Clients(shared.url)
        await clients.clear()
        try:
            yield cls(shared, clients)
        finally:
            shared.thaw()

    async def register(self, service: str, instance: Instance) -> None:
        known = _metadata(instance) | ({"weight": str(instance.weight)} if instance.weight else {})
        port = instance.backend.port
        await self._clients.register(
            service,
            "127.0.0.1",
            port,
            instanceId=_eureka_id(service, instance.backend),
            hostName="127.0.0.1",
            metadata=known,
            leaseInfo=eureka_basic.LeaseInfo(durationInSecs=_LEASE),
        )

    async def deregister(self, service: str, backend: Backend) -> None:
        await self._clients.remove(service, _eureka_id(service, backend))

    async def fail(self, way: str) -> None:
        assert way == "frozen"
        self._server.freeze()

    async def heal(self) -> None:
        self._server.thaw()


def _eureka_id(service: str, backend: Backend) -> str:
    return f"{backend.name}:{service}:{backend.port}"


class Consul:
    """Services of an agent, as programs register them beside themselves."""

    rules = _rules("grpc")
    ways_to_fail = ("stopped",)

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self.source: Mapping[str, Any] = {
            "name": "consul",
            "kind": "consul",
            "address": agent.url,
            "exclude_services": ["consul"],
        }

    @classmethod
    @asynccontextmanager
    async def run(cls, folder: Path, _shared: EurekaServer | None) -> AsyncIterator[Registry]:
        async with Agent(BUILT, folder) as agent:
            yield cls(agent)

    async def register(self, service: str, instance: Instance) -> None:
        name = f"{service}-{instance.backend.name}"
        body = {
            "ID": name,
            "Name": service,
            "Address": "127.0.0.1",
            "Port": instance.backend.port,
            "Meta": _metadata(instance),
            "Check": {"TTL": "1h", "Status": "passing"},  # So that it need not fail first.
        }
        if instance.weight:
            body["Weights"] = {"Passing": instance.weight, "Warning": 1}
        await self._agent.call("PUT", "/v1/agent/service/register", body)
        # Only what was reported, not how it was registered, outlives a restart of the agent.
        await self._agent.call("PUT", f"/v1/agent/check/pass/service:{name}")

    async def deregister(self, service: str, backend: Backend) -> None:
        await self._agent.call("PUT", f"/v1/agent/service/deregister/{service}-{backend.name}")

    async def fail(self, way: str) -> None:
        assert way == "stopped"
        await self._agent.stop()

    async def heal(self) -> None:
        await self._agent.start()


class Kind(msgspec.Struct, frozen=True):
    """A kind of registry."""

    run: Callable[[Path, EurekaServer | None], AbstractAsyncContextManager[Registry]]
    """Runs an empty one, with a folder of its own, and a server that is shared."""
    missing: Callable[[], str] = str
    """Says why it can't be had here, "" where it can."""


def _no_consul() -> str:
    return (
        ""
        if os.access(binary(BUILT), os.X_OK)
        else f"{binary(BUILT)} is missing: python integration/consul/fetch.py"
    )


def _no_eureka() -> str:
    there = jar().exists() and shutil.which("java")
    return "" if there else f"{jar()} is missing: python integration/build_eureka.py"


@asynccontextmanager
async def _inventory(folder: Path, _shared: EurekaServer | None) -> AsyncIterator[Registry]:
    yield VmInventory(folder / "vms.json")


REGISTRIES: Mapping[str, Kind] = {
    "inventory": Kind(_inventory),
    "zookeeper": Kind(ZooKeeper.run, no_zookeeper),
    "eureka": Kind(Eureka.run, _no_eureka),
    "consul": Kind(Consul.run, _no_consul),
}
EVERY_KIND = pytest.mark.parametrize("registry", REGISTRIES, indirect=True)
"""Marks a test to be made for every kind of registry."""
