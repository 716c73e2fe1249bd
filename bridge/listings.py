"""Lists of the admin interface, made of the pipeline's values. Pure."""

from collections.abc import Iterable, Iterator

from meshbridge.bridge.admin.view import InstanceStatus
from meshbridge.schemas.registry import Instance, InstanceGroup


def instances(groups: Iterable[InstanceGroup]) -> Iterator[InstanceStatus]:
    """Give every instance of the groups, by source, service and id."""
    for group in sorted(groups, key=lambda one: one.key):
        held = frozenset(group.held)
        for one in group.instances:
            yield _instance(group, one, is_held=one.id in held)


def _instance(group: InstanceGroup, one: Instance, *, is_held: bool) -> InstanceStatus:
    return InstanceStatus(
        source=group.key.source,
        service=group.key.name,
        id=one.id,
        address=one.address,
        ports=[f"{port.number}/{port.protocol or port.name or 'auto'}" for port in one.ports],
        health=one.health.value,
        weight=one.weight,
        locality=one.locality,
        labels=dict(one.labels),
        held=is_held,
    )
