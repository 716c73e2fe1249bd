"""What istiod and Kubernetes would say about a resource, and what we say on top.

istiod never answers that it refuses a resource: it logs a line without its name, and goes on without it.
So everything is checked here first. Problems of severity ERROR forbid publishing; `validate_endpoint`
judges one endpoint alone, so that a bad one can be left out instead of its service.
"""

from collections.abc import Iterator, Mapping

from meshbridge.schemas.istio import ServiceEntry, Spec, WorkloadEntry
from meshbridge.schemas.naming import is_dns_label, is_subdomain
from meshbridge.schemas.problems import Problem, Severity, error, own_error, shown, warning
from meshbridge.schemas.registry import Labels
from meshbridge.schemas.resource import SPECS, Kind
from meshbridge.schemas.validation_service import MAX_ENDPOINTS, PROTOCOLS, check_service_entry
from meshbridge.schemas.validation_text import check_annotations, check_labels
from meshbridge.schemas.validation_workload import (
    TLS_MODE,
    check_workload_entry,
    check_workload_group,
    validate_endpoint,
)

__all__ = [
    "MAX_ENDPOINTS",
    "PROTOCOLS",
    "TLS_MODE",
    "Problem",
    "Severity",
    "has_errors",
    "validate",
    "validate_endpoint",
]

_MAX_ANNOTATIONS = 256 * 1024
"""Bytes of all annotations of an object, Kubernetes' limit."""
_HEALTH_CHECKS = "proxy.istio.io/health-checks-enabled"


def validate(
    kind: Kind,
    namespace: str,
    name: str,
    spec: Spec,
    labels: Labels | Mapping[str, str] = (),
    annotations: Labels | Mapping[str, str] = (),
) -> list[Problem]:
    """Return everything that is wrong with a resource, an empty list when nothing is."""
    object_labels, notes = dict(labels), dict(annotations)
    return [
        *_check_metadata(namespace, name, object_labels, notes),
        *_check_spec(kind, namespace, spec, object_labels),
    ]


def has_errors(problems: list[Problem]) -> bool:
    """Whether one of the problems forbids publishing."""
    return any(found.severity is Severity.ERROR for found in problems)


def _check_metadata(
    namespace: str, name: str, labels: Mapping[str, str], annotations: Mapping[str, str]
) -> Iterator[Problem]:
    if not is_dns_label(namespace):
        yield own_error(
            "metadata.namespace",
            f"{shown(namespace)}; allowed are 1 to 63 lower-case letters, digits and inner hyphens",
        )
    if not is_subdomain(name):
        yield own_error(
            "metadata.name",
            f"{shown(name)}; allowed are 1 to 253 lower-case letters, digits, inner hyphens and single dots",
        )
    yield from check_labels("metadata.labels", labels)
    yield from check_annotations("metadata.annotations", annotations)
    size = sum(len(text.encode(errors="replace")) for pair in annotations.items() for text in pair)
    if size > _MAX_ANNOTATIONS:
        yield error("metadata.annotations", f"have {size} bytes; at most {_MAX_ANNOTATIONS} are allowed")
    if annotations.get(_HEALTH_CHECKS) == "true":
        yield warning(
            "metadata.annotations", f"with {_HEALTH_CHECKS} a workload is unhealthy over MCP for ever"
        )


def _check_spec(kind: Kind, namespace: str, spec: Spec, labels: Mapping[str, str]) -> Iterator[Problem]:
    if not isinstance(spec, SPECS[kind]):
        yield error("spec", f"a {type(spec).__name__} is not the spec of a {kind}")
    elif isinstance(spec, ServiceEntry):
        yield from check_service_entry(spec, namespace, labels)
    elif isinstance(spec, WorkloadEntry):
        yield from check_workload_entry(spec, labels)
    else:
        yield from check_workload_group(spec)
