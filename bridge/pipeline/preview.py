"""What another configuration would take out of the mesh: the same pipeline, beside the running one. Pure."""

from collections.abc import Collection, Iterator, Mapping, Sequence

import msgspec
from typing_extensions import override

from meshbridge.bridge.pipeline.bounds import GuardSettings
from meshbridge.bridge.pipeline.catalog import Change
from meshbridge.bridge.pipeline.mesh import Built, Mesh
from meshbridge.bridge.pipeline.rules import Rules
from meshbridge.bridge.pipeline.values import Member, MeshKey
from meshbridge.schemas.registry import InstanceGroup

_NAMED = 5
_UNLIMITED = GuardSettings(min_removed=1 << 62)


class Losses(msgspec.Struct, frozen=True):
    """Which hosts with endpoints would have none any more, and how many endpoints that and the rest cost."""

    hosts: tuple[MeshKey, ...]
    of_hosts: int
    endpoints: int
    of_endpoints: int

    def are_too_many(self, bounds: GuardSettings) -> bool:
        """Whether that is more than the guard lets pass."""
        return any(
            bounds.are_exceeded(total, total - lost)
            for lost, total in ((len(self.hosts), self.of_hosts), (self.endpoints, self.of_endpoints))
        )

    @override
    def __str__(self) -> str:
        named = ", ".join(key.host for key in self.hosts[:_NAMED])
        more = ", ..." if len(self.hosts) > _NAMED else ""
        which = f" ({named}{more})" if named else ""
        return (
            f"{len(self.hosts)} of {self.of_hosts} hosts{which} "
            f"and {self.endpoints} of {self.of_endpoints} endpoints"
        )


def groups_of(mesh: Mesh, sources: Collection[str]) -> dict[str, list[InstanceGroup]]:
    """Return the groups that count of these sources, as they are now."""
    return {source: mesh.groups(source) for source in mesh.guards if source in sources}


def shadow(
    rules: Rules, precedence: Sequence[str], groups: Mapping[str, Sequence[InstanceGroup]]
) -> tuple[Mesh, Iterator[None]]:
    """Return a mesh of these groups under these rules, and the work that settles it, in small pieces."""
    mesh = Mesh(rules, precedence, _UNLIMITED)
    for source, found in groups.items():
        mesh.apply(source, [Change(InstanceGroup(group.key), group) for group in found], now=0.0)
    return mesh, mesh.settle()


def losses(before: Mapping[MeshKey, Built], after: Mapping[MeshKey, Built]) -> Losses:
    """Return what the second mesh lacks of the first."""
    ready = {key: built.converted.ready for key, built in before.items() if built.converted.ready}
    left = {key: after[key].converted.ready if key in after else 0 for key in ready}
    return Losses(
        hosts=tuple(sorted(key for key in ready if not left[key])),
        of_hosts=len(ready),
        endpoints=sum(max(0, ready[key] - left[key]) for key in ready),
        of_endpoints=sum(ready.values()),
    )


def losses_of_leaving(mesh: Mesh, source: str) -> Losses:
    """Return what goes with a source: the endpoints of its own, and the hosts that no other source has."""
    ready = {key: built.converted.ready for key, built in mesh.services.items() if built.converted.ready}
    touched = {target for evaluated in mesh.evaluated(source) for target in evaluated.targets()}
    left = {
        key: len({member.address for member in _of_others(mesh, key, source) if member.health.is_served})
        for key in touched
    }
    gone = {key: max(0, ready[key] - left[key]) for key in touched if key in ready}
    hosts = tuple(sorted(key for key in gone if not left[key]))
    return Losses(hosts, len(ready), sum(gone.values()), sum(ready.values()))


def _of_others(mesh: Mesh, key: MeshKey, source: str) -> Iterator[Member]:
    for contribution in mesh.contributions(key):
        if contribution.group.source != source:
            yield from contribution.members
