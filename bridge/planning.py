"""What a configuration would publish, without publishing it, and how that differs from what is there.

Pure but for `plan`, which reads every source once.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from meshbridge.bridge.check import SourceCheck, read_sources
from meshbridge.bridge.config.models import Config
from meshbridge.schemas.manifest import to_object
from meshbridge.schemas.yaml_text import dump

Object = Mapping[str, Any]
"""A resource in its Kubernetes form."""
Identity = tuple[str, str, str]
"""Kind, namespace and name."""


class Planned(NamedTuple):
    """What a configuration would publish."""

    objects: list[Object]
    checks: list[SourceCheck]


class Difference(msgspec.Struct, frozen=True):
    """One resource that is not as it was."""

    change: str
    """added, removed or changed."""
    kind: str
    namespace: str
    name: str
    before: Object | None
    after: Object | None

    def lines(self) -> Iterator[str]:
        """Yield the difference as text, as `diff -u` shows it."""
        mark = {"added": "+", "removed": "-"}.get(self.change, "~")
        yield f"{mark} {self.kind} {self.namespace}/{self.name}"
        if self.change == "changed":
            old, new = (dump([_essence(found)]).splitlines()[1:] for found in (self.before, self.after))
            for line in list(difflib.unified_diff(old, new, lineterm="", n=1))[2:]:
                yield f"    {line}"


async def plan(config: Config, within: float) -> Planned:
    """Return what a configuration would publish, after reading each source once, all at once.

    Args:
        config: the configuration.
        within: how long to wait for each source. Seconds.
    """
    mesh, checks = await read_sources(config, within)
    found = sorted(mesh.resources(), key=lambda resource: resource.key)
    return Planned([to_object(resource) for resource in found], checks)


def differences(before: Iterable[Object], after: Iterable[Object]) -> list[Difference]:
    """Return what is added, removed and changed, by kind, namespace and name."""
    old, new = ({_identity(found): found for found in each} for each in (before, after))
    return [
        Difference(_change(old.get(key), new.get(key)), *key, old.get(key), new.get(key))
        for key in sorted(old.keys() | new.keys())
        if _essence(old.get(key)) != _essence(new.get(key))
    ]


def flattened(documents: Iterable[object]) -> list[Object]:
    """Return the resources in documents, which may be lists as `kubectl get -o yaml` prints them.

    Raises:
        ValueError: something is no Kubernetes object.
    """
    found: list[Object] = []
    for document in documents:
        if document is None:
            continue
        if not isinstance(document, dict) or "kind" not in document:
            raise ValueError("it holds something that is no Kubernetes object")
        items = document.get("items")
        found += flattened(items) if isinstance(items, Sequence) else [document]
    return found


def _change(old: Object | None, new: Object | None) -> str:
    return "added" if old is None else "removed" if new is None else "changed"


def _identity(found: Object) -> Identity:
    meta = found.get("metadata", {})
    return str(found["kind"]), str(meta.get("namespace", "")), str(meta.get("name", ""))


def _essence(found: Object | None) -> Object | None:
    """Return what we decide of an object: not what a server adds, such as its times and versions."""
    if found is None:
        return None
    meta = {key: value for key, value in found.get("metadata", {}).items() if key in _OURS and value}
    return {"metadata": meta, "spec": found.get("spec", {})}


_OURS = ("name", "namespace", "labels", "annotations")
