"""The services of one root, kept in step with its mirror. Pure."""

from collections.abc import Collection, Iterator, Mapping

from meshbridge.adapters.zookeeper.layouts.layout import Layout, is_malformed
from meshbridge.adapters.zookeeper.tree import Differences, Mirror
from meshbridge.schemas.registry import InstanceGroup, group

_MANY = 500
"""More edits than this: all services are looked at, which costs less than asking whom each edit touches."""


class Groups:
    """What the layout sees in the mirror, as groups by service."""

    def __init__(self, source: str, layout: Layout, previous: Mapping[str, InstanceGroup]) -> None:
        """Start with the groups known from before: they are the last good readings of malformed records."""
        self.layout = layout
        self.mirror = self.empty_mirror()
        self._source = source
        self._groups = dict(previous)

    def empty_mirror(self) -> Mirror:
        """Return a mirror as the layout wants it."""
        return Mirror(self.layout.owner if self.layout.indexed else None)

    def all(self) -> tuple[InstanceGroup, ...]:
        """Return the groups of all services."""
        return tuple(self._groups[name] for name in sorted(self._groups))

    def adopt(self, mirror: Mirror) -> None:
        """Take a mirror that was read afresh, all services being touched."""
        self.mirror = mirror

    def apply(self, edits: Differences) -> set[str] | None:
        """Bring the mirror up to date and return the services that are touched, None for all."""
        paths = [path for path, _ in edits.put]
        gone = [below for path in edits.gone for below in self.mirror.below(path)]
        touched: set[str] | None = set()
        if len(paths) + len(gone) > _MANY:
            touched = None
        touched = self._with_services(touched, [*paths, *gone])
        for path in edits.gone:
            self.mirror.drop(path)
        for path, node in edits.put:
            self.mirror.put(path, node)
        return self._with_services(touched, [*paths, *gone])

    def names(self) -> set[str]:
        """Return all services, those that may be no more included."""
        return self.layout.names(self.mirror) | self._groups.keys()

    def renew(self, service: str, *, keep: bool = False) -> "Renewal | None":
        """Look at a service anew, and return what became of it if that is news.

        Args:
            service: its name.
            keep: whether instances that are missing now stay nevertheless.
        """
        old = self._groups.get(service)
        new = self.layout.group(self._source, service, self.mirror, old)
        if keep and old is not None:
            new = _with_missing(new, old)
        if new.instances or new.notes:
            self._groups[service] = new
        else:
            self._groups.pop(service, None)
        if old == new or (old is None and not new.instances and not new.notes):
            return None
        return Renewal(old, new)

    def _with_services(self, touched: set[str] | None, paths: Collection[str]) -> set[str] | None:
        for path in paths if touched is not None else ():
            found = self.layout.services(path, self.mirror)
            if found is None or touched is None:
                return None
            touched.update(found)
        return touched


class Renewal:
    """A group that changed."""

    __slots__ = ("_old", "new")

    def __init__(self, old: InstanceGroup | None, new: InstanceGroup) -> None:
        self._old = old
        self.new = new

    @property
    def loses(self) -> bool:
        """Whether an instance that was served no longer is."""
        if self._old is None:
            return False
        served = {found.id for found in self.new.instances if found.health.is_served}
        return any(found.id not in served for found in self._old.instances if found.health.is_served)

    def refused(self) -> Iterator[str]:
        """Give the records that were refused for the first time."""
        known = set(self._old.notes) if self._old else set()
        return (note.record for note in self.new.notes if is_malformed(note) and note not in known)


def _with_missing(new: InstanceGroup, old: InstanceGroup) -> InstanceGroup:
    present = {found.id for found in new.instances}
    missing = [found for found in old.instances if found.id not in present]
    return group(new.key, [*new.instances, *missing], new.attributes, new.notes) if missing else new
