"""Curator's service discovery: `{service}/{id}` with JSON, from plain Curator, Spring Cloud and Dubbo 3.

The format is ServiceInstance of curator-x-discovery 5 with its JsonInstanceSerializer. Dubbo and Spring
share `/services`, so each record is read as what its payload says it is. A name may have slashes.
"""

from collections.abc import Iterable, Mapping

from typing_extensions import override

from meshbridge.adapters.zookeeper.layouts import dubbo_app, fields
from meshbridge.adapters.zookeeper.layouts.directory import DirectoryLayout, is_leaf_with_content
from meshbridge.adapters.zookeeper.layouts.fields import Refused
from meshbridge.adapters.zookeeper.layouts.layout import Node, Tree, leaf
from meshbridge.schemas.registry import Health, Instance, Note, Port, labels

SPRING_CLASS = "org.springframework.cloud.zookeeper.discovery.ZookeeperInstance"

_STATUS = "instance_status"
_HEALTH = {"UP": Health.READY, "OUT_OF_SERVICE": Health.DRAINING, "DOWN": Health.UNREADY}


class Curator(DirectoryLayout):
    """A directory with instances is a service."""

    name = "curator"

    @override
    def is_record(self, path: str, node: Node, tree: Tree) -> bool:
        return is_leaf_with_content(path, node, tree)

    @override
    def read(self, path: str, node: Node, tree: Tree) -> tuple[Instance, Iterable[Note]]:
        record = fields.decoded(node.data)
        if dubbo_app.is_dubbo(record):
            return _dubbo(leaf(path), record, node), ()
        return _instance(leaf(path), record, node), ()


def _dubbo(name: str, record: Mapping[str, object], node: Node) -> Instance:
    found = dubbo_app.instance(record)
    return Instance(
        id=name,
        address=found.address,
        ports=found.ports,
        metadata=labels(found.metadata),
        locality=fields.locality(found.metadata),
        health=_alive(found.health, node),
    )


def _instance(name: str, record: Mapping[str, object], node: Node) -> Instance:
    known = _metadata(record.get("payload"))
    weight = fields.weight(known.get("weight"))
    status = known.pop(_STATUS, "UP").upper()
    is_off = fields.scalar(record.get("enabled")).lower() == "false"
    health = Health.DRAINING if is_off else _HEALTH.get(status, Health.UNREADY)
    return Instance(
        id=name,
        address=fields.address(record.get("address")),
        ports=_ports(record),
        labels=fields.mesh_labels({"version": known.get("version", "")}),
        metadata=labels(known),
        locality=fields.locality(known),
        weight=weight,
        health=_alive(health, node),
    )


def _alive(health: Health, node: Node) -> Health:
    """Return the health; a persistent node (STATIC, PERMANENT) says nothing of whether its instance lives."""
    return Health.UNKNOWN if health is Health.READY and not node.ephemeral else health


def _metadata(payload: object) -> dict[str, str]:
    if not isinstance(payload, dict):
        return fields.metadata({"payload": payload})
    if payload.get("@class") == SPRING_CLASS:
        return fields.metadata(fields.mapping(payload.get("metadata")))
    return fields.metadata({key: value for key, value in payload.items() if key != "@class"})


def _ports(record: Mapping[str, object]) -> tuple[Port, ...]:
    protocol = _scheme(record.get("uriSpec"))
    found: dict[int, Port] = {}
    for key, tls in (("port", False), ("sslPort", True)):
        if record.get(key) is not None:
            number = fields.port(record[key])
            found[number] = Port("", number, protocol, tls)
    if not found:
        raise Refused("it has no port")
    return tuple(sorted(found.values()))


def _scheme(spec: object) -> str:
    """Return the protocol that the template of the instance's address says, "" for none."""
    parts = fields.mapping(spec).get("parts")
    first = fields.mapping(parts[0]) if isinstance(parts, list) and parts else {}
    value = fields.word(first.get("value"))
    if first.get("variable") is True:
        # The variable is filled with http or https, by whether there is an sslPort.
        return "http" if value == "scheme" else ""
    return value.partition("://")[0].lower() if "://" in value else ""
