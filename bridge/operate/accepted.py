"""What the bridge serves beside what istiod says it holds. Pure.

Both are Kubernetes objects; istiod's come from its `/debug/configz`, which leaves out what equals
protobuf's defaults, also where those are not what is meant by leaving the field out in YAML.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from meshbridge.bridge.operate.findings import Finding, failed, ok, warning

KINDS = frozenset({"ServiceEntry", "WorkloadEntry", "WorkloadGroup"})
REVISION_LABEL = "istio.io/rev"
_NAMED = 5

Objects = dict[str, Mapping[str, Any]]
"""Kubernetes objects by `Kind namespace/name`."""


class Comparison(msgspec.Struct, frozen=True):
    """How what is held differs from what is served, as `Kind namespace/name`, sorted."""

    served: int
    missing: Sequence[str]
    different: Sequence[str]


def compare(
    served: Iterable[Mapping[str, Any]], held: Iterable[Mapping[str, Any]], revision: str = ""
) -> Comparison:
    """Return the comparison for an istiod of a revision, which takes what carries no revision or its own."""
    ours = _by_key(found for found in served if is_for(found, revision))
    theirs = _by_key(found for found in held if found.get("kind") in KINDS)
    missing = sorted(ours.keys() - theirs.keys())
    different = sorted(key for key in ours.keys() & theirs.keys() if _body(ours[key]) != _body(theirs[key]))
    return Comparison(len(ours), missing, different)


def is_for(found: Mapping[str, Any], revision: str) -> bool:
    """Whether an istiod of the revision takes the object."""
    wanted = found["metadata"].get("labels", {}).get(REVISION_LABEL, "")
    return not wanted or wanted == (revision or "default")


def findings(found: Comparison) -> list[Finding]:
    """Return what the comparison means."""
    subject = "accepted"
    if not found.served:
        return [warning(subject, "the bridge serves nothing yet, so there is nothing to compare")]
    result = []
    if found.missing:
        result.append(
            failed(
                subject,
                f"istiod lacks {_some(found.missing)} of {found.served} served; its log tells why",
            )
        )
    if found.different:
        result.append(
            warning(
                subject, f"istiod holds another version of {_some(found.different)}; it may be on its way"
            )
        )
    return result or [ok(subject, f"istiod holds all {found.served} resources as served")]


def _some(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return f"{len(keys)} ({', '.join(keys[:_NAMED])}{more})"


def _by_key(objects: Iterable[Mapping[str, Any]]) -> Objects:
    return {
        f"{found['kind']} {found['metadata']['namespace']}/{found['metadata']['name']}": found
        for found in objects
    }


def _body(found: Mapping[str, Any]) -> tuple[object, ...]:
    spec = found["spec"]
    if found["kind"] == "ServiceEntry":
        spec = {"location": "MESH_EXTERNAL", "resolution": "NONE", **spec}
    metadata = found["metadata"]
    return (spec, metadata.get("labels") or {}, metadata.get("annotations") or {})
