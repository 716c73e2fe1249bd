"""A mesh service in Istio's words: a ServiceEntry with its endpoints, valid by istiod's rules.

More endpoints than one ServiceEntry may have are split over several of the same host. A bad endpoint
drops itself. A ServiceEntry that istiod would refuse raises, and the caller keeps the last valid one,
because istiod drops silently what it refuses.
"""

import hashlib
from collections.abc import Iterator, Sequence

import msgspec

from meshbridge.bridge.pipeline.endpoints import Endpoint, Surroundings, make_endpoints, workload_entry
from meshbridge.bridge.pipeline.groups import workload_group
from meshbridge.bridge.pipeline.merge import MeshService
from meshbridge.bridge.pipeline.values import EndpointMode, MeshKey, ServiceSettings
from meshbridge.schemas import naming, wire
from meshbridge.schemas.errors import ConversionError
from meshbridge.schemas.istio import Resolution, ServiceEntry, Spec, WorkloadSelector
from meshbridge.schemas.registry import Labels, Note, ServiceKey, labels
from meshbridge.schemas.resource import Kind, Resource, ResourceKey, resource
from meshbridge.schemas.validation import MAX_ENDPOINTS, Severity, validate
from meshbridge.schemas.validation_text import is_fqdn, is_ip

MANAGED_BY = labels({"app.kubernetes.io/managed-by": "meshbridge"})
REVISION_LABEL = "istio.io/rev"
"""Which revision of istiod alone takes an object."""
SERVICE_LABEL = "meshbridge.io/service"
"""Selects the WorkloadEntries of a ServiceEntry."""
SERVICES_ANNOTATION = "meshbridge.io/services"
"""The registry services behind an object, `source/name`, under their original names."""

_MAX_NAMED_SERVICES = 20
_MAX_BYTES = 600_000
"""Of the endpoints of one ServiceEntry: as JSON they are up to twice as long, and etcd takes 1.5 MB."""


class Frame(msgspec.Struct, frozen=True, gc=False):
    """Everything about a service that decides whether its ServiceEntry is valid, once its endpoints are."""

    key: MeshKey
    around: Surroundings
    settings: ServiceSettings
    groups: tuple[ServiceKey, ...]
    published: int
    """Number of endpoints: 0, 1, or 2 for more; rules make no other difference."""


class Converted(msgspec.Struct, frozen=True, gc=False):
    """The resources of one mesh service."""

    resources: tuple[Resource, ...]
    notes: tuple[Note, ...]
    """What was left out or changed, by instance id."""
    total: int
    """Endpoints known, served or not."""
    endpoints: tuple[Endpoint, ...] = ()
    frame: Frame | None = None

    @property
    def ready(self) -> int:
        """Endpoints that are published."""
        return sum(not endpoint.refusal for endpoint in self.endpoints)


def convert(service: MeshService, known: Converted | None = None) -> Converted:
    """Return the resources of a mesh service.

    Args:
        service: what to convert.
        known: what an earlier state of the service was converted to; saves work, changes nothing.

    Raises:
        ConversionError: istiod would refuse the service as a whole.
    """
    resolution, notes = _resolution(service)
    around = Surroundings(
        service.ports, resolution, _selector(service), bool(service.settings.subject_alt_names)
    )
    endpoints = make_endpoints(service.members, around, _reusable(known, around))
    for endpoint in endpoints:
        notes.extend(Note(endpoint.member.id, remark) for remark in endpoint.remarks)
        if endpoint.refusal:
            notes.append(Note(endpoint.member.id, f"left out: {endpoint.refusal}"))
    published = [endpoint for endpoint in endpoints if not endpoint.refusal]
    # Without endpoints a DNS entry would send traffic to its own host name.
    entered = around if published else msgspec.structs.replace(around, resolution=Resolution.STATIC)
    frame = Frame(service.key, around, service.settings, service.groups, min(len(published), 2))
    if around.selector is not None:
        resources = tuple(_with_workload_entries(service, entered, published))
    else:
        is_valid = known is not None and known.frame == frame
        resources = tuple(_with_inline(service, entered, published, is_valid=is_valid))
    return Converted(resources, tuple(notes), len(service.members), endpoints, frame)


def _reusable(known: Converted | None, around: Surroundings) -> dict[int, Endpoint]:
    """Return endpoints that were made in equal surroundings, by the identity of their member."""
    if known is None or known.frame is None or known.frame.around != around:
        return {}
    return {id(endpoint.member): endpoint for endpoint in known.endpoints}


def entry_name(service: MeshService) -> str:
    """Return the name of the service's (first) ServiceEntry."""
    return naming.resource_name(service.key.host)


