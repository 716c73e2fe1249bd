"""Dubbo 3's application level: instances of applications, and which interfaces a revision exports.

Instances are Curator records whose payload is a ZookeeperInstance; `mapping/{interface}` lists applications,
`metadata/{app}/{revision}` the services (org.apache.dubbo.metadata.MetadataInfo, Dubbo 3.3).
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache

import msgspec

from meshbridge.adapters.zookeeper.layouts import fields
from meshbridge.adapters.zookeeper.layouts.fields import Refused
from meshbridge.schemas.registry import Health, Port

PAYLOAD_CLASS = "org.apache.dubbo.registry.zookeeper.ZookeeperInstance"
NO_REVISION = "0"
"""Revision of an instance that exports nothing yet, or nothing any more."""

_MAX_ENDPOINTS = 64
_MAX_SERVICES = 10_000
_MAX_APPLICATIONS = 1000
_ENDPOINTS = "dubbo.endpoints"
_REVISION = "dubbo.metadata.revision"
# The first is in the ports, the second for Dubbo's own calls, the third new at every start.
_INTERNAL = (_ENDPOINTS, "dubbo.metadata-service.url-params", "timestamp")


class Exported(msgspec.Struct, frozen=True, gc=False):
    """One service on one protocol, as an application's metadata lists it. `parameters` is never mutated."""

    interface: str
    protocol: str
    port: int
    parameters: Mapping[str, str]


class AppInstance(msgspec.Struct, frozen=True, gc=False):
    """One process of an application."""

    address: str
    ports: tuple[Port, ...]
    revision: str
    metadata: Mapping[str, str]

    @property
    def health(self) -> Health:
        """Draining while it exports nothing."""
        return Health.DRAINING if self.revision == NO_REVISION else Health.READY


def is_dubbo(record: Mapping[str, object]) -> bool:
    """Tell whether a Curator record is a Dubbo instance."""
    return fields.mapping(record.get("payload")).get("@class") == PAYLOAD_CLASS


def instance(record: Mapping[str, object]) -> AppInstance:
    """Return the process of a Curator record that `is_dubbo`.

    Raises:
        Refused: it has no usable address or port.
    """
    told = fields.mapping(fields.mapping(record.get("payload")).get("metadata"))
    found = {key: value for key, value in told.items() if key not in _INTERNAL}
    return AppInstance(
        address=fields.address(record.get("address")),
        ports=_ports(fields.scalar(told.get(_ENDPOINTS))) or (Port("", fields.port(record.get("port"))),),
        revision=fields.scalar(told.get(_REVISION)),
        metadata=fields.metadata(found),
    )


@lru_cache(maxsize=512)
def exported(data: bytes) -> tuple[Exported, ...]:
    """Return the services that a `metadata/{app}/{revision}` node lists; entries without a port are skipped.

    Raises:
        Refused: it is no such document.
    """
    services = fields.mapping(fields.decoded(data).get("services"))
    return tuple(_exported(services))


def applications(data: bytes) -> tuple[str, ...]:
    """Return the applications that a `mapping/{interface}` node names; the dead ones stay in it for ever."""
    text = data[: fields.MAX_RECORD].decode(errors="replace")
    names = (name.strip() for name in text.split(",")[:_MAX_APPLICATIONS])
    return tuple(dict.fromkeys(name for name in names if name and "/" not in name))


def _exported(services: Mapping[str, object]) -> Iterator[Exported]:
    for item in list(services.values())[:_MAX_SERVICES]:
        entry = fields.mapping(item)
        told = {key: fields.scalar(value) for key, value in fields.mapping(entry.get("params")).items()}
        own = {key: fields.scalar(entry.get(key)) for key in ("group", "version")}
        interface, protocol = fields.word(entry.get("name")), fields.word(entry.get("protocol"))
        try:
            number = fields.port(entry.get("port"))
        except Refused:
            continue
        if interface and protocol:
            parameters = {**told, **{key: value for key, value in own.items() if value}}
            yield Exported(interface, protocol, number, parameters)


def _ports(text: str) -> tuple[Port, ...]:
    """Return the ports of `dubbo.endpoints`; of several protocols on one port the first counts."""
    try:
        endpoints = msgspec.json.decode(text or "[]", type=list[dict[str, object]])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Refused(f"{_ENDPOINTS} is no JSON list: {error}") from error
    ports: dict[int, Port] = {}
    for endpoint in endpoints[:_MAX_ENDPOINTS]:
        protocol = fields.word(endpoint.get("protocol"))
        number = fields.port(endpoint.get("port"))
        ports.setdefault(number, Port(protocol, number, protocol))
    return tuple(sorted(ports.values()))
