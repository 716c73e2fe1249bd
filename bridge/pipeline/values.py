"""Values that travel between the stages of the pipeline."""

from enum import StrEnum

import msgspec
from typing_extensions import override

from meshbridge.schemas.istio import Location, Resolution
from meshbridge.schemas.registry import Health, Labels, Port


class MeshKey(msgspec.Struct, frozen=True, order=True, gc=False):
    """One service of the mesh: the unit of merging, converting and publishing."""

    namespace: str
    host: str

    @override
    def __str__(self) -> str:
        return f"{self.namespace}/{self.host}"


class EndpointMode(StrEnum):
    """How endpoints are published."""

    INLINE = "inline"
    """Inside the ServiceEntry: the cheapest for istiod."""
    WORKLOAD_ENTRIES = "workload_entries"
    """As WorkloadEntries that the ServiceEntry selects: visible one by one."""


class ServiceSettings(msgspec.Struct, frozen=True, order=True, gc=False):
    """What rules and registry say about a mesh service, rather than about one endpoint of it."""

    location: Location = Location.MESH_INTERNAL
    resolution: Resolution | None = None
    """None: STATIC, or DNS when an address is a host name."""
    endpoints: EndpointMode = EndpointMode.INLINE
    export_to: tuple[str, ...] = ()
    more_hosts: tuple[str, ...] = ()
    """Hosts beside that of the `MeshKey`, where the registry's record names several."""
    addresses: tuple[str, ...] = ()
    """Virtual addresses."""
    subject_alt_names: tuple[str, ...] = ()
    service_ports: tuple[tuple[str, int], ...] = ()
    """Port name to service port number, where it is not the instances' own."""


class Member(msgspec.Struct, frozen=True, gc=False):
    """One instance as the mesh shall see it."""

    mesh: MeshKey
    settings: ServiceSettings
    id: str
    address: str
    ports: tuple[Port, ...]
    """With Istio's protocol names, sorted by number; every one has a name."""
    labels: Labels
    locality: str
    network: str
    weight: int
    """0 leaves it to Istio, which counts 1."""
    service_account: str
    health: Health


class Dropped(msgspec.Struct, frozen=True, gc=False):
    """An instance that does not come into the mesh, and why."""

    id: str
    reason: str
