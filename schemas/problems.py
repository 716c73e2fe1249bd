"""What validation says about a resource, and how it says it."""

from collections.abc import Iterable, Iterator
from enum import StrEnum

import msgspec

_SHOWN = 80


class Severity(StrEnum):
    """What a problem does to the resource."""

    ERROR = "error"
    """istiod or Kubernetes would refuse it, or it would do harm: it must not be published."""
    WARNING = "warning"
    """It is accepted, and probably not what was meant."""


class Problem(msgspec.Struct, frozen=True, gc=False):
    """One broken rule; `field` is a path such as `endpoints[3].address`."""

    severity: Severity
    field: str
    text: str
    """The value and what is allowed."""


def error(field: str, text: str) -> Problem:
    """Return a broken rule of istiod or of its CRDs."""
    return Problem(Severity.ERROR, field, text)


def own_error(field: str, text: str) -> Problem:
    """Return a broken rule that is stricter than istiod's."""
    return Problem(Severity.ERROR, field, f"{text} (meshbridge's rule; istiod doesn't check it)")


def warning(field: str, text: str) -> Problem:
    """Return something that is accepted but probably wrong."""
    return Problem(Severity.WARNING, field, text)


def within(path: str, problems: Iterable[Problem]) -> Iterator[Problem]:
    """Yield the problems of a part with their fields as seen from the whole."""
    for found in problems:
        yield Problem(found.severity, f"{path}.{found.field}", found.text)


def shown(value: object) -> str:
    """Return the value for a text, quoted and of bounded length."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
