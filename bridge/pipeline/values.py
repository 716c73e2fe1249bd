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
    WORKLOAD_GROUP = "workload_group"
    """As a WorkloadGroup: the workloads' own proxies register them with istiod."""


class MergePolicy(StrEnum):
    """What becomes of several sources that have one mesh service."""

    MERGE = "merge"
    """Their endpoints together."""
    PREFER = "prefer"
    """Those of the first source that has ready ones; the others stand by."""
    FAILOVER = "failover"
    """All, each labelled with its source, so that a DestinationRule can say which proxies try first."""


class Draining(StrEnum):
    """What becomes of an instance that leaves on purpose, or has the weight 0."""

    REMOVE = "remove"
    """No endpoint: no new connections, old ones end with the instance."""
    LABEL = "label"
    """An endpoint with istiod's label for it: proxies keep persistent sessions, and send nothing new."""
    SERVE = "serve"
    """An endpoint like any other."""


class VirtualIps(StrEnum):
    """Which services get a virtual address."""

    NONE = "none"
    TCP = "tcp"
    """Those with a port that can't be told apart by host."""
    ALL = "all"


class Output(StrEnum):
    """Where resources go."""

    MCP = "mcp"
    """To istiod, over MCP."""
    KUBERNETES = "kubernetes"
    """To the API server."""


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
    revision: str = ""
    """Revision of istiod that alone takes the service, "" for all."""
    merge: MergePolicy = MergePolicy.MERGE
    virtual_ips: VirtualIps = VirtualIps.NONE
    refused_hosts: tuple[str, ...] = ()
    """Why hosts beside that of the `MeshKey` were left out."""
    output: str = ""
    """Where its resources go, "" when there is one output only."""


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
    remarks: tuple[str, ...] = ()
    """What of it could not be taken as it was."""


class Dropped(msgspec.Struct, frozen=True, gc=False):
    """An instance that does not come into the mesh, and why."""

    id: str
    reason: str
