"""What rules and registry say about a mesh service as a whole."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import msgspec

from meshbridge.bridge.config.rules import Defaults
from meshbridge.bridge.pipeline.decision import Decision
from meshbridge.bridge.pipeline.hosts import HostPolicy
from meshbridge.bridge.pipeline.template import Template
from meshbridge.bridge.pipeline.values import ServiceSettings
from meshbridge.schemas import naming
from meshbridge.schemas.istio import Location, Resolution, ServicePort

T = TypeVar("T")


def make_settings(
    decision: Decision,
    said: Mapping[str, str],
    value: Callable[[str], str],
    defaults: Defaults,
    policy: HostPolicy,
) -> ServiceSettings:
    """Return the settings of a service.

    Args:
        decision: what the rules say.
        said: the attributes that the registry gives it.
        value: gives the values of variables.
        defaults: what holds where neither says anything.
        policy: which hosts may be used.
    """
    fields = decision.fields
    ports = fields.ports if fields.ports is not None else parse_service_ports(said.get("ports", ""))
    names = _words(said.get("subject_alt_names", ""))
    hosts, refused = _more_hosts(decision, said, value, policy)
    return ServiceSettings(
        location=fields.location or _member_of(Location, said.get("location")) or defaults.location,
        resolution=fields.resolution or _member_of(Resolution, said.get("resolution")),
        endpoints=fields.endpoints or defaults.endpoints,
        export_to=_words(said.get("export_to", "")) if fields.export_to is None else fields.export_to,
        more_hosts=hosts,
        refused_hosts=refused,
        addresses=_words(said.get("addresses", "")),
        subject_alt_names=names
        if decision.subject_alt_names is None
        else rendered(decision.subject_alt_names, value),
        service_ports=tuple(sorted(ports.items())),
        revision=fields.revision or "",
        merge=fields.merge or defaults.merge,
        virtual_ips=fields.virtual_ips or defaults.virtual_ips,
        output=fields.output or defaults.output or "",
    )


def parse_service_ports(text: str) -> dict[str, int]:
    """Return the numbers in a group's attribute `ports`, a JSON list of Istio's service ports, by name."""
    try:
        ports = msgspec.json.decode(text or "[]", type=tuple[ServicePort, ...])
    except msgspec.MsgspecError:
        return {}
    return {naming.dns_label(port.name): port.number for port in ports}


def rendered(templates: Iterable[Template], value: Callable[[str], str]) -> tuple[str, ...]:
    """Return what the templates give, without repetitions and empty texts."""
    return tuple(dict.fromkeys(filter(None, (template.render(value) for template in templates))))


def _more_hosts(
    decision: Decision, said: Mapping[str, str], value: Callable[[str], str], policy: HostPolicy
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the hosts beside the first, and why others are left out."""
    if decision.hosts is not None:
        wanted = rendered(decision.hosts, value)
    else:
        wanted = () if decision.host else _words(said.get("hosts", ""))[1:]
    hosts = dict.fromkeys(map(naming.host, wanted))
    refused = {host: policy.refusal(host) for host in hosts}
    return tuple(host for host in hosts if not refused[host]), tuple(filter(None, refused.values()))


def _words(text: str) -> tuple[str, ...]:
    """Return the items of a group's attribute that is a list."""
    return tuple(filter(None, text.split(",")))


def _member_of(enum: Callable[[str], T], text: str | None) -> T | None:
    try:
        return enum(text) if text else None
    except ValueError:
        return None
