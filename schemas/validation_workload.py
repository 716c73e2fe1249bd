"""Rules for endpoints, WorkloadEntries and WorkloadGroups.

istiod's rules: istio/istio `pkg/config/validation/validation.go`. Limits of sizes come from Istio's CRDs
and hold for both sinks, so that both give the same result.
"""

from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache

from meshbridge.schemas.istio import ReadinessProbe, Resolution, WorkloadEntry, WorkloadGroup
from meshbridge.schemas.naming import is_subdomain
from meshbridge.schemas.problems import Problem, error, own_error, shown, warning, within
from meshbridge.schemas.validation_text import (
    check_annotations,
    check_labels,
    check_port,
    check_printable,
    check_size,
    check_unix,
    is_any_case_label,
    is_fqdn,
    is_ip,
    is_unix,
)

TLS_MODE = "security.istio.io/tlsMode"
"""The label that says whether a workload's sidecar takes mutual TLS: `istio` or `disabled`."""

_MAX_PORTS = 128
_MAX_ADDRESS = 256
_MAX_PLACE = 2048
_MAX_UINT32 = (1 << 32) - 1
_MAX_INT32 = (1 << 31) - 1
_MAX_PORT_NAME = 62
_SCHEMES = ("", "HTTP", "HTTPS")


def validate_endpoint(
    endpoint: WorkloadEntry,
    resolution: Resolution,
    port_names: Collection[str],
    ports_count: int,
    *,
    has_subject_alt_names: bool = False,
) -> list[Problem]:
    """Return what is wrong with one inline endpoint of a ServiceEntry with these ports.

    With NONE and DYNAMIC_DNS the endpoint is judged by itself: there the entry must have none.
    """
    problems = check_workload(endpoint, has_identity=has_subject_alt_names)
    if not is_ip(endpoint.address):  # Nearly all are.
        problems += _check_address(endpoint.address, endpoint.network)
        problems += _check_resolved(endpoint.address, resolution, ports_count)
    if not endpoint.ports.keys() <= set(port_names):
        problems += [
            error(f"ports[{name}]", f"is not a port of the service; it has {', '.join(port_names) or 'none'}")
            for name in endpoint.ports
            if name not in port_names
        ]
    return problems


def check_workload_entry(entry: WorkloadEntry, object_labels: Mapping[str, str]) -> Iterator[Problem]:
    """Check a WorkloadEntry that is a resource of its own; the object's labels win over the spec's."""
    yield from _check_address(entry.address, entry.network)
    yield from check_workload(entry, tls_mode=object_labels.get(TLS_MODE))


def check_workload_group(group: WorkloadGroup) -> Iterator[Problem]:
    """Check a WorkloadGroup; its template may lack the address."""
    if group.template.address:
        yield from within("template", _check_address(group.template.address, ""))
    yield from within("template", check_workload(group.template))
    if group.metadata is not None:
        yield from within("metadata", check_labels("labels", group.metadata.labels))
        yield from within("metadata", check_annotations("annotations", group.metadata.annotations))
    if group.probe is not None:
        yield from within("probe", _check_probe(group.probe))


def check_workload(
    entry: WorkloadEntry, *, has_identity: bool = False, tls_mode: str | None = None
) -> list[Problem]:
    """Return what is wrong with an endpoint but for its address.

    `has_identity` says that its service names who may answer, whatever the endpoint says itself;
    `tls_mode` overrides the endpoint's own label.
    """
    mode = entry.labels.get(TLS_MODE) if tls_mode is None else tls_mode
    return [
        *_check_ports(tuple(entry.ports.items()), unix=is_unix(entry.address)),
        *check_labels("labels", entry.labels),
        *_check_places(entry.network, entry.locality),
        *_check_weight(entry.weight),
        *_check_identity(entry.service_account, mutual=mode == "istio" and not has_identity),
    ]


def _check_address(address: str, network: str) -> Iterator[Problem]:
    if address == "" and network == "":
        yield error("address", "is empty; allowed only together with a network")
    elif address == "":
        yield warning("address", f"is empty; traffic goes to the gateway of network {shown(network)}")
    elif is_unix(address):
        yield from check_unix(address)
    elif not is_ip(address) and not is_fqdn(address):
        yield error(
            "address",
            f"{shown(address)} is neither an IP address (plain form: no brackets, zone or leading zeros),"
            " nor a host name, nor unix:///path or unix://@name",
        )
    yield from check_size("address", len(address), _MAX_ADDRESS)


