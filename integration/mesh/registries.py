"""What a registry is to the tests, which put instances into it; and the simplest kind, a file.

The kinds with servers are in `kinds.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from integration.bridges import Inventory
from integration.mesh.backends import Backend

PORT = 7070
"""The number that every service has in the mesh; its instances have others."""


class Instance(msgspec.Struct, frozen=True, gc=False):
    """A backend, and what the registry says of it besides its port."""

    backend: Backend
    version: str = ""
    region: str = ""
    zone: str = ""
    weight: int = 0
    service_account: str = ""


class Registry(Protocol):
    """What a test needs of a registry. A further kind needs this, and a line in `kinds.py`."""

    @property
    def source(self) -> Mapping[str, Any]:
        """Its part of the bridge's configuration."""

    @property
    def rules(self) -> Sequence[Mapping[str, Any]]:
        """Rules of the bridge by which every service has one port, and what else the registry can't say."""

    @property
    def ways_to_fail(self) -> Sequence[str]:
        """What `fail` takes; the bridge calls each of them stale."""

    async def register(self, service: str, instance: Instance) -> None:
        """Add an instance to a service; what it says of a backend it knows is replaced."""

    async def deregister(self, service: str, backend: Backend) -> None:
        """Take an instance out."""

    async def fail(self, way: str) -> None:
        """Get into trouble, until it heals."""

    async def heal(self) -> None:
        """Be as before."""


class VmInventory:
    """A file in the bridge's own format."""

    rules = ({"match": {}, "set": {"ports": {"grpc": PORT}}},)
    ways_to_fail = ("broken", "unreadable")

    def __init__(self, path: Path) -> None:
        self._file = Inventory(path)
        self._services: dict[str, dict[int, Instance]] = {}
        self.source: Mapping[str, Any] = {"name": "vms", "kind": "inventory", "files": [str(path)]}

    async def register(self, service: str, instance: Instance) -> None:
        self._services.setdefault(service, {})[instance.backend.port] = instance
        await self.heal()

    async def deregister(self, service: str, backend: Backend) -> None:
        del self._services[service][backend.port]
        await self.heal()

    async def fail(self, way: str) -> None:
        if way == "broken":
            self._file.write_text('{"services": [{"name": "sh')
        else:
            self._file.path.unlink()
            self._file.path.symlink_to(self._file.path)  # Not even root can read that.

    async def heal(self) -> None:
        self._file.write(*(_record(name, found.values()) for name, found in self._services.items() if found))


def _record(service: str, instances: Iterable[Instance]) -> Mapping[str, Any]:
    return {"name": service, "protocol": "grpc", "instances": [_instance(one) for one in instances]}


def _instance(instance: Instance) -> Mapping[str, Any]:
    said = msgspec.structs.asdict(instance)
    backend = said.pop("backend")
    known = {key: value for key, value in said.items() if value}
    return {"address": "127.0.0.1", "ports": {"grpc": backend.port}, **known}
