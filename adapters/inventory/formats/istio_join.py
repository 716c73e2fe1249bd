"""Istio's resources of one namespace to services with instances.

The attributes of the groups made here are listed in adapters/README.md.
"""

from collections.abc import Iterable, Mapping
from typing import cast

import msgspec

from meshbridge.adapters.inventory.formats import checks
from meshbridge.adapters.inventory.formats.checks import Reason
from meshbridge.adapters.inventory.formats.istio import service_name
from meshbridge.adapters.inventory.formats.record import Collector, Configured, Draft, Parsed
from meshbridge.schemas.istio import ServiceEntry, WorkloadEntry, WorkloadGroup

_GROUP_ANNOTATION = "istio.io/autoRegistrationGroup"
_NAME_LABELS = ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")

Pairs = Mapping[str, str]


class _Selectors:
    """Finds those of many selectors that choose a label set, without trying each."""

    def __init__(self, selectors: Iterable[tuple[Pairs, Configured]]) -> None:
        self._by_pair: dict[tuple[str, str], list[tuple[Pairs, Configured]]] = {}
        for wanted, chosen in selectors:
            if wanted:
                self._by_pair.setdefault(min(wanted.items()), []).append((wanted, chosen))

    def choosing(self, labels: Pairs) -> list[Configured]:
        """Return what the selectors stand for that are part of the labels, by name."""
        candidates = [found for pair in labels.items() for found in self._by_pair.get(pair, ())]
        chosen = [item for wanted, item in candidates if wanted.items() <= labels.items()]
        return sorted(chosen, key=lambda item: item.name)


def join(resources: Iterable[Configured]) -> Parsed:
    """Return the services of one namespace; of several resources of one kind and name the first counts."""
    found = Collector("")
    by_kind: dict[str, dict[str, Configured]] = {"ServiceEntry": {}, "WorkloadEntry": {}, "WorkloadGroup": {}}
    for resource in resources:
        first = by_kind[resource.kind].setdefault(resource.name, resource)
        if first is not resource:
            text = f"{resource.marks[0]} is at {first.place} too, which counts"
            service = _service_of(resource) if resource.kind == "ServiceEntry" else ""
            found.remark(resource.place, Reason.DUPLICATE, text, service)
    services = by_kind["ServiceEntry"].values()
    attributes = {_service_of(entry): _attributes(entry) for entry in services}
    for entry in services:
        _remark_names(entry, found)
        _add_inline(entry, found)
    _add_workloads(by_kind, attributes, found)
    for service, values in attributes.items():
        found.declare(service, values, "")
    return found.parsed()


def _add_inline(entry: Configured, found: Collector) -> None:
    spec = cast("ServiceEntry", entry.spec)
    if not spec.endpoints and spec.workload_selector is None:
        text = "it has neither endpoints nor a workloadSelector, so there is nothing to watch"
        found.remark(entry.place, Reason.FIELD, text, _service_of(entry))
    for index, endpoint in enumerate(spec.endpoints):
        draft = _draft(_service_of(entry), endpoint, entry, _ports(spec, endpoint))
        found.add(draft, f"{entry.place} endpoints[{index}]")


