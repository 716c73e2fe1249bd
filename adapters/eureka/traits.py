"""What instances have in common with others: ports, VIP names, metadata, zone. Pure, with bounded caches."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec

from meshbridge.adapters.eureka.payload import Raw
from meshbridge.schemas.registry import Labels, Port, labels

MAX_TEXT = 1_000
"""Longest value of metadata that is kept, in characters."""
MAX_PAIRS = 200
"""Most pairs of metadata of one instance."""
LEFT_OVER = "${"
"""A placeholder that a client's configuration did not resolve."""

_SECRET = re.compile(r"pass|secret|token|credential|private|api[._-]?key", re.IGNORECASE)


class Wiring(msgspec.Struct, frozen=True, gc=False):
    """What all instances of an application mostly have in common."""

    ports: tuple[Port, ...]
    vips: tuple[str, ...]
    locality: str
    """Amazon's zone, for instances whose metadata has none."""
    remarks: tuple[str, ...]
    refusal: str


class Words(msgspec.Struct, frozen=True, gc=False):
    """What an instance's metadata says."""

    labels: Labels
    metadata: Labels
    locality: str
    weight: int | None
    remarks: tuple[str, ...]


def read_wiring(port: Raw, secure_port: Raw, center: Raw, vip: str | None, secure_vip: str | None) -> Wiring:
    """Return what the ports, the data centre and the VIP names of a record say."""
    ports, refusal = _read_ports(bytes(port), bytes(secure_port))
    vips, remarks = _read_vips(vip, secure_vip)
    if not (ports or refusal):
        remarks = ("neither of its ports is enabled", *remarks)
    return Wiring(ports, vips, _amazon_zone(bytes(center)), remarks, refusal)


def read_words(metadata: bytes, label_keys: frozenset[str]) -> Words:
    """Return what metadata says; those named in `label_keys` become labels."""
    remarks: list[str] = []
    pairs = dict(_pairs(_object(metadata), remarks))
    weight = pairs.get("weight", "")
    return Words(
        labels=labels((key, value) for key, value in pairs.items() if key in label_keys),
        metadata=labels(pairs),
        locality=_locality(pairs.get("zone", "")),
        weight=int(weight) if weight.isdecimal() and weight.isascii() and len(weight) < 10 else None,
        remarks=tuple(remarks),
    )


@lru_cache(maxsize=10_000)
def _read_ports(plain: bytes, secure: bytes) -> tuple[tuple[Port, ...], str]:
    """Return the enabled ports of `port` and `securePort` and "", or nothing and why."""
    found = []
    for raw, name in ((plain, "http"), (secure, "https")):
        value = _decoded(raw)
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


def _read_vips(*lists: str | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names in lists joined by commas, each once, and remarks about those that are unresolved."""
    joined = ",".join(filter(None, lists)).lower()
    names = dict.fromkeys(filter(None, map(str.strip, joined.split(","))))
    if LEFT_OVER not in joined:
        return tuple(names), ()
    unresolved = [name for name in names if LEFT_OVER in name]
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
        elif LEFT_OVER in text:
            remarks.append(f"metadata {key[:80]!r} is unresolved")
        else:
            yield key, text


@lru_cache(maxsize=10_000)
def _amazon_zone(center: bytes) -> str:
    metadata = _object(center).get("metadata")
    zone = metadata.get("availability-zone") if isinstance(metadata, dict) else None
    return _locality(zone) if isinstance(zone, str) else ""


def _locality(zone: str) -> str:
    return "/" + zone.replace("/", "-") if zone else ""


def _object(raw: bytes) -> dict[str, Any]:
    found = _decoded(raw)
    return found if isinstance(found, dict) else {}


def _decoded(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return {}
