"""Istio's ServiceEntry, WorkloadEntry and WorkloadGroup specs, in their Kubernetes JSON form.

Fields and enums: istio/api `networking/v1alpha3` (the same messages serve v1, v1beta1 and v1alpha3).
Encoding one of these with msgspec gives the `spec` that `kubectl apply` takes. Location and
resolution have no default here, since the protobuf defaults are the ones nobody wants.
"""

from enum import StrEnum

import msgspec


class Location(StrEnum):
    """Whether endpoints take part in the mesh's mutual TLS."""

    MESH_EXTERNAL = "MESH_EXTERNAL"
    MESH_INTERNAL = "MESH_INTERNAL"


class Resolution(StrEnum):
    """How a proxy finds the endpoints of a host."""

    NONE = "NONE"
    STATIC = "STATIC"
    DNS = "DNS"
    DNS_ROUND_ROBIN = "DNS_ROUND_ROBIN"
    DYNAMIC_DNS = "DYNAMIC_DNS"


class ServicePort(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """A port of a service; `protocol` is "" where proxies shall find out."""

    number: int
    name: str
    protocol: str = ""
    target_port: int = 0


class WorkloadEntry(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """One endpoint: inline in a ServiceEntry, or a resource of its own. The maps are never mutated."""

    address: str = ""
    ports: dict[str, int] = msgspec.field(default_factory=dict)
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    network: str = ""
    locality: str = ""
    weight: int = 0
    service_account: str = ""


class WorkloadSelector(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """Selects WorkloadEntries and pods of the same namespace."""

    labels: dict[str, str] = msgspec.field(default_factory=dict)


class ServiceEntry(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """A service of the mesh."""

    hosts: tuple[str, ...]
    location: Location
    resolution: Resolution
    addresses: tuple[str, ...] = ()
    ports: tuple[ServicePort, ...] = ()
    endpoints: tuple[WorkloadEntry, ...] = ()
    export_to: tuple[str, ...] = ()
    subject_alt_names: tuple[str, ...] = ()
    workload_selector: WorkloadSelector | None = None


class ObjectMeta(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """Labels and annotations for the WorkloadEntries made from a WorkloadGroup."""

    labels: dict[str, str] = msgspec.field(default_factory=dict)
    annotations: dict[str, str] = msgspec.field(default_factory=dict)


class HTTPHeader(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """A header that an HTTP probe sends."""

    name: str = ""
    value: str = ""


class HTTPGetAction(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """An HTTP probe."""

    port: int
    path: str = ""
    host: str = ""
    scheme: str = ""
    http_headers: tuple[HTTPHeader, ...] = ()


class TCPSocketAction(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """A TCP probe."""

    port: int
    host: str = ""


class ExecAction(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """A probe that runs a command on the workload; only the workload's own agent can."""

    command: tuple[str, ...] = ()


class GRPCAction(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """A gRPC health v1 probe."""

    port: int = 0
    service: str = ""


class ReadinessProbe(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """When a workload of a group is ready; exactly one action is set. Times are seconds."""

    initial_delay_seconds: int = 0
    timeout_seconds: int = 0
    period_seconds: int = 0
    success_threshold: int = 0
    failure_threshold: int = 0
    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    exec: ExecAction | None = None
    grpc: GRPCAction | None = None


class WorkloadGroup(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """What the workloads of one kind have in common."""

    template: WorkloadEntry
    metadata: ObjectMeta | None = None
    probe: ReadinessProbe | None = None


Spec = ServiceEntry | WorkloadEntry | WorkloadGroup
"""The body of a resource."""
