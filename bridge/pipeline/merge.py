"""One mesh service from everything that contributes to it.

Contributions come in order of precedence (the order of the sources in the configuration). The first
one decides what can be decided only once; where others differ, the difference is recorded.
"""

import itertools
from collections.abc import Iterable, Sequence

import msgspec

from meshbridge.bridge.pipeline.conflicts import (
    MAX_CONFLICTS,
    Conflict,
    Contribution,
    identity_conflict,
    settings_conflicts,
)
from meshbridge.bridge.pipeline.service_ports import service_ports
from meshbridge.bridge.pipeline.values import Member, MergePolicy, MeshKey, ServiceSettings
from meshbridge.schemas.istio import ServicePort
from meshbridge.schemas.registry import Note, ServiceKey

_MAX_NAMES = 5


class MeshService(msgspec.Struct, frozen=True, gc=False):
    """One service of the mesh before it is put into Istio's words."""

    key: MeshKey
    settings: ServiceSettings
    ports: tuple[ServicePort, ...]
    members: tuple[Member, ...]
    """One for each endpoint, served or not, sorted by address and ports."""
    groups: tuple[ServiceKey, ...]
    notes: tuple[Note, ...]
    """What had to be decided, conflicts included."""
    conflicts: tuple[Conflict, ...] = ()
    """Where sources disagree: who won, and why."""
    standby: tuple[ServiceKey, ...] = ()
    """Contributions that are not used while a preferred source has ready endpoints."""
    virtual_ip: str = ""
    earlier_names: tuple[str, ...] = ()
    """Identities it had, which clients still accept."""


def merge(key: MeshKey, contributions: Sequence[Contribution]) -> MeshService:
    """Return the mesh service made of these contributions, in order of precedence (at least one)."""
    settings = contributions[0].members[0].settings
    used = list(_used(contributions, settings.merge))
    members, doubles = _distinct(used[0].members) if len(used) == 1 else _distinct_of_several(used)
    ports, port_notes, port_conflicts = service_ports(contributions, settings)
    conflicts: tuple[Conflict, ...] = ()
    if len(contributions) > 1:
        found = itertools.chain(doubles, settings_conflicts(contributions), port_conflicts)
        conflicts = tuple(itertools.islice(found, MAX_CONFLICTS))
    notes = [*_name_collisions(contributions), *(conflict.note() for conflict in conflicts), *port_notes]
    notes.extend(Note(key.host, reason) for reason in settings.refused_hosts)
    return MeshService(
        key=key,
        settings=settings,
        ports=ports,
        members=tuple(members),
        groups=tuple(contribution.group for contribution in contributions),
        notes=tuple(notes),
        conflicts=conflicts,
        standby=_standby(contributions, used),
    )


def unmerged(key: MeshKey, contributions: Sequence[Contribution]) -> MeshService:
    """Return a stand-in for a mesh service that could not be merged: who contributes to it, and how much."""
    members = tuple(member for contribution in contributions for member in contribution.members)
    groups = tuple(contribution.group for contribution in contributions)
    return MeshService(key, members[0].settings, (), members, groups, ())


def _used(contributions: Sequence[Contribution], policy: MergePolicy) -> Iterable[Contribution]:
    """Return the contributions that endpoints are taken from."""
    if policy is not MergePolicy.PREFER or len(contributions) == 1:
        return contributions
    ready = (
        contribution.group.source
        for contribution in contributions
        if any(member.health.is_served for member in contribution.members)
    )
    preferred = next(ready, contributions[0].group.source)
    return (contribution for contribution in contributions if contribution.group.source == preferred)


def _standby(contributions: Sequence[Contribution], used: Sequence[Contribution]) -> tuple[ServiceKey, ...]:
    if len(used) == len(contributions):
        return ()
    preferred = used[0].group.source
    return tuple(found.group for found in contributions if found.group.source != preferred)


def _distinct(members: Iterable[Member]) -> tuple[list[Member], list[Conflict]]:
    """Return one member of a contribution for each address and ports: a served one, then the smaller id."""
    best: dict[tuple[str, tuple[int, ...]], Member] = {}
    for member in members:
        where = (member.address, tuple([port.number for port in member.ports]))
        rival = best.get(where)
        if rival is None or (not member.health.is_served, member.id) < (not rival.health.is_served, rival.id):
            best[where] = member
    return [best[where] for where in sorted(best)], []


def _distinct_of_several(contributions: Sequence[Contribution]) -> tuple[list[Member], list[Conflict]]:
    """Return one member for each address and ports, and what the sources disagree on about one.

    A served one wins, then that of the source listed first, then the smaller id.
    """
    best: dict[tuple[str, tuple[int, ...]], tuple[tuple[bool, int, str], Member, ServiceKey]] = {}
    doubles: list[Conflict] = []
    ranks: dict[str, int] = {}
    for contribution in contributions:
        group = contribution.group
        rank = ranks.setdefault(group.source, len(ranks))
        for member in contribution.members:
            where = (member.address, tuple([port.number for port in member.ports]))
            entered = ((not member.health.is_served, rank, member.id), member, group)
            rival = best.get(where)
            if rival is None:
                best[where] = entered
                continue
            winner, loser = (entered, rival) if entered[0] < rival[0] else (rival, entered)
            best[where] = winner
            if winner[1].service_account != loser[1].service_account and len(doubles) < MAX_CONFLICTS:
                doubles.append(identity_conflict(winner[1], winner[2], loser[1], loser[2]))
    return [best[where][1] for where in sorted(best)], doubles


def _name_collisions(contributions: Sequence[Contribution]) -> list[Note]:
    """Say which services of one source became one mesh service: often their names differ too little."""
    if len(contributions) == 1:
        return []
    by_source: dict[str, list[str]] = {}
    for contribution in contributions:
        by_source.setdefault(contribution.group.source, []).append(contribution.group.name)
    return [
        Note(source, f"its services {_listed(names)} map to this one host and are merged")
        for source, names in by_source.items()
        if len(names) > 1
    ]


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MAX_NAMES
    return ", ".join(sorted(names)[:_MAX_NAMES]) + (f" and {more} more" if more > 0 else "")
