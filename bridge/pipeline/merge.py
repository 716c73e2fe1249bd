"""One mesh service from everything that contributes to it.

Contributions come in order of precedence (the order of the sources in the configuration). The first
one decides what can be decided only once; where others differ, the difference is recorded.
"""

from collections.abc import Iterable, Sequence

import msgspec

from meshbridge.bridge.pipeline.values import Member, MeshKey, ServiceSettings
from meshbridge.schemas.istio import ServicePort
from meshbridge.schemas.registry import Note, ServiceKey


class Contribution(msgspec.Struct, frozen=True, gc=False):
    """What one registry service gives to one mesh service; `members` is never empty."""

    group: ServiceKey
    members: tuple[Member, ...]


class MeshService(msgspec.Struct, frozen=True, gc=False):
    """One service of the mesh before it is put into Istio's words."""

    key: MeshKey
    settings: ServiceSettings
    ports: tuple[ServicePort, ...]
    members: tuple[Member, ...]
    """One for each endpoint, served or not, sorted by address and ports."""
    groups: tuple[ServiceKey, ...]
    notes: tuple[Note, ...]
    """Conflicts: who won, and why."""


def merge(key: MeshKey, contributions: Sequence[Contribution]) -> MeshService:
    """Return the mesh service made of these contributions, in order of precedence (at least one)."""
    everyone = [member for contribution in contributions for member in contribution.members]
    settings = everyone[0].settings
    ports, port_notes = _service_ports(everyone, dict(settings.service_ports))
    notes = [*_name_collisions(contributions), *_setting_conflicts(contributions), *port_notes]
    return MeshService(
        key=key,
        settings=settings,
        ports=ports,
        members=tuple(_distinct(everyone)),
        groups=tuple(contribution.group for contribution in contributions),
        notes=tuple(notes),
    )


def unmerged(key: MeshKey, contributions: Sequence[Contribution]) -> MeshService:
    """Return a stand-in for a mesh service that could not be merged: who contributes to it, and how much."""
    members = tuple(member for contribution in contributions for member in contribution.members)
    groups = tuple(contribution.group for contribution in contributions)
    return MeshService(key, members[0].settings, (), members, groups, ())


def _distinct(members: Iterable[Member]) -> list[Member]:
    """Return one member for each address and ports: a served one wins, then the smaller id."""
    best: dict[tuple[str, tuple[int, ...]], Member] = {}
    for member in members:
        where = (member.address, tuple(port.number for port in member.ports))
        rival = best.get(where)
        if rival is None or _rank(member) < _rank(rival):
            best[where] = member
    return [best[where] for where in sorted(best)]


def _rank(member: Member) -> tuple[bool, str]:
    return not member.health.is_served, member.id


def _name_collisions(contributions: Sequence[Contribution]) -> list[Note]:
    """Say which services of one source became one mesh service: often their names differ too little."""
    by_source: dict[str, list[str]] = {}
    for contribution in contributions:
        by_source.setdefault(contribution.group.source, []).append(contribution.group.name)
    return [
        Note(source, f"its services {', '.join(sorted(names))} map to this one host and are merged")
        for source, names in by_source.items()
        if len(names) > 1
    ]


def _setting_conflicts(contributions: Sequence[Contribution]) -> list[Note]:
    first = contributions[0]
    wanted = first.members[0].settings
    return [
        Note(str(contribution.group), f"it wants other service settings; those of {first.group} win")
        for contribution in contributions[1:]
        if contribution.members[0].settings != wanted
    ]


def _service_ports(
    members: Sequence[Member], chosen: dict[str, int]
) -> tuple[tuple[ServicePort, ...], list[Note]]:
    """Return the ports of the service, by number, and what had to be decided.

    The number is the chosen one, else the one all instances have, else the smallest of theirs. Members
    that are not served count too, so that a port does not change when an instance comes or goes.
    """
    numbers: dict[str, set[int]] = {}
    protocols: dict[str, list[str]] = {}
    for shape in dict.fromkeys(member.ports for member in members):
        for port in shape:
            numbers.setdefault(port.name, set()).add(port.number)
            known = protocols.setdefault(port.name, [])
            if port.protocol not in known:
                known.append(port.protocol)
    ports: dict[int, ServicePort] = {}
    notes = []
    for name in sorted(numbers):
        number = chosen.get(name) or min(numbers[name])
        notes.extend(_port_notes(name, number, numbers[name], protocols[name], name in chosen))
        if number in ports:
            notes.append(Note(name, f"its port {number} is taken by {ports[number].name}; left out"))
        else:
            ports[number] = ServicePort(number=number, name=name, protocol=protocols[name][0])
    return tuple(ports[number] for number in sorted(ports)), notes


def _port_notes(
    name: str, number: int, numbers: set[int], protocols: Sequence[str], is_chosen: bool
) -> list[Note]:
    notes = []
    if len(numbers) > 1 and not is_chosen:
        found = ", ".join(map(str, sorted(numbers)[:5]))
        notes.append(
            Note(name, f"instances have ports {found}; the service gets {number}: set `ports` in a rule")
        )
    if len(protocols) > 1:
        found = ", ".join(protocol or "auto" for protocol in protocols)
        notes.append(Note(name, f"instances have protocols {found}; the service gets the first"))
    return notes
