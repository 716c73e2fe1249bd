"""Turns entries of `/v1/health/service/NAME` into instances. Pure: no I/O, no state."""

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

import msgspec

from meshbridge.adapters.consul.records import Check, Entry, Kind, ParseOptions, Service
from meshbridge.schemas.errors import PayloadError
from meshbridge.schemas.registry import Health, Instance, Note, Port, labels

_SECRET = re.compile(r"pass|secret|token|credential|private|api_?-?key", re.IGNORECASE)
_MAX_KEYS = 128
_MAX_VALUE = 4096
_MAX_ADDRESS = 255
_VERDICTS = {"critical": Health.UNREADY, "passing": Health.READY}
_WORST = {Health.DRAINING: 3, Health.UNREADY: 2, Health.UNKNOWN: 1}

_entries = msgspec.json.Decoder(list[Entry])
_raw_entries = msgspec.json.Decoder(list[msgspec.Raw])
_entry = msgspec.json.Decoder(Entry)


class _NodeName(msgspec.Struct, rename="pascal"):
    node: str


class _ServiceId(msgspec.Struct):
    id: str = msgspec.field(name="ID")


class _Identity(msgspec.Struct, rename="pascal"):
    """The least that tells which record it is."""

    node: _NodeName
    service: _ServiceId


class Refusal(NamedTuple):
    """A record that gives no instance."""

    id: str
    """Id the instance would have, "" when that can't be told."""
    reason: str
    """One of a few fixed words, for counters."""
    text: str
    is_malformed: bool
    """Whether an earlier reading of it still stands."""


class Parsed(NamedTuple):
    """What an answer holds."""

    instances: dict[str, Instance]
    refusals: tuple[Refusal, ...]
    notes: tuple[Note, ...] = ()
    left_out: frozenset[str] = frozenset()
    """Ids of instances that the configuration leaves out."""

    @property
    def seen(self) -> set[str]:
        """Ids of everything that is registered, taken or not."""
        return {*self.instances, *self.left_out, *(refusal.id for refusal in self.refusals)}

    def keeping(self, earlier: Mapping[str, Instance]) -> dict[str, Instance]:
        """Return the instances, with the last good readings of those whose record is malformed now."""
        malformed = {refusal.id for refusal in self.refusals if refusal.is_malformed}
        if not malformed:
            return self.instances
        kept = {
            id_: instance
            for id_, instance in earlier.items()
            if id_ in malformed or ("" in malformed and id_ not in self.left_out)
        }
        return kept | self.instances


def parse(body: bytes, options: ParseOptions) -> Parsed:
    """Return what an answer holds; a malformed record never hides its neighbours.

    Raises:
        PayloadError: the answer as a whole is no list of entries.
    """
    instances: dict[str, Instance] = {}
    refusals: list[Refusal] = []
    notes: list[Note] = []
    left_out: set[str] = set()
    for entry in _decode(body):
        if isinstance(entry, Refusal):
            refusals.append(entry)
            continue
        id_ = _id(entry)
        if _is_left_out(entry, options):
            left_out.add(id_)
            continue
        made = _instance(id_, entry, options)
        if isinstance(made, Refusal):
            refusals.append(made)
        elif id_ in instances:
            refusals.append(Refusal(id_, "duplicate", "the record is there twice", is_malformed=False))
        else:
            instances[id_] = made
            notes += _metadata_notes(id_, entry.service)
    notes += [Note(refusal.id or "?", refusal.text) for refusal in refusals]
    return Parsed(instances, tuple(refusals), tuple(notes), frozenset(left_out))


def _decode(body: bytes) -> Iterable[Entry | Refusal]:
    try:
        return _entries.decode(body)
    except (msgspec.ValidationError, RecursionError):
        pass
    except msgspec.DecodeError as error:
        raise PayloadError("answer", f"no usable JSON: {error}") from error
    try:
        return [_decode_one(bytes(item)) for item in _raw_entries.decode(body)]
    except (msgspec.DecodeError, RecursionError) as error:
        raise PayloadError("answer", f"no list of entries: {error}") from error


def _decode_one(item: bytes) -> Entry | Refusal:
    try:
        return _entry.decode(item)
    except (msgspec.ValidationError, RecursionError) as error:
        return Refusal(_identify(item), "malformed", str(error), is_malformed=True)


def _identify(item: bytes) -> str:
    """Return the id of a record that can't be read, "" when not even that can be."""
    try:
        found = msgspec.json.decode(item, type=_Identity)
    except (msgspec.ValidationError, RecursionError):
        return ""
    return f"{found.node.node}/{found.service.id}"


def _id(entry: Entry) -> str:
    """Return what tells an instance from the others of its service: an ID is unique on its node alone."""
    return f"{entry.node.name}/{entry.service.id}"


def _is_left_out(entry: Entry, options: ParseOptions) -> bool:
    service = entry.service
    tags = service.tags or ()
    return (
        (service.kind or Kind.SERVICE) not in options.kinds
        or (service.meta or {}).get("external-source", "") in options.exclude_external_sources
        or bool(options.tags and not matches_any(tags, options.tags))
        or matches_any(tags, options.exclude_tags)
    )


