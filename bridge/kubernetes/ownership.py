"""Whose an object is. Ours is what our group's field manager applied and no other group has labelled.

The field manager decides rather than a label, because a copy of one of our objects carries our labels too.
"""

from meshbridge.bridge.config.kubernetes import Adopt, KubernetesOutput
from meshbridge.bridge.kubernetes.objects import (
    AUTO_REGISTERED,
    GROUP_LABEL,
    Observed,
    hosts,
    manager,
)
from meshbridge.bridge.pipeline.pattern import compile_pattern
from meshbridge.schemas.resource import Resource

_MANAGED_BY = "app.kubernetes.io/managed-by"
_KUBECTL = "kubectl.kubernetes.io/last-applied-configuration"


class Ownership:
    """The rules of one group of bridges."""

    def __init__(self, settings: KubernetesOutput) -> None:
        self.group = settings.group
        self.manager = manager(settings.group)
        self._adopt = settings.adopt
        self._exceptions = [
            (compile_pattern(pattern), entry.adopt) for entry in settings.adoption for pattern in entry.hosts
        ]

    def is_ours(self, found: Observed) -> bool:
        """Whether the object is this group's."""
        return (
            self.manager in found.appliers and dict(found.labels).get(GROUP_LABEL, self.group) == self.group
        )

    def others(self, found: Observed) -> tuple[str, ...]:
        """Return who else keeps fields of the object by server-side apply."""
        return tuple(name for name in found.appliers if name != self.manager)

    def adoption(self, wanted: Resource) -> Adopt:
        """Return what may happen to a foreign object that is in the place of this resource."""
        if self._exceptions:
            names = hosts(wanted) or (wanted.key.name,)
            for pattern, adopt in self._exceptions:
                if any(pattern.fullmatch(name) for name in names):
                    return adopt
        return self._adopt


def is_auto_registered(found: Observed) -> bool:
    """Whether istiod made the WorkloadEntry for a proxy that registered itself, and keeps it."""
    return any(key == AUTO_REGISTERED for key, _ in found.annotations)


def claimant(found: Observed) -> str:
    """Return who lays claim to a foreign object, "" for nobody."""
    marks = dict(found.labels)
    if is_auto_registered(found):
        return "istiod, which registered it for a proxy"
    if found.has_owner:
        return "its owner reference"
    if GROUP_LABEL in marks:
        return f"the bridges of group {marks[GROUP_LABEL]}"
    if found.appliers:
        return f"field manager {found.appliers[0]}"
    if _MANAGED_BY in marks:
        return marks[_MANAGED_BY]
    return "kubectl apply" if any(key == _KUBECTL for key, _ in found.annotations) else ""
