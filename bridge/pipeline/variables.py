"""What the variables of templates stand for."""

import re
from collections.abc import Callable

from meshbridge.bridge.pipeline.template import Template
from meshbridge.schemas.registry import Instance, InstanceGroup

_OF_GROUP = frozenset({"service", "source", "part", "namespace"})
_IN_TAG = re.compile(r"[=|:]")
"""What stands between name and value in a tag such as `version=v2`."""


def is_same_for_all(template: Template | None) -> bool:
    """Whether the template gives the same text for every instance of a group."""
    return template is None or all(map(is_of_group, template.variables()))


def is_of_group(name: str) -> bool:
    """Whether the variable is the same for every instance of a group."""
    return name in _OF_GROUP or name.startswith("attributes.")


def variables(group: InstanceGroup, attributes: dict[str, str], instance: Instance) -> Callable[[str], str]:
    """Return what gives the value of a template's variable for this instance."""

    def value(name: str) -> str:
        mapping, _, key = name.partition(".")
        if mapping == "metadata":
            return dict(instance.metadata).get(key, "")
        if mapping == "labels":
            return dict(instance.labels).get(key, "")
        if mapping == "attributes":
            return attributes.get(key, "")
        if mapping == "tags":
            return tagged(instance, key)
        return _PLAIN[name](group, attributes, instance)

    return value


def tagged(instance: Instance, name: str) -> str:
    """Return the value of the first tag `NAME=VALUE`, `NAME|VALUE` or `NAME:VALUE`, "" without one."""
    for tag in instance.tags:
        found = _IN_TAG.split(tag, maxsplit=1)
        if found[0] == name and len(found) > 1:
            return found[1]
    return ""


def version(instance: Instance) -> str:
    """Return the version that a registry knows of: a label, metadata, or a tag `version=...`."""
    return (
        dict(instance.labels).get("version")
        or dict(instance.metadata).get("version")
        or tagged(instance, "version")
    )


def _weight(_group: InstanceGroup, _attributes: dict[str, str], instance: Instance) -> str:
    return "" if instance.weight is None else str(instance.weight)


def _locality_part(index: int) -> Callable[[InstanceGroup, dict[str, str], Instance], str]:
    return lambda _group, _attributes, instance: [*instance.locality.split("/"), "", ""][index]


_PLAIN: dict[str, Callable[[InstanceGroup, dict[str, str], Instance], str]] = {
    "service": lambda group, _attributes, _instance: group.key.name,
    "source": lambda group, _attributes, _instance: group.key.source.partition("/")[0],
    "part": lambda group, _attributes, _instance: group.key.source.partition("/")[2],
    "namespace": lambda _group, attributes, _instance: attributes.get("namespace", ""),
    "id": lambda _group, _attributes, instance: instance.id,
    "address": lambda _group, _attributes, instance: instance.address,
    "version": lambda _group, _attributes, instance: version(instance),
    "weight": _weight,
    "region": _locality_part(0),
    "zone": _locality_part(1),
}