def matches_any(texts: Iterable[str], patterns: Iterable[str]) -> bool:
    """Return whether one of the texts matches one of the wildcard patterns."""
    wanted = tuple(patterns)
    return bool(wanted) and any(fnmatchcase(text, pattern) for text in texts for pattern in wanted)


def _instance(id_: str, entry: Entry, options: ParseOptions) -> Instance | Refusal:
    service = entry.service
    address, port = _address(entry, options.address_tag)
    if not entry.node.name or not service.id:
        return Refusal("", "malformed", "it has no node or no ID", is_malformed=True)
    if not address or len(address) > _MAX_ADDRESS or not address.isprintable() or " " in address:
        return Refusal(id_, "malformed", "neither it nor its node has a usable address", is_malformed=True)
    if service.socket_path and not port:
        text = "it listens on a unix socket, which no other host can reach"
        return Refusal(id_, "unix_socket", text, is_malformed=False)
    ports = _ports(service, port)
    if not ports:
        return Refusal(id_, "no_port", "it has no port", is_malformed=False)
    if any(not 0 < found.number < 65536 for found in ports):
        return Refusal(id_, "malformed", "its port is not between 1 and 65535", is_malformed=True)
    health, weight = _health(entry.checks or (), service, options.warning)
    return Instance(
        id=id_,
        address=address,
        ports=ports,
        labels=_labels(service, options.labels),
        metadata=labels(_metadata(entry, options)),
        tags=tuple(sorted(set(service.tags or ()))),
        locality=_locality(entry),
        weight=weight,
        health=health,
    )


def _address(entry: Entry, tag: str) -> tuple[str, int]:
    """Return the address and port by Consul's fall-backs: tagged, the service's own, its node's."""
    node, service = entry.node, entry.service
    if tag:
        tagged = (service.tagged or {}).get(tag)
        if tagged is not None and tagged.address:
            return tagged.address, tagged.port or service.port
    if service.address:
        return service.address, service.port
    return (tag and (node.tagged or {}).get(tag)) or node.address, service.port


def _ports(service: Service, port: int) -> tuple[Port, ...]:
    protocol = (service.meta or {}).get("protocol", "").lower()
    tls = (service.meta or {}).get("secure", "").lower() == "true"
    if service.ports:
        named = sorted(service.ports, key=lambda found: not found.default)
        return tuple(Port(found.name, found.port, protocol if found.default else "") for found in named)
    return (Port("", port, protocol, tls),) if port else ()


def _health(checks: Iterable[Check], service: Service, warning: Health) -> tuple[Health, int]:
    """Return the worst of the checks, and the weight that goes with it. Maintenance is leaving on purpose."""
    found, weight = Health.READY, (service.weights.passing if service.weights else 1)
    for check in checks:
        if check.check_id == "_node_maintenance" or check.check_id.startswith("_service_maintenance:"):
            verdict = Health.DRAINING
        elif check.status == "warning":
            verdict, weight = warning, (service.weights.warning if service.weights else 1)
        else:
            verdict = _VERDICTS.get(check.status, Health.UNKNOWN)
        found = max(found, verdict, key=lambda health: _WORST.get(health, 0))
    return found, max(weight, 0)


def _labels(service: Service, keys: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    pairs = dict(tag.split("=", 1) for tag in sorted(service.tags or ()) if "=" in tag) | (service.meta or {})
    return labels({key: pairs[key] for key in keys if pairs.get(key)})


def _metadata(entry: Entry, options: ParseOptions) -> dict[str, str]:
    """Return what rules may pick from. Consul reserves keys with `consul-` for itself, so none is hidden."""
    node, service = entry.node, entry.service
    found = {f"node.{key}": value for key, value in (node.meta or {}).items() if value}
    found |= service.meta or {}
    found = {key: value for key, value in sorted(found.items())[:_MAX_KEYS] if _is_fit(key, value)}
    own = {
        "consul-node": node.name,
        "consul-id": service.id,
        "consul-datacenter": node.datacenter,
        "consul-kind": service.kind,
        "consul-connect": "native" if service.connect and service.connect.native else "",
        "consul-proxy-for": service.proxy.destination_service_name if service.proxy else "",
        "consul-namespace": options.scope.namespace,
        "consul-partition": options.scope.partition,
        "consul-peer": options.scope.peer,
    }
    return found | {key: value for key, value in own.items() if value}


def _is_fit(key: str, value: str) -> bool:
    return len(value) <= _MAX_VALUE and not _SECRET.search(key)


def _metadata_notes(id_: str, service: Service) -> Iterable[Note]:
    meta = service.meta or {}
    if len(meta) > _MAX_KEYS or any(len(value) > _MAX_VALUE for value in meta.values()):
        yield Note(id_, f"metadata left out: at most {_MAX_KEYS} keys and {_MAX_VALUE} characters are taken")


def _locality(entry: Entry) -> str:
    place = entry.service.locality or entry.node.locality
    if place is not None and (place.region or place.zone):
        return f"{place.region}/{place.zone}" if place.zone else place.region
    zone = (entry.service.meta or {}).get("zone", "")
    return f"/{zone}" if zone and "/" not in zone else ""
