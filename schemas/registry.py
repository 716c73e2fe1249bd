"""What an adapter says about its registry: instances, grouped by service.

Everything here is immutable. Strings and label sets are interned, because 100,000 instances share
few distinct ones: that takes a third of the memory, and equality becomes a comparison of identities.
"""

import sys
from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec
from typing_extensions import override

Labels = tuple[tuple[str, str], ...]
"""A label set or metadata map: pairs sorted by key, made by `labels()`."""

MAX_NOTES = 100
"""Notes kept for one group; further ones are counted by metrics only."""

_MAX_LABEL_SETS = 50_000
_label_sets: dict[Labels, Labels] = {}


def labels(pairs: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> Labels:
    """Return the pairs as one shared, sorted label set; a later key overrides an earlier one."""
    items = sorted(dict(pairs).items())
    # `str` makes plain texts of enum members, which can't be interned.
    found = tuple([(sys.intern(str(key)), sys.intern(str(value))) for key, value in items])
    if len(_label_sets) >= _MAX_LABEL_SETS:
        _label_sets.clear()  # Unbounded distinct sets (an id in each) must not grow the table for ever.
    return _label_sets.setdefault(found, found)


class Health(StrEnum):
    """Whether an instance takes traffic, as its registry or a probe sees it."""

    READY = "ready"
    UNKNOWN = "unknown"
    """Nobody has said; served like READY."""
    UNREADY = "unready"
    DRAINING = "draining"
    """Leaves on purpose: no new traffic, and not a loss to the guard."""

    @property
    def is_served(self) -> bool:
        """Whether an instance in this state is an endpoint."""
        return self in _SERVED


_SERVED = (Health.READY, Health.UNKNOWN)


class ServiceKey(msgspec.Struct, frozen=True, order=True, gc=False):
    """One service in one source; `source` is the configured name."""

    source: str
    name: str

    @override
    def __str__(self) -> str:
        return f"{self.source}/{self.name}"


class Port(msgspec.Struct, frozen=True, order=True, gc=False):
    """A port of an instance. `name` and `protocol` are the registry's words, "" when it has none."""

    name: str
    number: int
    protocol: str = ""
    tls: bool = False


class Instance(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One running endpoint as its registry tells it. `id` is unique within the group.

    `labels` are meant for the mesh (the registry, or the inventory's author, called them labels);
    `metadata` is everything else the registry knows, for rules to pick from, without secrets.
    """

    id: str
    address: str
    ports: tuple[Port, ...] = ()
    labels: Labels = ()
    metadata: Labels = ()
    tags: tuple[str, ...] = ()
    locality: str = ""
    """region/zone/subzone, as many parts as are known; a zone alone starts with "/"."""
    network: str = ""
    weight: int | None = None
    """In the registry's own units; None when it has none, 0 means draining."""
    health: Health = Health.UNKNOWN
    service_account: str = ""


class Note(msgspec.Struct, frozen=True, order=True, gc=False):
    """Why a record was skipped or changed on its way; shown by `meshbridge explain`."""

    record: str
    reason: str


class InstanceGroup(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """All instances of one service in one source: the input currency. Make it with `group()`.

    A group replaces the earlier one of the same key; an empty one means that the service is gone.
    """

    key: ServiceKey
    instances: tuple[Instance, ...] = ()
    attributes: Labels = ()
    """What the registry says of the service as a whole, e.g. `host`, `namespace`, `protocol`."""
    notes: tuple[Note, ...] = ()
    held: tuple[str, ...] = ()
    """Ids of instances that only the guard keeps; adapters leave it empty."""


def group(
    key: ServiceKey,
    instances: Iterable[Instance],
    attributes: Mapping[str, str] | Labels = (),
    notes: Iterable[Note] = (),
) -> InstanceGroup:
    """Return a group whose instances are sorted by id, so that equal registry states compare equal."""
    ordered = tuple(sorted(instances, key=lambda instance: instance.id))
    kept = tuple(sorted(set(notes)))[:MAX_NOTES] if notes else ()
    said = attributes if isinstance(attributes, tuple) else labels(attributes)
    return InstanceGroup(key, ordered, said, kept)


class FullSync(msgspec.Struct, frozen=True, gc=False):
    """Everything a source has. It replaces all earlier groups of the source and means "synced"."""

    groups: tuple[InstanceGroup, ...]
    observed: float
    """Monotonic seconds at which the registry told us."""
    empty_is_meant: bool = False
    """Whether somebody said that having no instances is right, so that nobody need doubt it."""


class GroupUpdate(msgspec.Struct, frozen=True, gc=False):
    """One service of a synced source, whole."""

    group: InstanceGroup
    observed: float


class SourceState(StrEnum):
    """How well a source is read."""

    CONNECTING = "connecting"
    SYNCED = "synced"
    STALE = "stale"
    DENIED = "denied"
    EMPTY = "empty"
    """Read, without any instance, and never seen otherwise: not believed. Only the bridge says this."""


class SourceReport(msgspec.Struct, frozen=True, gc=False):
    """How a source fares; it never changes data."""

    state: SourceState
    reason: str = ""
    details: Labels = ()
    """Adapter specific facts worth showing: layout chosen, strategy, budget."""
    suspect: bool = False
    """Whether the registry's own word is in doubt although it answers: the guard believes losses less readily
    until a report says otherwise."""


SourceEvent = FullSync | GroupUpdate | SourceReport
"""The three things an adapter can say."""
