"""Endpoints in Istio's words: one member, encoded and judged alone, and kept while nothing about it changes.

That makes one changed instance of a service of a thousand cost one encoding, not a thousand.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from meshbridge.bridge.pipeline.values import Member
from meshbridge.schemas import wire
from meshbridge.schemas.istio import Resolution, ServicePort, WorkloadEntry
from meshbridge.schemas.registry import Port
from meshbridge.schemas.validation import TLS_MODE, Severity, validate_endpoint
from meshbridge.schemas.validation_text import is_unix


class Endpoint(msgspec.Struct, frozen=True, gc=False):
    """What became of one served member."""

    member: Member
    encoded: bytes
    """The bytes of its WorkloadEntry within a ServiceEntry."""
    remarks: tuple[str, ...] = ()
    refusal: str = ""
    """Why istiod would refuse it: it is left out."""


class Surroundings(msgspec.Struct, frozen=True, gc=False):
    """What of its service an endpoint depends on."""

    ports: tuple[ServicePort, ...]
    resolution: Resolution
    selector: tuple[str, str] | None = None
    """The label that a ServiceEntry selects its WorkloadEntries by, where they are resources."""
    has_subject_alt_names: bool = False
    """Whether the service itself names who may answer."""


def make_endpoints(
    members: Iterable[Member], around: Surroundings, known: Mapping[int, Endpoint]
) -> tuple[Endpoint, ...]:
    """Return the endpoint of each member that is served.

    Args:
        members: in the order of the endpoints.
        around: their service.
        known: earlier endpoints in equal surroundings, by the `id()` of their member.
    """
    shapes = _Shapes(around.ports)
    return tuple(
        known.get(id(member)) or _make(member, around, shapes)
        for member in members
        if member.health.is_served
    )


def workload_entry(member: Member, around: Surroundings) -> WorkloadEntry:
    """Return the member as a WorkloadEntry."""
    return _workload_entry(member, around, _Shapes(around.ports))


class _Shapes:
    """What port lists of members mean for an endpoint; nearly all members of a service share one list."""

    def __init__(self, ports: Sequence[ServicePort]) -> None:
        self.ports = ports
        self.names = tuple(port.name for port in ports)
        self._known: dict[tuple[Port, ...], tuple[dict[str, int], list[ServicePort]]] = {}

    def of(self, ports: tuple[Port, ...]) -> tuple[dict[str, int], list[ServicePort]]:
        """Return the numbers that differ from the service's, and the service's ports that are lacking."""
        found = self._known.get(ports)
        if found is None:
            own = {port.name: port.number for port in ports}
            differing = {
                port.name: own[port.name]
                for port in self.ports
                if own.get(port.name, port.number) != port.number
            }
            lacking = [port for port in self.ports if port.name not in own]
            found = self._known[ports] = (differing, lacking)
        return found


def _make(member: Member, around: Surroundings, shapes: _Shapes) -> Endpoint:
    entry = _workload_entry(member, around, shapes)
    problems = validate_endpoint(
        entry,
        around.resolution,
        shapes.names,
        len(shapes.ports),
        has_subject_alt_names=around.has_subject_alt_names,
    )
    errors = [f"{found.field}: {found.text}" for found in problems if found.severity is Severity.ERROR]
    return Endpoint(
        member=member,
        encoded=b"" if errors else wire.encode_endpoint(entry),
        remarks=tuple(_remarks(member, around, shapes)),
        refusal="; ".join(errors),
    )


def _workload_entry(member: Member, around: Surroundings, shapes: _Shapes) -> WorkloadEntry:
    carried = dict(member.labels)
    if _needs_account(member, around, carried):
        del carried[TLS_MODE]
    if around.selector is not None:
        carried[around.selector[0]] = around.selector[1]
    return WorkloadEntry(
        address=member.address,
        ports={} if is_unix(member.address) else shapes.of(member.ports)[0],
        labels=carried,
        network=member.network,
        locality=member.locality,
        weight=member.weight,
        service_account=member.service_account,
    )


def _remarks(member: Member, around: Surroundings, shapes: _Shapes) -> Iterator[str]:
    for port in shapes.of(member.ports)[1]:
        yield f"it lacks the port {port.name}: proxies will try {port.number}"
    if _needs_account(member, around, dict(member.labels)):
        yield f"label {TLS_MODE}: istio needs a service account; left out"


def _needs_account(member: Member, around: Surroundings, carried: Mapping[str, str]) -> bool:
    """Whether Istio would accept any certificate of the mesh for this endpoint."""
    return not (member.service_account or around.has_subject_alt_names) and carried.get(TLS_MODE) == "istio"
