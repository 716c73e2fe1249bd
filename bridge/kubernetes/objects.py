"""Resources as objects of the API server: paths, what is sent, and what is remembered of what is there.

Formats: the Kubernetes API conventions for paths and metadata, server-side apply for `managedFields`.
"""

import hashlib
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from meshbridge.schemas import wire
from meshbridge.schemas.errors import PayloadError
from meshbridge.schemas.istio import ServiceEntry
from meshbridge.schemas.manifest import API_VERSION
from meshbridge.schemas.registry import Labels, labels
from meshbridge.schemas.resource import SPECS, Kind, Resource, ResourceKey

GROUP_LABEL = "meshbridge.io/group"
VERSION_ANNOTATION = "meshbridge.io/version"
"""The version of the resource that an object was made from: equal versions have equal content."""
AUTO_REGISTERED = "istio.io/autoRegistrationGroup"
"""On WorkloadEntries that istiod made when a VM's proxy registered itself."""

PLURALS: Mapping[Kind, str] = MappingProxyType(
    {
        Kind.SERVICE_ENTRY: "serviceentries",
        Kind.WORKLOAD_ENTRY: "workloadentries",
        Kind.WORKLOAD_GROUP: "workloadgroups",
    }
)

_BULKY = "kubectl.kubernetes.io/last-applied-configuration"
_encoder = msgspec.json.Encoder(order="deterministic")


class Observed(msgspec.Struct, frozen=True, gc=False):
    """What counts of an object at the API server."""

    key: ResourceKey
    uid: str
    resource_version: str
    labels: Labels
    annotations: Labels
    appliers: tuple[str, ...]
    """Field managers that applied it, by server-side apply."""
    has_owner: bool
    """Whether it has an owner reference."""
    is_deleting: bool
    hosts: tuple[str, ...]
    digest: bytes
    """Of the spec, as far as we know its fields."""


class _ManagedField(msgspec.Struct):
    manager: str = ""
    operation: str = ""
    subresource: str = ""


class _Metadata(msgspec.Struct, rename="camel"):
    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[msgspec.Raw] | None = None
    managed_fields: list[_ManagedField] | None = None


class _Object(msgspec.Struct):
    metadata: _Metadata
    spec: msgspec.Raw = msgspec.Raw(b"{}")


class _Name(msgspec.Struct, rename="camel"):
    name: str
    namespace: str = ""
    resource_version: str = ""


class _Named(msgspec.Struct):
    metadata: _Name


class _Hosts(msgspec.Struct):
    hosts: tuple[str, ...] = ()


def collection_path(kind: Kind, namespace: str = "") -> str:
    """Return the path of all objects of a kind, of one namespace or of all."""
    inside = f"namespaces/{namespace}/" if namespace else ""
    return f"/apis/{API_VERSION}/{inside}{PLURALS[kind]}"


def object_path(key: ResourceKey) -> str:
    """Return the path of an object."""
    return f"{collection_path(key.kind, key.namespace)}/{key.name}"


def manager(group: str) -> str:
    """Return the field manager of a group of bridges."""
    return f"meshbridge-{group}"


def wanted_labels(found: Resource, group: str) -> dict[str, str]:
    """Return the labels that the object shall have."""
    return {**dict(found.labels), GROUP_LABEL: group}


def wanted_annotations(found: Resource) -> dict[str, str]:
    """Return the annotations that the object shall have."""
    return {**dict(found.annotations), VERSION_ANNOTATION: found.version}


def encode(found: Resource, group: str, uid: str = "") -> tuple[bytes, bytes]:
    """Return the object as server-side apply takes it, and the digest of its spec.

    With a uid only that very object is changed.
    """
    metadata: dict[str, object] = {
        "name": found.key.name,
        "namespace": found.key.namespace,
        "labels": wanted_labels(found, group),
        "annotations": wanted_annotations(found),
    }
    if uid:
        metadata["uid"] = uid
    spec = _encoder.encode(wire.decode(found.key.kind, found.body))
    document = {
        "apiVersion": API_VERSION,
        "kind": found.key.kind,
        "metadata": metadata,
        "spec": msgspec.Raw(spec),
    }
    return _encoder.encode(document), _digest(spec)


def digest(found: Resource) -> bytes:
    """Return the digest that an object with this resource's spec has."""
    return _digest(_encoder.encode(wire.decode(found.key.kind, found.body)))


def hosts(found: Resource) -> tuple[str, ...]:
    """Return the hosts of a ServiceEntry; other kinds have none."""
    spec = wire.decode(found.key.kind, found.body) if found.key.kind is Kind.SERVICE_ENTRY else None
    return spec.hosts if isinstance(spec, ServiceEntry) else ()


def versioned(kind: Kind, document: bytes | msgspec.Raw) -> tuple[ResourceKey, str]:
    """Return which object a document is about, and in which version: a tenth of the time of `observe`.

    Raises:
        PayloadError: it is no Kubernetes object.
    """
    try:
        meta = msgspec.json.decode(document, type=_Named).metadata
    except msgspec.MsgspecError as error:
        raise PayloadError(kind, f"not an object: {error}") from error
    return ResourceKey(kind, meta.namespace, meta.name), meta.resource_version


def observe(kind: Kind, document: bytes | msgspec.Raw, known_digest: bytes = b"") -> Observed:
    """Return what counts of an object; its digest need not be worked out when it is known.

    Raises:
        PayloadError: it is no Kubernetes object.
    """
    try:
        found = msgspec.json.decode(document, type=_Object)
        named = msgspec.json.decode(found.spec, type=_Hosts) if kind is Kind.SERVICE_ENTRY else _Hosts()
    except msgspec.MsgspecError as error:
        raise PayloadError(kind, f"not an object: {error}") from error
    meta = found.metadata
    annotations = {key: text for key, text in (meta.annotations or {}).items() if key != _BULKY}
    if meta.annotations and _BULKY in meta.annotations:
        annotations[_BULKY] = ""  # That it is there says enough.
    return Observed(
        key=ResourceKey(kind, meta.namespace, meta.name),
        uid=meta.uid,
        resource_version=meta.resource_version,
        labels=labels(meta.labels or {}),
        annotations=labels(annotations),
        appliers=_appliers(meta.managed_fields or []),
        has_owner=bool(meta.owner_references),
        is_deleting=meta.deletion_timestamp is not None,
        hosts=named.hosts,
        digest=known_digest or _spec_digest(kind, found.spec),
    )


def _appliers(entries: list[_ManagedField]) -> tuple[str, ...]:
    found = {entry.manager for entry in entries if entry.operation == "Apply" and not entry.subresource}
    return tuple(sorted(found))


def _spec_digest(kind: Kind, spec: msgspec.Raw) -> bytes:
    # Read into our types and written again: other people's fields and the order of keys don't count.
    try:
        return _digest(_encoder.encode(msgspec.json.decode(spec, type=SPECS[kind])))
    except msgspec.MsgspecError:
        return b""  # No spec of ours looks like that.


def _digest(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=12).digest()
