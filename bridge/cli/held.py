"""What an MCP client holds, for people: table rows and Kubernetes objects. Pure."""

from collections.abc import Mapping
from typing import Any

from meshbridge.bridge.cli.output import Row
from meshbridge.mcp.client_store import Held
from meshbridge.schemas.istio import ServiceEntry, Spec, WorkloadEntry
from meshbridge.schemas.manifest import to_object
from meshbridge.schemas.resource import ResourceKey, resource

HEADERS = ("KIND", "NAMESPACE", "NAME", "HOSTS", "PORTS", "ENDPOINTS", "VERSION")

_VERSION_CHARACTERS = 12


def held_object(name: str, held: Held) -> dict[str, Any]:
    """Return the Kubernetes form of an entry; `name` is namespace/name."""
    namespace, _, own = name.partition("/")
    key = ResourceKey(held.kind, namespace, own)
    return to_object(resource(key, held.body, held.labels, held.annotations))


def held_row(name: str, held: Held) -> Row:
    """Return the table cells of an entry."""
    namespace, _, own = name.partition("/")
    hosts, ports, endpoints = _facts(held.spec)
    return [str(held.kind), namespace, own, hosts, ports, endpoints, held.version[:_VERSION_CHARACTERS]]


def _facts(spec: Spec) -> tuple[str, str, str]:
    if isinstance(spec, ServiceEntry):
        ports = ",".join(f"{port.number}/{(port.protocol or 'auto').lower()}" for port in spec.ports)
        return ",".join(spec.hosts), ports, str(len(spec.endpoints))
    workload = spec if isinstance(spec, WorkloadEntry) else spec.template
    return workload.address, _target_ports(workload.ports), ""


def _target_ports(ports: Mapping[str, int]) -> str:
    return ",".join(f"{number}/{name}" for name, number in ports.items())
