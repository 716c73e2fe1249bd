"""What Consul's HTTP API answers to `/v1/health/service/NAME`, and what is taken from it.

Field names are those of Consul 1.8 to 1.22: https://developer.hashicorp.com/consul/api-docs/health.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from meshbridge.schemas.registry import Health


class Kind(StrEnum):
    """What a registration is. Consul writes nothing for an ordinary service."""

    SERVICE = "service"
    CONNECT_PROXY = "connect-proxy"
    MESH_GATEWAY = "mesh-gateway"
    TERMINATING_GATEWAY = "terminating-gateway"
    INGRESS_GATEWAY = "ingress-gateway"
    API_GATEWAY = "api-gateway"


@dataclass(frozen=True)
class Scope:
    """A part of a cluster; "" is whatever the agent answers with."""

    datacenter: str = ""
    namespace: str = ""
    partition: str = ""
    peer: str = ""

    @property
    def parameters(self) -> dict[str, str]:
        """Query parameters, of set ones only: the open-source edition refuses `ns` and `partition`."""
        found = {"dc": self.datacenter, "ns": self.namespace, "partition": self.partition, "peer": self.peer}
        return {key: value for key, value in found.items() if value}

    @property
    def has_servers(self) -> bool:
        """Whether the servers' own nodes and service belong to it, so that it can't be empty."""
        return not (self.namespace or self.partition or self.peer)


@dataclass(frozen=True)
class ParseOptions:
    """How entries become instances; see `ConsulConfig` for what each means."""

    scope: Scope = Scope()
    kinds: frozenset[Kind] = frozenset({Kind.SERVICE})
    tags: tuple[str, ...] = ()
    exclude_tags: tuple[str, ...] = ()
    exclude_external_sources: frozenset[str] = frozenset()
    warning: Health = Health.READY
    address_tag: str = ""
    labels: tuple[str, ...] = ("version",)


class Locality(msgspec.Struct, rename="pascal", gc=False):
    """Where a node or service is."""

    region: str = ""
    zone: str = ""


class Node(msgspec.Struct, gc=False):
    """The node of an entry."""

    name: str = msgspec.field(name="Node", default="")
    address: str = msgspec.field(name="Address", default="")
    datacenter: str = msgspec.field(name="Datacenter", default="")
    tagged: dict[str, str] | None = msgspec.field(name="TaggedAddresses", default=None)
    meta: dict[str, str] | None = msgspec.field(name="Meta", default=None)
    locality: Locality | None = msgspec.field(name="Locality", default=None)


class TaggedAddress(msgspec.Struct, rename="pascal", gc=False):
    """An address of a service for one kind of network."""

    address: str = ""
    port: int = 0


class NamedPort(msgspec.Struct, rename="pascal", gc=False):
    """One of several ports of a service."""

    name: str = ""
    port: int = 0
    default: bool = False


class Weights(msgspec.Struct, rename="pascal", gc=False):
    """Weights by health."""

    passing: int = 1
    warning: int = 1


class Proxy(msgspec.Struct, rename="pascal", gc=False):
    """What a sidecar proxy stands in front of."""

    destination_service_name: str = ""


class Connect(msgspec.Struct, rename="pascal", gc=False):
    """Whether the application speaks Consul's mTLS itself."""

    native: bool = False


class Service(msgspec.Struct, gc=False):
    """The registration of an entry."""

    id: str = msgspec.field(name="ID", default="")
    name: str = msgspec.field(name="Service", default="")
    kind: str = msgspec.field(name="Kind", default="")
    tags: list[str] | None = msgspec.field(name="Tags", default=None)
    address: str = msgspec.field(name="Address", default="")
    port: int = msgspec.field(name="Port", default=0)
    ports: list[NamedPort] | None = msgspec.field(name="Ports", default=None)
    socket_path: str = msgspec.field(name="SocketPath", default="")
    tagged: dict[str, TaggedAddress] | None = msgspec.field(name="TaggedAddresses", default=None)
    meta: dict[str, str] | None = msgspec.field(name="Meta", default=None)
    weights: Weights | None = msgspec.field(name="Weights", default=None)
    proxy: Proxy | None = msgspec.field(name="Proxy", default=None)
    connect: Connect | None = msgspec.field(name="Connect", default=None)
    locality: Locality | None = msgspec.field(name="Locality", default=None)


class Check(msgspec.Struct, rename="pascal", gc=False):
    """One check of an entry's service or node. As an item of `/v1/health/state/STATE` it is the same."""

    node: str = ""
    status: str = ""
    service_name: str = ""
    check_id: str = msgspec.field(name="CheckID", default="")
    service_id: str = msgspec.field(name="ServiceID", default="")


class Entry(msgspec.Struct, rename="pascal", gc=False):
    """One instance with its node and its checks."""

    node: Node
    service: Service
    checks: list[Check] | None = None


class NodeAddress(msgspec.Struct, gc=False, frozen=True):
    """A node as `/v1/catalog/nodes` lists it: what of it matters to instances."""

    name: str = msgspec.field(name="Node", default="")
    address: str = msgspec.field(name="Address", default="")
    tagged: Mapping[str, str] | None = msgspec.field(name="TaggedAddresses", default=None)
    meta: Mapping[str, str] | None = msgspec.field(name="Meta", default=None)
