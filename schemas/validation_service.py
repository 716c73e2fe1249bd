"""Rules for ServiceEntries.

istiod's rules: istio/istio `pkg/config/validation/validation.go`. Limits of sizes come from Istio's CRDs
and hold for both sinks, so that both give the same result.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from meshbridge.schemas.istio import Location, Resolution, ServiceEntry, ServicePort
from meshbridge.schemas.problems import Problem, error, own_error, shown, warning, within
from meshbridge.schemas.validation_text import (
    check_port,
    check_size,
    is_any_case_label,
    is_cidr,
    is_fqdn,
    is_host,
    is_ip,
    is_wildcard,
)
from meshbridge.schemas.validation_workload import validate_endpoint

T = TypeVar("T", int, str)

MAX_ENDPOINTS = 4096
"""Endpoints that one ServiceEntry may have."""
_HTTP_LIKE = frozenset({"http", "http2", "http_proxy", "grpc", "grpc-web"})
PROTOCOLS = _HTTP_LIKE | {"tcp", "udp", "https", "tls", "mongo", "redis", "mysql"}
"""Protocols that istiod knows, in lower case; it takes any case, and "" for finding out."""

_BY_NAME = _HTTP_LIKE | {"https", "tls"}
"""Protocols whose requests name their host, so that several hosts can share a port."""
_DYNAMIC = frozenset({"http", "tls", "grpc", "http2"})
_MAX_ADDRESS = 64
_MAX_SELECTOR_VALUE = 63
_AUTO_ALLOCATE = "networking.istio.io/enable-autoallocate-ip"
_WAYPOINT = "istio.io/use-waypoint"
_DNS_LIKE = (Resolution.DNS, Resolution.DNS_ROUND_ROBIN)


def check_service_entry(
    spec: ServiceEntry, namespace: str, object_labels: Mapping[str, str]
) -> Iterator[Problem]:
    """Check a ServiceEntry of this namespace, whose object has these labels."""
    yield from _check_hosts(spec)
    yield from _check_addresses(spec)
    yield from _check_ports(spec, object_labels)
    yield from _check_several_hosts(spec)
    yield from _check_selector(spec)
    yield from _check_resolution(spec, object_labels)
    yield from _check_endpoints(spec)
    yield from _check_export_to(spec, namespace)
    for index, name in enumerate(spec.subject_alt_names):
        if not name or not name.isprintable():
            yield own_error(f"subjectAltNames[{index}]", f"{shown(name)} is empty or can't be printed")


def _check_hosts(spec: ServiceEntry) -> Iterator[Problem]:
    if not spec.hosts:
        yield error("hosts", "are missing; at least one is needed")
    yield from check_size("hosts", len(spec.hosts))
    for index, host in enumerate(spec.hosts):
        if host == "*" or not is_host(host):
            yield error(
                f"hosts[{index}]",
                f"{shown(host)} is not a host; allowed are at most 255 characters, labels of 1 to 63 letters,"
                " digits and inner hyphens, a wildcard in the first label of several, no number as the last",
            )
        elif (
            is_wildcard(host) and not host.startswith("*.") and spec.resolution is not Resolution.DYNAMIC_DNS
        ):
            yield warning(f"hosts[{index}]", f"{shown(host)}: a wildcard other than '*.' may not work")


def _check_addresses(spec: ServiceEntry) -> Iterator[Problem]:
    yield from check_size("addresses", len(spec.addresses))
    for index, address in enumerate(spec.addresses):
        field = f"addresses[{index}]"
        yield from check_size(field, len(address), _MAX_ADDRESS)
        if is_cidr(address):
            if spec.resolution not in (Resolution.NONE, Resolution.STATIC):
                yield error(field, f"{shown(address)}: a network is allowed with NONE and STATIC only")
        elif not is_ip(address):
            yield error(field, f"{shown(address)} is neither an IP address nor a network such as 10.0.0.0/8")


def _check_ports(spec: ServiceEntry, object_labels: Mapping[str, str]) -> Iterator[Problem]:
    yield from check_size("ports", len(spec.ports))
    for name in _repeated(port.name for port in spec.ports):
        yield error("ports", f"name {shown(name)} is there twice; names are unique")
    for number in _repeated(port.number for port in spec.ports):
        yield error("ports", f"number {number} is there twice; numbers are unique")
    needs_address = not spec.addresses and not _gets_address(spec, object_labels)
    for index, port in enumerate(spec.ports):
        yield from within(f"ports[{index}]", _check_port(port))
        if needs_address and _is_tcp(port):
            yield warning(
                "addresses", f"are missing; port {port.number} is TCP and can't be told apart by host"
            )


def _check_port(port: ServicePort) -> Iterator[Problem]:
    yield from check_port("number", port.number)
    if port.target_port != 0:
        yield from check_port("targetPort", port.target_port)
    if not is_any_case_label(port.name):
        yield error("name", f"{shown(port.name)}; allowed are 1 to 63 letters, digits and inner hyphens")
    if port.protocol and port.protocol.lower() not in PROTOCOLS:
        yield error("protocol", f"{shown(port.protocol)}; allowed are {', '.join(sorted(PROTOCOLS))}")


def _gets_address(spec: ServiceEntry, object_labels: Mapping[str, str]) -> bool:
    """Whether istiod may allocate a virtual address by itself."""
    if spec.resolution is Resolution.NONE or object_labels.get(_AUTO_ALLOCATE) == "false":
        return False
    return not any(is_wildcard(host) for host in spec.hosts)


def _is_tcp(port: ServicePort) -> bool:
    return port.protocol.lower() in ("", "tcp")


def _check_several_hosts(spec: ServiceEntry) -> Iterator[Problem]:
    if len(spec.hosts) < 2 or spec.resolution is Resolution.NONE:
        return
    for index, port in enumerate(spec.ports):
        if port.protocol.lower() not in _BY_NAME:
            yield error(
                f"ports[{index}].protocol",
                f"{shown(port.protocol)}: several hosts need HTTP, gRPC or TLS, or resolution NONE",
            )
    if spec.resolution in _DNS_LIKE and spec.addresses and any(_is_tcp(port) for port in spec.ports):
        yield warning("hosts", "several hosts share the addresses of a TCP port; only the first gets traffic")


def _check_selector(spec: ServiceEntry) -> Iterator[Problem]:
    if spec.workload_selector is None:
        return
    field, labels = "workloadSelector.labels", spec.workload_selector.labels
    if spec.endpoints:
        yield error("workloadSelector", "is not allowed together with endpoints")
    if not labels:
        yield warning(field, "are empty; they select every workload of the namespace")
    yield from check_size(field, len(labels))
    for key, value in labels.items():
        if not key or "*" in key or "*" in value:
            yield error(field, f"{shown(key)}: {shown(value)}; an empty key or a '*' is not allowed")
        if len(value) > _MAX_SELECTOR_VALUE:
            yield error(field, f"value {shown(value)}; at most {_MAX_SELECTOR_VALUE} characters are allowed")


def _check_resolution(spec: ServiceEntry, object_labels: Mapping[str, str]) -> Iterator[Problem]:
    if spec.resolution is Resolution.NONE:
        if spec.endpoints:
            yield error("endpoints", "are not allowed with NONE; allowed with STATIC and DNS")
        if spec.workload_selector is not None:
            yield warning("workloadSelector", "has no effect with NONE")
    elif spec.resolution is Resolution.DYNAMIC_DNS:
        yield from _check_dynamic(spec, object_labels)
    elif spec.resolution in _DNS_LIKE:
        yield from _check_dns(spec)


def _check_dns(spec: ServiceEntry) -> Iterator[Problem]:
    if spec.resolution is Resolution.DNS_ROUND_ROBIN and len(spec.endpoints) > 1:
        yield error("endpoints", f"are {len(spec.endpoints)}; with DNS_ROUND_ROBIN at most one is allowed")
    for index, host in enumerate(spec.hosts):
        if not spec.endpoints and not is_fqdn(host):
            yield error(
                f"hosts[{index}]", f"{shown(host)}: without endpoints a full name is needed to look up"
            )


def _check_dynamic(spec: ServiceEntry, object_labels: Mapping[str, str]) -> Iterator[Problem]:
    for index, host in enumerate(spec.hosts):
        if not is_wildcard(host):
            yield error(f"hosts[{index}]", f"{shown(host)}: with DYNAMIC_DNS a wildcard is needed")
    if spec.addresses:
        yield error("addresses", "are not allowed with DYNAMIC_DNS")
    if spec.endpoints:
        yield error("endpoints", "are not allowed with DYNAMIC_DNS")
    for index, port in enumerate(spec.ports):
        if port.protocol.lower() not in _DYNAMIC:
            yield error(
                f"ports[{index}].protocol",
                f"{shown(port.protocol)}; with DYNAMIC_DNS allowed are HTTP, HTTP2, GRPC and TLS",
            )
    if spec.location is Location.MESH_INTERNAL and _WAYPOINT in object_labels:
        yield error("location", f"MESH_INTERNAL is not allowed with DYNAMIC_DNS and the label {_WAYPOINT}")


def _check_endpoints(spec: ServiceEntry) -> Iterator[Problem]:
    yield from check_size("endpoints", len(spec.endpoints), MAX_ENDPOINTS)
    names = dict.fromkeys(port.name for port in spec.ports)
    for index, endpoint in enumerate(spec.endpoints):
        problems = validate_endpoint(
            endpoint,
            spec.resolution,
            names,
            len(spec.ports),
            has_subject_alt_names=bool(spec.subject_alt_names),
        )
        if problems:
            yield from within(f"endpoints[{index}]", problems)


def _check_export_to(spec: ServiceEntry, namespace: str) -> Iterator[Problem]:
    places = [namespace if place == "." else place for place in spec.export_to]
    for place in _repeated(places):
        yield error("exportTo", f"{shown(place)} is there twice ('.' is the own namespace)")
    for index, place in enumerate(spec.export_to):
        if place in ("*", "~"):
            if len(spec.export_to) > 1:
                yield error(f"exportTo[{index}]", f"{shown(place)} is allowed alone only")
        elif place != "." and not is_any_case_label(place):
            yield error(f"exportTo[{index}]", f"{shown(place)}; allowed are namespaces, '.', '*' and '~'")


def _repeated(items: Iterable[T]) -> list[T]:
    return [item for item, count in Counter(items).items() if count > 1]