def _check_resolved(address: str, resolution: Resolution, ports_count: int) -> Iterator[Problem]:
    unix = is_unix(address)
    if resolution in (Resolution.DNS, Resolution.DNS_ROUND_ROBIN) and unix:
        yield error("address", f"{shown(address)}: with {resolution} an IP address or a host name is needed")
    if resolution is Resolution.STATIC and is_fqdn(address):
        yield error("address", f"{shown(address)}: with STATIC an IP address or a unix socket is needed")
    if unix and ports_count != 1:
        yield error(
            "address", f"{shown(address)}: a unix socket needs a service with 1 port, not {ports_count}"
        )


# What the endpoints of a service have in common is checked once for all of them.


@lru_cache(maxsize=256)
def _check_ports(ports: tuple[tuple[str, int], ...], *, unix: bool) -> tuple[Problem, ...]:
    problems = list(check_size("ports", len(ports), _MAX_PORTS))
    if unix and ports:
        problems.append(error("ports", "are not allowed with a unix socket"))
    for name, number in ports:
        if not is_any_case_label(name) or len(name) > _MAX_PORT_NAME:
            problems.append(
                error("ports", f"name {shown(name)}; allowed are 1 to 62 letters, digits and inner hyphens")
            )
        problems += check_port(f"ports[{name}]", number)
    return tuple(problems)


@lru_cache(maxsize=256)
def _check_places(network: str, locality: str) -> tuple[Problem, ...]:
    places = (("network", network), ("locality", locality))
    sizes = [found for field, text in places for found in check_size(field, len(text), _MAX_PLACE)]
    return (*sizes, *(found for field, text in places for found in check_printable(field, text)))


@lru_cache(maxsize=256)
def _check_weight(weight: int) -> tuple[Problem, ...]:
    if 0 <= weight <= _MAX_UINT32:
        return ()
    return (error("weight", f"{shown(weight)} is not a weight; allowed is 0 to {_MAX_UINT32}"),)


@lru_cache(maxsize=256)
def _check_identity(account: str, *, mutual: bool) -> tuple[Problem, ...]:
    if account and not is_subdomain(account):
        # istiod puts whatever is here into the SPIFFE id that clients then accept.
        text = (
            f"{shown(account)} is not the name of a service account; allowed are at most 253"
            " lower-case letters, digits, inner hyphens and dots"
        )
        return (own_error("serviceAccount", text),)
    if mutual and not account:
        # Clients would then accept every certificate of the mesh's authority.
        text = "'istio' needs a service account, or subjectAltNames of the service: else anyone may answer"
        return (own_error(f"labels[{TLS_MODE}]", text),)
    return ()


def _check_probe(probe: ReadinessProbe) -> Iterator[Problem]:
    times = {
        "initialDelaySeconds": probe.initial_delay_seconds,
        "timeoutSeconds": probe.timeout_seconds,
        "periodSeconds": probe.period_seconds,
        "successThreshold": probe.success_threshold,
        "failureThreshold": probe.failure_threshold,
    }
    for field, number in times.items():
        if not 0 <= number <= _MAX_INT32:
            yield error(field, f"{shown(number)} is out of range; allowed is 0 to {_MAX_INT32}")
    actions = (probe.http_get, probe.tcp_socket, probe.exec, probe.grpc)
    if sum(action is not None for action in actions) > 1:
        yield error("httpGet", "only one of httpGet, tcpSocket, exec and grpc is allowed")
    yield from _check_action(probe)


def _check_action(probe: ReadinessProbe) -> Iterator[Problem]:
    if (http := probe.http_get) is not None:
        yield from check_port("httpGet.port", http.port)
        if http.scheme not in _SCHEMES:
            yield error("httpGet.scheme", f"{shown(http.scheme)}; allowed are HTTP, HTTPS and none")
        for index, header in enumerate(http.http_headers):
            if not _is_header_name(header.name):
                yield error(
                    f"httpGet.httpHeaders[{index}].name",
                    f"{shown(header.name)}; allowed are letters, digits, '-' and '_'",
                )
    if probe.tcp_socket is not None:
        yield from check_port("tcpSocket.port", probe.tcp_socket.port)
    if probe.exec is not None and ("" in probe.exec.command or not probe.exec.command):
        yield error("exec.command", f"{shown(probe.exec.command)}; one word or more is needed, none empty")
    if probe.grpc is not None:
        yield error(
            "grpc", "istiod refuses gRPC probes in a WorkloadGroup; allowed are httpGet, tcpSocket, exec"
        )


def _is_header_name(text: str) -> bool:
    return text.isascii() and text.replace("-", "a").replace("_", "a").isalnum()
