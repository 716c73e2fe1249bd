"""What a Eureka record means: status, address, ports, zone and metadata. Pure, with bounded caches."""

import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Any, TypeVar

import msgspec

from meshbridge.adapters.eureka.payload import Lease, Raw, Record, Refused
from meshbridge.schemas.registry import Health, Instance, Labels, Port, labels

OUT_OF_SERVICE = "OUT_OF_SERVICE"
UNKNOWN = "UNKNOWN"
DELETED = "DELETED"
MAX_TEXT = 1_000
"""Longest value of metadata that is kept, in characters."""
MAX_PAIRS = 200
"""Most pairs of metadata of one instance."""

_CONDITIONS: dict[str | None, tuple[str, Health]] = {
    "UP": ("UP", Health.READY),
    OUT_OF_SERVICE: (OUT_OF_SERVICE, Health.DRAINING),
    "STARTING": ("STARTING", Health.UNREADY),
    "DOWN": ("DOWN", Health.UNREADY),
    UNKNOWN: (UNKNOWN, Health.UNREADY),
}
_ACTIONS: dict[str | None, str] = {action: action for action in ("ADDED", "MODIFIED", DELETED)}
_SECRET = re.compile(r"pass|secret|token|credential|private|api[._-]?key", re.IGNORECASE)
_LEFT_OVER = "${"
"""A placeholder that a client's configuration did not resolve."""
_BYTE = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_IPV4 = re.compile(rf"(?!127\.|0\.)(?:{_BYTE}\.){{3}}{_BYTE}")
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_-]+)*\.?")
_MAX_CACHED = 50_000
_NO_LEASE = Lease()

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Entry(msgspec.Struct, frozen=True, gc=False):
    """An instance as one answer tells it. Times are milliseconds of the server's clock, 0 when unknown."""

    id: str
    status: str
    action: str = ""
    instance: Instance | None = None
    """None when the record can't be used."""
    refusal: str = ""
    remarks: tuple[str, ...] = ()
    vips: tuple[str, ...] = ()
    registered: int = 0
    updated: int = 0
    """By the server that answered: it orders what one server says."""
    dirty: int = 0
    """By the instance itself: it orders, roughly, what several servers say."""
    expires: int = 0
    """When the server may evict the instance, unless a heartbeat comes."""


class Traits(msgspec.Struct, frozen=True, gc=False):
    """What instances mostly have in common with others of their service."""

    ports: tuple[Port, ...]
    labels: Labels
    metadata: Labels
    locality: str
    weight: int | None
    remarks: tuple[str, ...]
    refusal: str