def _resolution(service: MeshService) -> tuple[Resolution, list[Note]]:
    served = [member for member in service.members if member.health.is_served]
    named = [member for member in served if is_fqdn(member.address) and not is_ip(member.address)]
    wanted = service.settings.resolution
    if wanted is not None or not named:
        return wanted or Resolution.STATIC, []
    text = f"its address {named[0].address} is a host name, so proxies resolve the whole service by DNS"
    return Resolution.DNS, [Note(named[0].id, text)]


def _selector(service: MeshService) -> tuple[str, str] | None:
    if service.settings.endpoints is EndpointMode.INLINE:
        return None
    return SERVICE_LABEL, naming.label_value(service.key.host)


def _with_inline(
    service: MeshService, around: Surroundings, published: Sequence[Endpoint], *, is_valid: bool
) -> Iterator[Resource]:
    entry, carried, annotations = _service_entry(service, around), _labels(service), _annotations(service)
    for number, part in enumerate(_parts(published), start=1):
        name = (
            entry_name(service) if number == 1 else naming.resource_name(f"{service.key.host}-part{number}")
        )
        key = ResourceKey(Kind.SERVICE_ENTRY, service.key.namespace, name)
        if not is_valid:
            few = tuple(workload_entry(endpoint.member, around) for endpoint in part[:2])
            _check(key, msgspec.structs.replace(entry, endpoints=few), carried, annotations)
        body = wire.encode_service(entry, [endpoint.encoded for endpoint in part])
        yield resource(key, body, carried, annotations, service.settings.output)


def _parts(published: Sequence[Endpoint]) -> Iterator[Sequence[Endpoint]]:
    """Yield what one ServiceEntry each may have of the endpoints; once, when there are none."""
    start = size = 0
    for place, endpoint in enumerate(published):
        size += len(endpoint.encoded)
        if place - start == MAX_ENDPOINTS or size > _MAX_BYTES:
            yield published[start:place]
            start, size = place, len(endpoint.encoded)
    yield published[start:]


def _with_workload_entries(
    service: MeshService, around: Surroundings, published: Sequence[Endpoint]
) -> Iterator[Resource]:
    specs: list[tuple[Kind, str, Spec]] = [
        (Kind.SERVICE_ENTRY, entry_name(service), _service_entry(service, around))
    ]
    if service.settings.endpoints is EndpointMode.WORKLOAD_GROUP:
        specs.append((Kind.WORKLOAD_GROUP, entry_name(service), workload_group(service, around)))
        published = ()  # The workloads register themselves.
    for endpoint in published:
        member = endpoint.member
        ports = "-".join(str(port.number) for port in member.ports)
        name = naming.resource_name(f"{service.key.host}-{_place(member.address)}-{ports}")
        specs.append((Kind.WORKLOAD_ENTRY, name, workload_entry(member, around)))
    carried, annotations = _labels(service), _annotations(service)
    for kind, name, spec in specs:
        key = ResourceKey(kind, service.key.namespace, name)
        _check(key, spec, carried, annotations)
        yield resource(key, wire.encode(spec), carried, annotations, service.settings.output)


def _place(address: str) -> str:
    """Return the address for a name; where characters of it will be replaced, with a hash of it."""
    if naming.is_subdomain(address):
        return address
    return f"{address}-{hashlib.blake2b(address.encode(), digest_size=4).hexdigest()}"


def _service_entry(service: MeshService, around: Surroundings) -> ServiceEntry:
    return ServiceEntry(
        # A registry may say the first one once more: a VIP name that is the service's own, for example.
        hosts=tuple(dict.fromkeys((service.key.host, *service.settings.more_hosts))),
        addresses=service.settings.addresses or tuple(filter(None, [service.virtual_ip])),
        location=service.settings.location,
        resolution=around.resolution,
        ports=service.ports,
        export_to=service.settings.export_to,
        subject_alt_names=tuple(dict.fromkeys(service.settings.subject_alt_names + service.earlier_names)),
        workload_selector=WorkloadSelector(labels=dict([around.selector])) if around.selector else None,
    )


def _check(key: ResourceKey, spec: Spec, carried: Labels, annotations: Labels) -> None:
    problems = validate(key.kind, key.namespace, key.name, spec, carried, annotations)
    errors = [f"{found.field}: {found.text}" for found in problems if found.severity is Severity.ERROR]
    if errors:
        raise ConversionError(f"{key} would be refused: {'; '.join(errors[:3])}")


def _labels(service: MeshService) -> Labels:
    revision = service.settings.revision
    return labels({**dict(MANAGED_BY), REVISION_LABEL: revision}) if revision else MANAGED_BY


def _annotations(service: MeshService) -> Labels:
    names = [str(group) for group in service.groups[:_MAX_NAMED_SERVICES]]
    more = len(service.groups) - len(names)
    return labels({SERVICES_ANNOTATION: ", ".join(names) + (f" and {more} more" if more else "")})
