"""What istiod says it holds, in the form in which the bridge says what it serves.

Both are the Kubernetes form. They differ in what they leave out: istiod leaves out what equals protobuf's
defaults, also where those are not what is meant by leaving the field out in YAML.
"""

from collections.abc import Iterable, Mapping
from typing import Any

CREATED = "2100-01-01T00:00:00Z"
"""Creation time of everything that comes from a bridge."""

KINDS = ("ServiceEntry", "WorkloadEntry", "WorkloadGroup")

Objects = dict[str, Mapping[str, Any]]
"""Kubernetes objects by kind, namespace and name."""


def key(found: Mapping[str, Any]) -> str:
    """Return what tells an object from all others: kind, namespace and name."""
    return f"{found['kind']} {found['metadata']['namespace']}/{found['metadata']['name']}"


def served(objects: Iterable[Mapping[str, Any]]) -> Objects:
    """Return the bridge's objects with everything filled in that istiod leaves out."""
    return {key(found): _filled(found) for found in objects}


def held(objects: Iterable[Mapping[str, Any]]) -> Objects:
    """Return istiod's objects of our kinds without what only istiod knows, to be compared with `served`."""
    return {key(found): _filled(_without_stamps(found)) for found in objects if found["kind"] in KINDS}


def versions(objects: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the version of each object of our kinds that istiod holds."""
    return {key(found): found["metadata"]["resourceVersion"] for found in objects if found["kind"] in KINDS}


def creation_times(objects: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the creation times that occur among istiod's objects of our kinds."""
    return {found["metadata"]["creationTimestamp"] for found in objects if found["kind"] in KINDS}


def _without_stamps(found: Mapping[str, Any]) -> Mapping[str, Any]:
    stamps = ("resourceVersion", "creationTimestamp")
    return {**found, "metadata": {k: v for k, v in found["metadata"].items() if k not in stamps}}


def _filled(found: Mapping[str, Any]) -> Mapping[str, Any]:
    spec = dict(found["spec"])
    if found["kind"] == "ServiceEntry":
        spec = {"location": "MESH_EXTERNAL", "resolution": "NONE"} | spec
    return {**found, "spec": spec}
