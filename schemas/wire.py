"""Specs as protobuf bytes and back. Messages: istio/api `networking/v1alpha3`.

Fields stand in the order of their numbers, maps are sorted by key, defaults are left out. That is what
protobuf calls deterministic, but fixed here: the bytes are hashed into versions, which must be the same on
every replica and with every release of protobuf. It is also twice as fast where endpoints share their labels.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from meshbridge.schemas.errors import PayloadError
from meshbridge.schemas.istio import (
    ExecAction,
    GRPCAction,
    HTTPGetAction,
    HTTPHeader,
    Location,
    ObjectMeta,
    ReadinessProbe,
    Resolution,
    ServiceEntry,
    ServicePort,
    Spec,
    TCPSocketAction,
    WorkloadEntry,
    WorkloadGroup,
    WorkloadSelector,
)
from meshbridge.schemas.protobuf import (
    delimited,
    int32,
    string,
    string_map,
    strings,
    uint32,
    uint32_map,
)
from meshbridge.schemas.resource import Kind

if TYPE_CHECKING:
    from meshbridge.schemas.proto import meshbridge_networking_pb2 as pb

V = TypeVar("V")

# Protobuf's numbers are the places in the enums.
_LOCATIONS = dict(enumerate(Location))
_RESOLUTIONS = dict(enumerate(Resolution))
_NUMBERS = {value: number for enum in (_LOCATIONS, _RESOLUTIONS) for number, value in enum.items()}


def encode(spec: Spec) -> bytes:
    """Return the spec as deterministic protobuf. The specs are taken to be valid.

    Raises:
        ValueError: a number doesn't fit its field, or a text has lone surrogates.
    """
    if isinstance(spec, ServiceEntry):
        return encode_service(
            spec, [encode_endpoint(found.address, encode_rest(found)) for found in spec.endpoints]
        )
    if isinstance(spec, WorkloadEntry):
        return _workload_entry(spec)
    return _workload_group(spec)


def encode_rest(endpoint: WorkloadEntry) -> bytes:
    """Return the bytes of everything but the address, which is often all that endpoints differ in."""
    return _all_but_address(
        tuple(endpoint.ports.items()),
        tuple(endpoint.labels.items()),
        endpoint.network,
        endpoint.locality,
        endpoint.weight,
        endpoint.service_account,
    )


def encode_endpoint(address: str, rest: bytes) -> bytes:
    """Return one endpoint as it stands in a ServiceEntry's bytes, for `encode_service`."""
    return delimited(6, string(1, address) + rest)


def encode_service(spec: ServiceEntry, endpoints: Iterable[bytes]) -> bytes:
    """Return a ServiceEntry with these endpoints, encoded before, instead of its own.

    Its bytes are those of `encode` for the whole; one changed endpoint of a thousand costs one encoding.
    """
    return b"".join(
        [
            strings(1, spec.hosts),
            strings(2, spec.addresses),
            *[_port(port) for port in spec.ports],
            uint32(4, _NUMBERS[spec.location]),
            uint32(5, _NUMBERS[spec.resolution]),
            *endpoints,
            strings(7, spec.export_to),
            strings(8, spec.subject_alt_names),
            b"" if (found := spec.workload_selector) is None else delimited(9, string_map(1, found.labels)),
        ]
    )


def decode(kind: Kind, body: bytes) -> Spec:
    """Return the spec that these bytes of a resource say.

    Raises:
        PayloadError: the bytes are no such message.
    """
    # Generated code costs 50 ms to import, and the encoder doesn't need it.
    from google.protobuf.message import DecodeError

    from meshbridge.schemas.proto import meshbridge_networking_pb2 as pb

    try:
        if kind is Kind.SERVICE_ENTRY:
            return _read_service_entry(pb.ServiceEntry.FromString(body))
        if kind is Kind.WORKLOAD_ENTRY:
            return _read_workload_entry(pb.WorkloadEntry.FromString(body))
        return _read_workload_group(pb.WorkloadGroup.FromString(body))
    except (DecodeError, KeyError) as error:
        raise PayloadError(kind, f"not the protobuf of a {kind}: {error}") from error


@lru_cache(maxsize=1024)
def _port(port: ServicePort) -> bytes:
    return delimited(
        3,
        uint32(1, port.number)
        + string(2, port.protocol)
        + string(3, port.name)
        + uint32(4, port.target_port),
    )


def _workload_entry(spec: WorkloadEntry) -> bytes:
    return string(1, spec.address) + encode_rest(spec)


