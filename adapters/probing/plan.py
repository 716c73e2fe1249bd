"""What to check, and how: from a WorkloadGroup's probe and an instance's ports. No I/O.

Meaning and defaults of the probe: istio/api `networking/v1alpha3/workload_group.proto`.
"""

import ipaddress
from typing import Literal

import msgspec
from pydantic import ValidationError

from meshbridge.adapters.probing.settings import GrpcProbe, HttpProbe, ProbeSettings, TcpProbe
from meshbridge.schemas.errors import PayloadError
from meshbridge.schemas.istio import HTTPGetAction, ReadinessProbe
from meshbridge.schemas.registry import Instance
from meshbridge.schemas.settings import Secret

PROBE_ATTRIBUTE = "probe"
"""Attribute of a group: the JSON of a ReadinessProbe that replaces the source's own action and timing."""


def workload_probe(text: str) -> ProbeSettings:
    """Return the settings that a WorkloadGroup's probe, as JSON, means.

    Raises:
        PayloadError: it is malformed, or an action that only the workload itself can run.
    """
    try:
        probe = msgspec.json.decode(text, type=ReadinessProbe)
    except (msgspec.DecodeError, RecursionError) as error:
        raise PayloadError(PROBE_ATTRIBUTE, f"is no probe: {error}") from error
    if probe.exec:
        raise PayloadError(PROBE_ATTRIBUTE, "exec probes run on the workload alone, so nothing is probed")
    timeout, interval = float(probe.timeout_seconds or 1), float(probe.period_seconds or 10)
    try:
        return ProbeSettings(
            tcp=TcpProbe(port=probe.tcp_socket.port) if probe.tcp_socket else None,
            http=_http(probe.http_get) if probe.http_get else None,
            grpc=GrpcProbe(port=probe.grpc.port or None, service=probe.grpc.service) if probe.grpc else None,
            interval=max(interval, timeout),  # A workload that needs its long time-out shall get it.
            timeout=timeout,
            initial_delay=float(probe.initial_delay_seconds),
            rise=probe.success_threshold or 1,
            fall=probe.failure_threshold or 3,
        )
    except ValidationError as error:
        problems = "; ".join(problem["msg"] for problem in error.errors())
        raise PayloadError(PROBE_ATTRIBUTE, f"is no usable probe: {problems}") from error


def _http(action: HTTPGetAction) -> HttpProbe:
    """Return the probe; certificates are not verified, as by Istio's agent, which has no setting for it."""
    https = action.scheme.upper() == "HTTPS"
    scheme: Literal["http", "https"] = "https" if https else "http"
    return HttpProbe(
        path=action.path if action.path.startswith("/") else f"/{action.path}",
        port=action.port,
        scheme=scheme,
        host=action.host if _is_virtual_host(action.host) else "",
        headers={header.name: Secret(header.value) for header in action.http_headers},
        insecure_skip_verify=https,
    )


def _is_virtual_host(host: str) -> bool:
    """Whether a probe's host is a name; an address there is the workload's own view of itself."""
    return host not in ("", "localhost") and not is_ip(host)


def is_ip(address: str) -> bool:
    """Whether this is an IP address and not a name."""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def port_to_probe(instance: Instance, probe: ProbeSettings) -> int:
    """Return the port number to check.

    Raises:
        PayloadError: the instance can't be checked.
    """
    if not instance.address or instance.address.startswith("unix:"):
        raise PayloadError(instance.id, "has no network address to probe")
    wanted = probe.action.port
    if isinstance(wanted, int):
        return wanted
    for port in instance.ports:
        if wanted is None or port.name == wanted:
            return port.number
    name = f" named {wanted!r}" if wanted else ""
    raise PayloadError(instance.id, f"has no port{name} to probe")