def _add_workloads(
    by_kind: Mapping[str, Mapping[str, Configured]], attributes: dict[str, dict[str, str]], found: Collector
) -> None:
    """Add each WorkloadEntry to every ServiceEntry that selects it, else to a service of its own."""
    groups = by_kind["WorkloadGroup"]
    by_labels = _Selectors((_group_labels(group), group) for group in groups.values())
    selectors = _Selectors((_selector(entry), entry) for entry in by_kind["ServiceEntry"].values())
    for entry in by_kind["WorkloadEntry"].values():
        named = groups.get(dict(entry.annotations).get(_GROUP_ANNOTATION, ""))
        own = cast("WorkloadEntry", entry.spec)
        # Labels of the resource go before those of the spec, as in istiod.
        own = msgspec.structs.replace(own, labels={**own.labels, **dict(entry.labels)})
        group = named or next(iter(by_labels.choosing(own.labels)), None)
        spec = _filled(own, group) if group else own
        probe = cast("WorkloadGroup", group.spec).probe if group else None
        chosen = selectors.choosing(spec.labels)
        for service in chosen:
            ports = _ports(cast("ServiceEntry", service.spec), spec)
            found.add(_draft(_service_of(service), spec, entry, ports, entry.name), entry.place)
        name = next((spec.labels[key] for key in _NAME_LABELS if spec.labels.get(key)), entry.name)
        own_service = service_name(name, entry.namespace)
        if not chosen:
            attributes.setdefault(own_service, {"namespace": entry.namespace})
            found.add(_draft(own_service, spec, entry, _own_ports(spec), entry.name), entry.place)
        for service_key in [_service_of(service) for service in chosen] or [own_service]:
            if probe is not None:
                attributes[service_key].setdefault("probe", msgspec.json.encode(probe).decode())


def _remark_names(entry: Configured, found: Collector) -> None:
    for host in cast("ServiceEntry", entry.spec).hosts:
        for text in checks.altered_names(host, ""):
            found.remark(entry.place, Reason.FIELD, text, _service_of(entry))


def _service_of(entry: Configured) -> str:
    return service_name(entry.name, entry.namespace)


def _attributes(entry: Configured) -> dict[str, str]:
    spec = cast("ServiceEntry", entry.spec)
    return {
        "host": spec.hosts[0] if spec.hosts else "",
        "hosts": ",".join(spec.hosts) if len(spec.hosts) > 1 else "",
        "namespace": entry.namespace,
        "location": spec.location.value,
        "resolution": spec.resolution.value,
        "protocol": spec.ports[0].protocol.lower() if len(spec.ports) == 1 else "",
        "ports": msgspec.json.encode(spec.ports).decode() if spec.ports else "",
        "addresses": ",".join(spec.addresses),
        "export_to": ",".join(spec.export_to),
        "subject_alt_names": ",".join(spec.subject_alt_names),
    }


def _selector(entry: Configured) -> Pairs:
    selector = cast("ServiceEntry", entry.spec).workload_selector
    return selector.labels if selector else {}


def _group_labels(group: Configured) -> Pairs:
    spec = cast("WorkloadGroup", group.spec)
    return {**spec.template.labels, **(spec.metadata.labels if spec.metadata else {})}


def _filled(entry: WorkloadEntry, group: Configured) -> WorkloadEntry:
    """Return the entry with what it leaves out taken from its group."""
    template = cast("WorkloadGroup", group.spec).template
    return msgspec.structs.replace(
        entry,
        labels={**_group_labels(group), **entry.labels},
        ports=entry.ports or template.ports,
        network=entry.network or template.network,
        locality=entry.locality or template.locality,
        weight=entry.weight or template.weight,
        service_account=entry.service_account or template.service_account,
    )


_Ports = dict[str, tuple[int, str]]
"""Number and protocol by port name."""


def _ports(service: ServiceEntry, endpoint: WorkloadEntry) -> _Ports:
    return {
        port.name: (endpoint.ports.get(port.name) or port.target_port or port.number, port.protocol)
        for port in service.ports
    }


def _own_ports(entry: WorkloadEntry) -> _Ports:
    return {name: (number, "") for name, number in entry.ports.items()}


def _draft(service: str, entry: WorkloadEntry, resource: Configured, ports: _Ports, host: str = "") -> Draft:
    return Draft(
        service=service,
        address=entry.address,
        host=host,
        ports={name: number for name, (number, _) in ports.items()},
        protocols={name: protocol for name, (_, protocol) in ports.items()},
        locality=entry.locality,
        weight=entry.weight or None,  # Istio's 0 means "not set".
        labels=entry.labels,
        metadata={"document": resource.document, "resource": resource.marks[0]},
        network=entry.network,
        service_account=entry.service_account,
    )