# Small on purpose: endpoints that share come together, and more would not stay in the processor's cache.
@lru_cache(maxsize=256)
def _all_but_address(
    ports: tuple[tuple[str, int], ...],
    labels: tuple[tuple[str, str], ...],
    network: str,
    locality: str,
    weight: int,
    service_account: str,
) -> bytes:
    return b"".join(
        [
            uint32_map(2, dict(ports)),
            string_map(3, dict(labels)),
            string(4, network),
            string(5, locality),
            uint32(6, weight),
            string(7, service_account),
        ]
    )


def _workload_group(spec: WorkloadGroup) -> bytes:
    metadata = b""
    if spec.metadata is not None:
        metadata = delimited(
            1, string_map(1, spec.metadata.labels) + string_map(2, spec.metadata.annotations)
        )
    probe = b"" if spec.probe is None else delimited(3, _probe(spec.probe))
    return metadata + delimited(2, _workload_entry(spec.template)) + probe


def _probe(probe: ReadinessProbe) -> bytes:
    times = (
        probe.initial_delay_seconds,
        probe.timeout_seconds,
        probe.period_seconds,
        probe.success_threshold,
        probe.failure_threshold,
    )
    return b"".join([int32(field, number) for field, number in enumerate(times, start=2)]) + _action(probe)


def _action(probe: ReadinessProbe) -> bytes:
    if (http := probe.http_get) is not None:
        headers = [delimited(5, string(1, h.name) + string(2, h.value)) for h in http.http_headers]
        start = string(1, http.path) + uint32(2, http.port) + string(3, http.host) + string(4, http.scheme)
        return delimited(7, start + b"".join(headers))
    if (tcp := probe.tcp_socket) is not None:
        return delimited(8, string(1, tcp.host) + uint32(2, tcp.port))
    if (command := probe.exec) is not None:
        return delimited(9, strings(1, command.command))
    if (grpc := probe.grpc) is not None:
        return delimited(10, uint32(1, grpc.port) + string(2, grpc.service))
    return b""


def _in_order(pairs: Mapping[str, V]) -> dict[str, V]:
    """Return a map field as a dict sorted by key; protobuf's own order is a new one in each process."""
    return {key: pairs[key] for key in sorted(pairs)}


def _read_service_entry(message: "pb.ServiceEntry") -> ServiceEntry:
    selector = None
    if message.HasField("workload_selector"):
        selector = WorkloadSelector(labels=_in_order(message.workload_selector.labels))
    return ServiceEntry(
        hosts=tuple(message.hosts),
        addresses=tuple(message.addresses),
        ports=tuple(
            ServicePort(port.number, port.name, port.protocol, port.target_port) for port in message.ports
        ),
        location=_LOCATIONS[message.location],
        resolution=_RESOLUTIONS[message.resolution],
        endpoints=tuple(_read_workload_entry(endpoint) for endpoint in message.endpoints),
        export_to=tuple(message.export_to),
        subject_alt_names=tuple(message.subject_alt_names),
        workload_selector=selector,
    )


def _read_workload_entry(message: "pb.WorkloadEntry") -> WorkloadEntry:
    return WorkloadEntry(
        address=message.address,
        ports=_in_order(message.ports),
        labels=_in_order(message.labels),
        network=message.network,
        locality=message.locality,
        weight=message.weight,
        service_account=message.service_account,
    )


def _read_workload_group(message: "pb.WorkloadGroup") -> WorkloadGroup:
    metadata = None
    if message.HasField("metadata"):
        found = message.metadata
        metadata = ObjectMeta(labels=_in_order(found.labels), annotations=_in_order(found.annotations))
    return WorkloadGroup(
        template=_read_workload_entry(message.template),
        metadata=metadata,
        probe=_read_probe(message.probe) if message.HasField("probe") else None,
    )


def _read_probe(message: "pb.ReadinessProbe") -> ReadinessProbe:
    found = message.WhichOneof("health_check_method")
    http, tcp, command, grpc = message.http_get, message.tcp_socket, message.exec, message.grpc
    headers = tuple(HTTPHeader(name=header.name, value=header.value) for header in http.http_headers)
    return ReadinessProbe(
        initial_delay_seconds=message.initial_delay_seconds,
        timeout_seconds=message.timeout_seconds,
        period_seconds=message.period_seconds,
        success_threshold=message.success_threshold,
        failure_threshold=message.failure_threshold,
        http_get=HTTPGetAction(http.port, http.path, http.host, http.scheme, headers)
        if found == "http_get"
        else None,
        tcp_socket=TCPSocketAction(tcp.port, tcp.host) if found == "tcp_socket" else None,
        exec=ExecAction(tuple(command.command)) if found == "exec" else None,
        grpc=GRPCAction(grpc.port, grpc.service) if found == "grpc" else None,
    )
