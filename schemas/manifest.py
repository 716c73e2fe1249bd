"""Resources as Kubernetes objects and back, and as the YAML that `kubectl apply -f -` takes.

Kubernetes' form of a spec: the JSON names and enum names of the protobuf message, defaults left out.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from meshbridge.schemas import wire
from meshbridge.schemas.errors import PayloadError
from meshbridge.schemas.istio import Location, Resolution, Spec
from meshbridge.schemas.registry import Labels
from meshbridge.schemas.registry import labels as intern_labels
from meshbridge.schemas.resource import SPECS, Kind, Resource, ResourceKey
from meshbridge.schemas.yaml_text import dump

API_VERSION = "networking.istio.io/v1"
"""What objects are written as; all served versions have the same fields."""

_GROUP = "networking.istio.io/"


class _Metadata(msgspec.Struct):
    name: str
    namespace: str
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class _Object(msgspec.Struct, rename="camel"):
    api_version: str
    kind: Kind
    metadata: _Metadata
    spec: Any


def to_object(resource: Resource) -> dict[str, Any]:
    """Return the resource as a Kubernetes object of plain dicts, lists, texts and numbers."""
    key = resource.key
    metadata: dict[str, Any] = {"name": key.name, "namespace": key.namespace}
    if resource.labels:
        metadata["labels"] = dict(resource.labels)
    if resource.annotations:
        metadata["annotations"] = dict(resource.annotations)
    return {
        "apiVersion": API_VERSION,
        "kind": key.kind.value,
        "metadata": metadata,
        # By way of JSON tuples become lists and enums plain texts.
        "spec": msgspec.json.decode(msgspec.json.encode(wire.decode(key.kind, resource.body))),
    }


def from_object(obj: object) -> tuple[ResourceKey, Labels, Labels, Spec]:
    """Return the key, labels, annotations and spec of a Kubernetes object. Unknown fields are ignored.

    Raises:
        PayloadError: it is no such object; the text names the path inside it.
    """
    try:
        found = msgspec.convert(obj, _Object)
    except msgspec.ValidationError as error:
        raise PayloadError("object", str(error)) from error
    record = f"{found.kind} {found.metadata.namespace}/{found.metadata.name}"
    if not found.api_version.startswith(_GROUP):
        raise PayloadError(record, f"apiVersion is {found.api_version!r}, not {API_VERSION!r}")
    spec = _spec(found.kind, found.spec, record)
    key = ResourceKey(found.kind, found.metadata.namespace, found.metadata.name)
    return key, intern_labels(found.metadata.labels), intern_labels(found.metadata.annotations), spec


def _spec(kind: Kind, value: object, record: str) -> Spec:
    if kind is Kind.SERVICE_ENTRY and isinstance(value, dict):
        value = {
            "location": Location.MESH_EXTERNAL,
            "resolution": Resolution.NONE,
            **value,
        }  # Istio's defaults.
    try:
        return msgspec.convert(value, SPECS[kind])
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$")
        raise PayloadError(record, f"{reason} - at `$.spec{path.rstrip('`')}`") from error


def to_yaml(resources: Iterable[Resource]) -> str:
    """Return one YAML document for each resource, in their order."""
    return dump(to_object(resource) for resource in resources)