class Reader:
    """Makes entries of records; what was worked out for one is used for all that are alike."""

    def __init__(self, label_keys: Iterable[str]) -> None:
        self._label_keys = frozenset(label_keys)
        self._traits: dict[tuple[bytes, ...], Traits] = {}
        self._vips: dict[tuple[str | None, str | None], tuple[tuple[str, ...], tuple[str, ...]]] = {}

    def read(self, record: Record | Refused) -> Entry:
        """Return what a record says, or why it can't be used."""
        if isinstance(record, Refused):
            status, _ = _condition(record.status, None)
            return Entry(record.id, status, record.action, refusal=record.reason)
        status, health = _condition(record.status, record.overridden or record.overridden_old)
        traits = self._traits_of(record)
        vips, remarks = self._vips_of(record)
        name = record.instance_id or record.host_name or record.ip or ""
        address, refusal = _address(record)
        refusal = refusal or traits.refusal or ("" if name else "it has neither instanceId nor hostName")
        instance = None
        if not refusal:
            instance = Instance(
                name,
                address,
                traits.ports,
                traits.labels,
                traits.metadata,
                locality=traits.locality,
                weight=traits.weight,
                health=health,
            )
        lease = record.lease or _NO_LEASE
        return Entry(
            name,
            status,
            _ACTIONS.get(record.action, ""),
            instance,
            refusal,
            traits.remarks + remarks if remarks else traits.remarks,
            vips,
            registered=lease.registered,
            updated=_milliseconds(record.updated),
            dirty=_milliseconds(record.dirty),
            expires=lease.renewed and lease.renewed + lease.duration * 1000,
        )

    def _traits_of(self, record: Record) -> Traits:
        key = (
            bytes(record.metadata),
            bytes(record.port),
            bytes(record.secure_port),
            bytes(record.data_center),
        )
        found = self._traits.get(key)
        if found is None:
            found = _bounded(self._traits)[key] = self._read_traits(record)
        return found

    def _vips_of(self, record: Record) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the VIP names, and what is wrong with others."""
        key = (record.vip, record.secure_vip)
        found = self._vips.get(key)
        if found is None:
            found = _bounded(self._vips)[key] = _read_vips(*key)
        return found

    def _read_traits(self, record: Record) -> Traits:
        remarks: list[str] = []
        pairs = dict(_pairs(_object(record.metadata), remarks))
        ports, refusal = _read_ports(_decoded(bytes(record.port)), _decoded(bytes(record.secure_port)))
        if not (ports or refusal):
            remarks.append("neither of its ports is enabled")
        weight = pairs.get("weight", "")
        zone = pairs.get("zone") or _amazon_zone(_object(record.data_center))
        return Traits(
            ports=ports,
            labels=labels((key, value) for key, value in pairs.items() if key in self._label_keys),
            metadata=labels(pairs),
            locality="/" + zone.replace("/", "-") if zone else "",
            weight=int(weight) if weight.isdecimal() and weight.isascii() and len(weight) < 10 else None,
            remarks=tuple(remarks),
            refusal=refusal,
        )


def _read_ports(plain: Any, secure: Any) -> tuple[tuple[Port, ...], str]:
    """Return the enabled ports of `port` and `securePort` and "", or nothing and why."""
    found = []
    for value, name in ((plain, "http"), (secure, "https")):
        if value is None or (isinstance(value, dict) and not _is_enabled(value.get("@enabled", "true"))):
            continue
        number = _port_number(value.get("$") if isinstance(value, dict) else value)
        if number is None:
            return (), f"its {name} port is no number from 1 to 65535"
        found.append(Port(name, number, name, tls=name == "https"))
    return tuple(found), ""


def _port_number(value: Any) -> int | None:
    if isinstance(value, str) and value.isdecimal() and value.isascii() and len(value) < 6:
        value = int(value)
    return value if type(value) is int and 0 < value < 65536 else None


def _is_enabled(value: Any) -> bool:
    return str(value).lower() == "true"


def _address(record: Record) -> tuple[str, str]:
    """Return the address to use and "", or "" and why there is none."""
    ip = record.ip or ""
    if _IPV4.fullmatch(ip):
        return ip, ""
    host = record.host_name or ""
    parsed = _ip(ip)
    if parsed is not None and not (parsed.is_loopback or parsed.is_unspecified):
        return str(parsed), ""
    host_ip = _ip(host)
    if host_ip is not None or (_HOST.fullmatch(host) and _LEFT_OVER not in host):
        return (str(host_ip) if host_ip else host.lower()), ""
    if parsed is not None and parsed.is_loopback:
        return str(parsed), ""
    return "", f"neither ipAddr {ip[:80]!r} nor hostName {host[:80]!r} is an address"


def _ip(text: str) -> Any:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _condition(status: str | None, overridden: str | None) -> tuple[str, Health]:
    """Return the status as servers store it (a word they don't know is UNKNOWN), and what it means."""
    known = _CONDITIONS.get(status)
    if known is None:
        return UNKNOWN, Health.DRAINING if overridden == OUT_OF_SERVICE else Health.UNREADY
    if overridden == OUT_OF_SERVICE and status in ("UP", UNKNOWN):
        return known[0], Health.DRAINING
    return known


def _milliseconds(value: str | int | None) -> int:
    try:
        return int(value or 0)
    except ValueError:
        return 0


def _read_vips(*lists: str | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names in lists joined by commas, each once, and remarks about those that are unresolved."""
    joined = ",".join(filter(None, lists)).lower().split(",")
    names = list(dict.fromkeys(filter(None, map(str.strip, joined))))
    unresolved = [name for name in names if _LEFT_OVER in name]
    return (
        tuple(name for name in names if name not in unresolved),
        tuple(f"VIP name {name[:80]!r} is unresolved" for name in unresolved),
    )


def _pairs(metadata: dict[str, Any], remarks: list[str]) -> Iterator[tuple[str, str]]:
    """Yield what may be kept of metadata: short texts, resolved, and no secrets."""
    for count, (key, value) in enumerate(sorted(metadata.items())):
        if count >= MAX_PAIRS:
            remarks.append(f"more than {MAX_PAIRS} pairs of metadata")
            return
        if key.startswith("@") or _SECRET.search(key) or value is None:
            continue
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if isinstance(value, dict | list) or len(text) > MAX_TEXT:
            remarks.append(f"metadata {key[:80]!r} is no short text")
        elif _LEFT_OVER in text:
            remarks.append(f"metadata {key[:80]!r} is unresolved")
        else:
            yield key, text


def _amazon_zone(data_center: dict[str, Any]) -> str:
    metadata = data_center.get("metadata")
    zone = metadata.get("availability-zone") if isinstance(metadata, dict) else None
    return zone if isinstance(zone, str) else ""


def _object(raw: Raw) -> dict[str, Any]:
    found = _decoded(bytes(raw))
    return found if isinstance(found, dict) else {}


def _decoded(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return {}


def _bounded(cache: dict[_Key, _Value]) -> dict[_Key, _Value]:
    if len(cache) >= _MAX_CACHED:
        cache.clear()
    return cache
