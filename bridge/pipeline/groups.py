"""A mesh service as a WorkloadGroup: what its workloads have in common, which register themselves."""

from collections.abc import Callable, Sequence

from meshbridge.bridge.pipeline.endpoints import Surroundings
from meshbridge.bridge.pipeline.merge import MeshService
from meshbridge.bridge.pipeline.values import Member
from meshbridge.schemas.istio import ServicePort, WorkloadEntry, WorkloadGroup


def workload_group(service: MeshService, around: Surroundings) -> WorkloadGroup:
    """Return the group whose template has what all members agree about, and what the ServiceEntry selects."""
    members = service.members
    shared = set(members[0].labels).intersection(*(member.labels for member in members)) if members else set()
    labels = dict(sorted([*shared, *([around.selector] if around.selector else [])]))
    template = WorkloadEntry(
        ports={port.name: _own_number(members, port) for port in service.ports},
        labels=labels,
        network=_agreed(members, lambda member: member.network),
        locality=_agreed(members, lambda member: member.locality),
        service_account=_agreed(members, lambda member: member.service_account),
    )
    return WorkloadGroup(template=template)


def _own_number(members: Sequence[Member], port: ServicePort) -> int:
    """Return the workloads' own number of a service port, that of the service where they differ."""
    found = {own.number for member in members for own in member.ports if own.name == port.name}
    return found.pop() if len(found) == 1 else port.number


def _agreed(members: Sequence[Member], of: Callable[[Member], str]) -> str:
    found = {of(member) for member in members}
    return found.pop() if len(found) == 1 else ""
