"""What the variables of templates stand for."""

from collections.abc import Callable

from meshbridge.bridge.pipeline.template import Template
from meshbridge.schemas.registry import Instance, InstanceGroup

_OF_GROUP = frozenset({"service", "source", "part", "namespace"})


def is_same_for_all(template: Template | None) -> bool:
    """Whether the template gives the same text for every instance of a group."""
    return template is None or all(
        name in _OF_GROUP or name.startswith("attributes.") for name in template.variables()
    )


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
        return _PLAIN[name](group, attributes, instance)

    return value


def _version(_group: InstanceGroup, _attributes: dict[str, str], instance: Instance) -> str:
    return dict(instance.labels).get("version") or dict(instance.metadata).get("version", "")


def _locality_part(index: int) -> Callable[[InstanceGroup, dict[str, str], Instance], str]:
    return lambda _group, _attributes, instance: [*instance.locality.split("/"), "", ""][index]


_PLAIN: dict[str, Callable[[InstanceGroup, dict[str, str], Instance], str]] = {
    "service": lambda group, _attributes, _instance: group.key.name,
    "source": lambda group, _attributes, _instance: group.key.source.partition("/")[0],
    "part": lambda group, _attributes, _instance: group.key.source.partition("/")[2],
    "namespace": lambda _group, attributes, _instance: attributes.get("namespace", ""),
    "id": lambda _group, _attributes, instance: instance.id,
    "address": lambda _group, _attributes, instance: instance.address,
    "version": _version,
    "region": _locality_part(0),
    "zone": _locality_part(1),
}
