"""Resources, snapshots of all of them, and the difference between two snapshots: the output currency.

A resource keeps the bytes of its spec (deterministic protobuf, made once) instead of the spec:
one truth, a third of the memory, and every sink can read it back with `wire.decode`.
"""

import hashlib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec
from typing_extensions import override

from meshbridge.schemas.istio import ServiceEntry, Spec, WorkloadEntry, WorkloadGroup
from meshbridge.schemas.layered import Layered
from meshbridge.schemas.registry import Labels

_MODULUS = 1 << 128


class Kind(StrEnum):
    """The kinds of resources meshbridge makes."""

    SERVICE_ENTRY = "ServiceEntry"
    WORKLOAD_ENTRY = "WorkloadEntry"
    WORKLOAD_GROUP = "WorkloadGroup"


SPECS: Mapping[Kind, type[Spec]] = MappingProxyType(
    {
        Kind.SERVICE_ENTRY: ServiceEntry,
        Kind.WORKLOAD_ENTRY: WorkloadEntry,
        Kind.WORKLOAD_GROUP: WorkloadGroup,
    }
)
"""The class of each kind's spec."""


class ResourceKey(msgspec.Struct, frozen=True, order=True, gc=False):
    """The identity of a resource in a mesh."""

    kind: Kind
    namespace: str
    name: str

    @override
    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


class Resource(msgspec.Struct, frozen=True, gc=False):
    """One object for the mesh. Make it with `resource()`."""

    key: ResourceKey
    body: bytes
    """The spec as deterministic protobuf."""
    labels: Labels
    annotations: Labels
    version: str
    """32 hex digits, a hash of everything else: equal content has equal versions on every replica."""
    output: str = ""
    """The output that it goes to, "" for the only one."""


def resource(
    key: ResourceKey, body: bytes, labels: Labels = (), annotations: Labels = (), output: str = ""
) -> Resource:
    """Return a resource with its content-hash version."""
    hasher = hashlib.blake2b(msgspec.json.encode((key, labels, annotations)), digest_size=16)
    hasher.update(b"\0" + body)
    if output:
        hasher.update(b"\0" + output.encode())
    return Resource(key, body, labels, annotations, hasher.hexdigest(), output)


class Collection(msgspec.Struct, frozen=True):
    """All resources of one kind."""

    resources: Layered[ResourceKey, Resource]
    """Never mutated."""
    checksum: int = 0
    """Sum (mod 2^128) of the resources' versions: independent of order, O(1) per change."""

    @property
    def version(self) -> str:
        """32 hex digits; equal sets of resources have equal versions."""
        return f"{self.checksum:032x}"


EMPTY_COLLECTION = Collection(Layered({}))


class Delta(msgspec.Struct, frozen=True):
    """The difference between two snapshots."""

    added: tuple[Resource, ...] = ()
    changed: tuple[Resource, ...] = ()
    removed: tuple[ResourceKey, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    @property
    def kinds(self) -> frozenset[Kind]:
        """The kinds in which something differs."""
        keys = [found.key for found in (*self.added, *self.changed)]
        return frozenset(key.kind for key in (*keys, *self.removed))


class Snapshot(msgspec.Struct, frozen=True):
    """Every resource that should exist now."""

    collections: Mapping[Kind, Collection]

    def __getitem__(self, kind: Kind) -> Collection:
        return self.collections.get(kind, EMPTY_COLLECTION)

    def get(self, key: ResourceKey) -> Resource | None:
        """Return the resource with this key, if it exists."""
        return self[key.kind].resources.get(key)

    def __len__(self) -> int:
        return sum(len(found.resources) for found in self.collections.values())


EMPTY_SNAPSHOT = Snapshot(MappingProxyType({}))


class Publication(msgspec.Struct, frozen=True):
    """What sinks get: the newest snapshot, and how it differs from the one before."""

    generation: int
    """1, 2, 3, ... within one process."""
    snapshot: Snapshot
    delta: Delta
    oldest: Mapping[str, float]
    """Per source, the monotonic seconds of the oldest registry event in it."""


def snapshot(resources: Iterable[Resource]) -> Snapshot:
    """Return a snapshot of these resources; the last of several with one key counts."""
    return replace(EMPTY_SNAPSHOT, {found.key: found for found in resources})[0]


def replace(old: Snapshot, changes: Mapping[ResourceKey, Resource | None]) -> tuple[Snapshot, Delta]:
    """Return `old` with some resources put (or, where None, removed), and the true difference."""
    effective = {key: new for key, new in changes.items() if _differs(old.get(key), new)}
    collections = dict(old.collections)
    for kind in {key.kind for key in effective}:
        changed = _replace_kind(old[kind], {k: r for k, r in effective.items() if k.kind is kind})
        if changed.resources:
            collections[kind] = changed
        else:
            del collections[kind]  # So that snapshots with equal resources are equal.
    delta = Delta(
        added=tuple(new for key, new in effective.items() if new is not None and old.get(key) is None),
        changed=tuple(new for key, new in effective.items() if new is not None and old.get(key) is not None),
        removed=tuple(key for key, new in effective.items() if new is None),
    )
    return Snapshot(MappingProxyType(collections)), delta


def diff(old: Snapshot, new: Snapshot) -> Delta:
    """Return what has to happen to `old` to become `new`."""
    changes: dict[ResourceKey, Resource | None] = {}
    for kind in Kind:
        changes.update(dict.fromkeys(key for key in old[kind].resources if new.get(key) is None))
        changes.update(new[kind].resources)
    return replace(old, changes)[1]


def apply(old: Snapshot, delta: Delta) -> Snapshot:
    """Return `old` after the difference: `apply(a, diff(a, b)) == b`."""
    changes: dict[ResourceKey, Resource | None] = dict.fromkeys(delta.removed)
    changes.update({found.key: found for found in (*delta.added, *delta.changed)})
    return replace(old, changes)[0]


def _differs(old: Resource | None, new: Resource | None) -> bool:
    if old is None or new is None:
        return old is not new
    return old.version != new.version


def _replace_kind(old: Collection, changes: Mapping[ResourceKey, Resource | None]) -> Collection:
    checksum = old.checksum
    for key, new in changes.items():
        before = old.resources.get(key)
        if before is not None:
            checksum -= int(before.version, 16)
        if new is not None:
            checksum += int(new.version, 16)
    return Collection(old.resources.replaced(changes), checksum % _MODULUS)
