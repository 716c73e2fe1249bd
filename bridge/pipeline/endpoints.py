"""Endpoints in Istio's words: one member, encoded and judged alone, and kept while nothing about it changes.

That makes one changed instance of a service of a thousand cost one encoding, not a thousand.
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from meshbridge.bridge.pipeline.values import Member
from meshbridge.schemas import wire
from meshbridge.schemas.istio import Resolution, ServicePort, WorkloadEntry
from meshbridge.schemas.validation import TLS_MODE, Severity, validate_endpoint
from meshbridge.schemas.validation_text import is_ip, is_unix


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
    maker = _Maker(around)
    return tuple(
        known.get(id(member)) or maker.endpoint(member) for member in members if member.health.is_served
    )


def workload_entry(member: Member, around: Surroundings) -> WorkloadEntry:
    """Return the member as a WorkloadEntry."""
    carried = dict(member.labels)
    if _needs_account(member, around, carried):
        del carried[TLS_MODE]
    if around.selector is not None:
        carried[around.selector[0]] = around.selector[1]
    own = {port.name: port.number for port in member.ports}
    return WorkloadEntry(
        address=member.address,
        ports={} if is_unix(member.address) else _differing(own, around.ports),
        labels=carried,
        network=member.network,
        locality=member.locality,
        weight=member.weight,
        service_account=member.service_account,
    )


def _differing(own: Mapping[str, int], ports: Iterable[ServicePort]) -> dict[str, int]:
    """Return the numbers of a member's ports that are not the service's."""
    return {port.name: own[port.name] for port in ports if own.get(port.name, port.number) != port.number}


class _Like(msgspec.Struct, frozen=True, gc=False):
    """What endpoints have in common that differ in their IP address only."""

    rest: bytes
    remarks: tuple[str, ...]
    refusal: str


class _Maker:
    """Makes the endpoints of one service; what is alike is judged and encoded once."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._names = tuple(port.name for port in around.ports)
        self._known: dict[tuple[object, ...], _Like] = {}

    def endpoint(self, member: Member) -> Endpoint:
        """Return the endpoint of a member."""
        like = self._like(member)
        encoded = b"" if like.refusal else wire.encode_endpoint(member.address, like.rest)
        return Endpoint(member, encoded, like.remarks, like.refusal)

    def _like(self, member: Member) -> _Like:
        if not is_ip(member.address):  # Rules speak of such addresses, so each is judged by itself.
            return self._judge(member)
        looks = (
            member.ports,
            member.labels,
            member.network,
            member.locality,
            member.weight,
            member.service_account,
            member.remarks,
        )
        found = self._known.get(looks)
        if found is None:
            found = self._known[looks] = self._judge(member)
        return found

    def _judge(self, member: Member) -> _Like:
        around = self._around
        entry = workload_entry(member, around)
        problems = validate_endpoint(
            entry,
            around.resolution,
            self._names,
            len(self._names),
            has_subject_alt_names=around.has_subject_alt_names,
        )
        errors = [f"{found.field}: {found.text}" for found in problems if found.severity is Severity.ERROR]
        return _Like(
            rest=b"" if errors else wire.encode_rest(entry),
            remarks=tuple(_remarks(member, around)),
            refusal="; ".join(errors),
        )


def _remarks(member: Member, around: Surroundings) -> Iterator[str]:
    yield from member.remarks
    own = {port.name for port in member.ports}
    for port in around.ports:
        if port.name not in own:
            yield f"it lacks the port {port.name}: proxies will try {port.number}"
    if _needs_account(member, around, dict(member.labels)):
        yield f"label {TLS_MODE}: istio needs a service account; left out"


def _needs_account(member: Member, around: Surroundings, carried: Mapping[str, str]) -> bool:
    """Whether Istio would accept any certificate of the mesh for this endpoint."""
    return not (member.service_account or around.has_subject_alt_names) and carried.get(TLS_MODE) == "istio"
