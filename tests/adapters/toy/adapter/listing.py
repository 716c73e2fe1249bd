"""Parses the toy's document: pure, so that golden files and properties can hold it.

The document: `{"services": {"orders": [{"id": "a", "address": "192.0.2.1", "port": 8080}]}}`.
"""

import ipaddress
from collections.abc import Mapping

import msgspec

from meshbridge.schemas.errors import PayloadError
from meshbridge.schemas.registry import Instance, InstanceGroup, Note, Port, ServiceKey, group


class Listing(msgspec.Struct, frozen=True, gc=False):
    """What every good document has; the records are looked at one by one."""

    services: dict[str, list[msgspec.Raw]]


class Identified(msgspec.Struct, frozen=True, gc=False):
    """As much of a record as says which one it is."""

    id: str


class Record(Identified, frozen=True, gc=False):
    """One instance as the registry writes it."""

    address: str
    port: int


def parse(source: str, document: bytes, known: Mapping[str, InstanceGroup]) -> dict[str, InstanceGroup]:
    """Return the services by name; a record that turned bad keeps its reading from `known`.

    Raises:
        PayloadError: the document as a whole is not what it should be.
    """
    try:
        listing = msgspec.json.decode(document, type=Listing)
    except msgspec.DecodeError as error:
        raise PayloadError("document", str(error)) from error
    return {
        name: _service(ServiceKey(source, name), records, known.get(name))
        for name, records in sorted(listing.services.items())
    }


def _service(key: ServiceKey, records: list[msgspec.Raw], known: InstanceGroup | None) -> InstanceGroup:
    before = {instance.id: instance for instance in known.instances} if known else {}
    instances: dict[str, Instance] = {}
    notes = []
    for place, raw in enumerate(records, start=1):
        try:
            instance = _instance(key.name, raw)
        except (msgspec.DecodeError, ValueError) as error:
            name = _id_of(key.name, raw)
            notes.append(Note(name or f"record {place}", str(error)))
            if name in before:
                instances.setdefault(name, before[name])
        else:
            if instance.id in instances:
                notes.append(Note(instance.id, "listed more than once: the last record counts"))
            instances[instance.id] = instance
    return group(key, instances.values(), notes=notes)


def _instance(service: str, raw: msgspec.Raw) -> Instance:
    record = msgspec.json.decode(raw, type=Record)
    ipaddress.ip_address(record.address)
    if not 0 < record.port < 65536:
        raise ValueError(f"{record.port} is not a port")
    return Instance(f"{service}/{record.id}", record.address, (Port("", record.port),))


def _id_of(service: str, raw: msgspec.Raw) -> str:
    """Return the id of a record of which something else is wrong, "" when it has none."""
    try:
        return f"{service}/{msgspec.json.decode(raw, type=Identified).id}"
    except msgspec.DecodeError:
        return ""
