"""What is known of each service: the last good reading, and how current it is. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from meshbridge.adapters.consul.payload import Parsed
from meshbridge.schemas.registry import Instance, InstanceGroup, Note, ServiceKey, group


@dataclass
class Reading:
    """One service, as it was last believed."""

    instances: Mapping[str, Instance] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    index: int = 0
    """Of the answer it is from; 0 when that is unknown."""


_NOTHING = Reading()


class Readings:
    """The services of one source."""

    def __init__(self, source: str, known: Mapping[str, InstanceGroup]) -> None:
        """Begin with the groups known from before."""
        self._source = source
        self._readings = {
            name: Reading({instance.id: instance for instance in found.instances}, found.notes)
            for name, found in known.items()
            if found.instances
        }

    @property
    def names(self) -> Iterable[str]:
        """All services that have something, sorted."""
        return sorted(self._readings)

    @property
    def instances(self) -> int:
        """How many instances there are."""
        return sum(len(reading.instances) for reading in self._readings.values())

    def __contains__(self, name: str) -> bool:
        return name in self._readings

    def of(self, name: str) -> Reading:
        """Return what is known of a service."""
        return self._readings.get(name, _NOTHING)

    def put(self, name: str, parsed: Parsed, index: int) -> bool:
        """Take an answer that is believed and return whether the group differs.

        Args:
            name: the service.
            parsed: what the answer holds.
            index: of the answer.
        """
        before = self.of(name)
        instances = parsed.keeping(before.instances)
        if not instances and not parsed.notes:
            return self.drop(name)
        self._readings[name] = Reading(instances, parsed.notes, index if index > 1 else 0)
        return instances != before.instances or set(parsed.notes) != set(before.notes)

    def drop(self, name: str) -> bool:
        """Forget a service and return whether anything was known of it."""
        return self._readings.pop(name, None) is not None

    def forget_indexes(self) -> None:
        """Take no index as known: the servers count anew."""
        for reading in self._readings.values():
            reading.index = 0

    def on_nodes(self, nodes: set[str]) -> Iterator[str]:
        """Yield the services with an instance on one of the nodes."""
        if not nodes:
            return
        for name, reading in self._readings.items():
            if any(id_.partition("/")[0] in nodes for id_ in reading.instances):
                yield name

    def group(self, name: str) -> InstanceGroup:
        """Return the group of a service, empty when nothing is known of it."""
        reading = self.of(name)
        return group(ServiceKey(self._source, name), reading.instances.values(), notes=reading.notes)

    def groups(self) -> tuple[InstanceGroup, ...]:
        """Return all groups."""
        return tuple(self.group(name) for name in self.names)
