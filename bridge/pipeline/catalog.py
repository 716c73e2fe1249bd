"""What every source says now, group by group, and which groups an event really changes."""

from collections.abc import Iterable, Iterator

import msgspec

from meshbridge.schemas.registry import InstanceGroup, ServiceKey


class Change(msgspec.Struct, frozen=True, gc=False):
    """One group before and after an event; a group that does not exist is an empty one."""

    old: InstanceGroup
    new: InstanceGroup


class Catalog:
    """The newest groups of every source, as their adapters said them.

    Instances that did not change stay the same objects, so that later stages can tell by identity
    what they need not look at again.
    """

    def __init__(self) -> None:
        self._sources: dict[str, dict[str, InstanceGroup]] = {}

    def groups(self, source: str) -> Iterator[InstanceGroup]:
        """Yield the groups of a source."""
        yield from self._sources.get(source, {}).values()

    def get(self, key: ServiceKey) -> InstanceGroup:
        """Return the group with this key, an empty one if there is none."""
        return self._sources.get(key.source, {}).get(key.name) or InstanceGroup(key)

    def compare(self, groups: Iterable[InstanceGroup]) -> list[Change]:
        """Return what putting these groups would change; nothing is stored yet."""
        changes = []
        for new in groups:
            old = self.get(new.key)
            if old != new:
                changes.append(Change(old, _share(old, new)))
        return changes

    def missing(self, source: str, kept: Iterable[str]) -> list[Change]:
        """Return the removal of every group of the source that is not among the kept service names."""
        known = self._sources.get(source, {})
        return [Change(known[name], InstanceGroup(known[name].key)) for name in known.keys() - set(kept)]

    def store(self, changes: Iterable[Change]) -> None:
        """Make the changes true."""
        for change in changes:
            key = change.new.key
            known = self._sources.setdefault(key.source, {})
            if change.new.instances or change.new.notes:
                known[key.name] = change.new
            else:
                known.pop(key.name, None)

    def forget(self, source: str) -> None:
        """Drop a source that is no longer configured."""
        self._sources.pop(source, None)


def grown(changes: Iterable[Change]) -> bool:
    """Whether there are more instances after these changes than before."""
    return sum(len(change.new.instances) - len(change.old.instances) for change in changes) > 0


def _share(old: InstanceGroup, new: InstanceGroup) -> InstanceGroup:
    """Return `new` with every instance that is equal to the old one replaced by that object."""
    known = {instance.id: instance for instance in old.instances}
    shared = tuple(
        before if (before := known.get(instance.id)) == instance and before is not None else instance
        for instance in new.instances
    )
    return msgspec.structs.replace(new, instances=shared)
