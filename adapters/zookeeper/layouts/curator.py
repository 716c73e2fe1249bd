"""Curator's service discovery: `{service}/{id}` with JSON, from plain Curator, Spring Cloud and Dubbo 3.

The format is ServiceInstance of curator-x-discovery 5 with its JsonInstanceSerializer. Dubbo and Spring
share `/services`, so each record is read as what its payload says it is. A name may have slashes.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache

import msgspec
from typing_extensions import override

from meshbridge.adapters.zookeeper.layouts import dubbo_app, fields
from meshbridge.adapters.zookeeper.layouts.directory import DirectoryLayout, is_leaf_with_content
from meshbridge.adapters.zookeeper.layouts.fields import Refused
from meshbridge.adapters.zookeeper.layouts.layout import Node, Tree, leaf
from meshbridge.schemas.registry import Health, Instance, Labels, Note, Port, labels

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
        record = fields.decoded(node.data, _Record)
        told = _told(bytes(record.payload))
        if told is None:
            return _dubbo(leaf(path), fields.decoded(node.data), node), ()
        is_off = record.enabled is not None and fields.scalar(record.enabled).lower() == "false"
        instance = Instance(
            id=leaf(path),
            address=fields.address(record.address),
            ports=_ports(record),
            labels=told.labels,
            metadata=told.metadata,
            locality=told.locality,
            weight=told.weight,
            health=_alive(Health.DRAINING if is_off else told.health, node),
        )
        return instance, ()


class _Record(msgspec.Struct, gc=False):
    """A record as it is written; what many have in common stays as it is, to be read once for all of them."""

    address: object = None
    port: object = None
    sslPort: object = None  # noqa: N815 - Curator's name
    enabled: object = None
    uriSpec: msgspec.Raw = msgspec.Raw()  # noqa: N815 - Curator's name
    payload: msgspec.Raw = msgspec.Raw()


class _Told(msgspec.Struct, frozen=True, gc=False):
    """What a payload says."""

    metadata: Labels
    labels: Labels
    locality: str
    weight: int | None
    health: Health


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


@lru_cache(maxsize=256)  # The instances of a service say much the same, and come one after the other.
def _told(payload: bytes) -> _Told | None:
    """Return what a payload says, None if it is of a Dubbo application."""
    found = fields.decoded(payload, object) if payload else None
    if dubbo_app.is_dubbo({"payload": found}):
        return None
    known = _metadata(found)
    weight = fields.weight(known.get("weight"))
    status = known.pop(_STATUS, "UP").upper()
    return _Told(
        metadata=labels(known),
        labels=fields.mesh_labels({"version": known.get("version", "")}),
        locality=fields.locality(known),
        weight=weight,
        health=_HEALTH.get(status, Health.UNREADY),
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


def _ports(record: _Record) -> tuple[Port, ...]:
    plain = None if record.port is None else fields.port(record.port)
    secure = None if record.sslPort is None else fields.port(record.sslPort)
    if plain is None and secure is None:
        raise Refused("it has no port")
    return _ports_of(plain, secure, bytes(record.uriSpec))


@lru_cache(maxsize=1024)
def _ports_of(plain: int | None, secure: int | None, spec: bytes) -> tuple[Port, ...]:
    protocol = _scheme(fields.decoded(spec, object) if spec else None)
    found = {number: Port("", number, protocol, number == secure) for number in (plain, secure) if number}
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
