"""What the fields of a record must look like, whatever layout it is written in; all of it bounded."""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TypeVar, overload

import msgspec

from meshbridge.schemas import naming
from meshbridge.schemas.registry import Labels, labels

MAX_RECORD = 1 << 20
"""Bytes of one record: ZooKeeper's own default limit."""

_MAX_PORT = 65535
_MAX_TEXT = 253
_MAX_VALUE = 1024
_MAX_PAIRS = 64
_MAX_WEIGHT = 1_000_000_000
_PLAIN_IPV4 = re.compile(
    r"(?:22[0-3]|2[01][0-9]|1[0-9]{2}|[1-9][0-9]?)(?:\.(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])){3}"
)
"""Nearly every address: a tenth of the work of `ipaddress`. What it lets pass is none of the special ones."""
_SECRET_WORDS = ("token", "password", "passwd", "secret", "credential", "accesskey", "privatekey", "apikey")


_T = TypeVar("_T")


class Refused(ValueError):  # noqa: N818 - says what happened to the record
    """One record can't be taken; the text says why and holds no secret."""


@overload
def decoded(data: bytes) -> dict[str, object]: ...
@overload
def decoded(data: bytes, type_: type[_T]) -> _T: ...
def decoded(data: bytes, type_: type = dict[str, object]) -> object:
    """Return the JSON object in the bytes.

    Raises:
        Refused: there is none.
    """
    if len(data) > MAX_RECORD:
        raise Refused(f"it is larger than {MAX_RECORD} bytes")
    try:
        return msgspec.json.decode(data, type=type_)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Refused(f"it is no JSON object: {error}" if data else "it is empty") from error


def scalar(value: object) -> str:
    """Return a scalar as text, "" for nothing and for anything that is no scalar."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, int | float) else ""


def mapping(value: object) -> Mapping[str, object]:
    """Return a mapping as it is, and anything else as an empty one."""
    return value if isinstance(value, dict) else {}


def shown(value: object) -> str:
    """Return a value as it may stand in a message: short, on one line, without user and password."""
    text = repr(scalar(value).rpartition("@")[2])
    return text if len(text) <= 80 else text[:77] + "..."


def word(value: object) -> str:
    """Return a short printable text, "" for anything else."""
    text = scalar(value)
    return text if len(text) <= _MAX_TEXT and text.isprintable() else ""


def is_true(value: object) -> bool:
    """Tell whether a flag is set, as Java reads it."""
    return scalar(value).lower() == "true"


def port(value: object) -> int:
    """Return a port number.

    Raises:
        Refused: it is none from 1 to 65535.
    """
    if type(value) is int and 0 < value <= _MAX_PORT:
        return value
    text = scalar(value)
    if not text or text == "0":
        raise Refused("it has no port")
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535):
        raise Refused(f"port {shown(value)} is not a number from 1 to 65535")
    return int(text)


def address(value: object) -> str:
    """Return an IP address in its plain form, or a DNS name in lower case.

    A zone (`fd00::2%eth0`) names an interface of the machine that wrote it and is taken off.

    Raises:
        Refused: it is neither, or one that other machines can't reach.
    """
    text = scalar(value)
    if _PLAIN_IPV4.fullmatch(text):
        return text
    if not text:
        raise Refused("it has no address")
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return _host_name(text)
    if found.is_unspecified or found.is_multicast or (found.version == 6 and found.is_link_local):
        raise Refused(f"address {shown(text)} means nothing to other machines")
    return str(found)


def _host_name(text: str) -> str:
    name = text.lower().removesuffix(".")
    # A last label of digits alone is what is left of a mistyped IP address.
    is_name = naming.is_subdomain(name) and all(map(naming.is_dns_label, name.split(".")))
    if not is_name or name.rpartition(".")[2].isdigit():
        raise Refused(f"address {shown(text)} is neither an IP address nor a host name")
    return name


def weight(value: object, default: int | None = None) -> int | None:
    """Return a weight; `default` where there is none, or none that is a whole number from 0 up."""
    text = scalar(value)
    is_number = text.isascii() and text.isdigit() and len(text) <= 10
    return min(int(text), _MAX_WEIGHT) if is_number else default


def metadata(found: Mapping[str, object] | Iterable[tuple[str, object]]) -> dict[str, str]:
    """Return the scalars among the values, without secrets; the first 64, the texts cut at 1,024."""
    pairs = found.items() if isinstance(found, Mapping) else found
    kept: dict[str, str] = {}
    for key, value in pairs:
        text = scalar(value)
        if text and may_travel(key) and text.isprintable():
            kept[key] = text[:_MAX_VALUE]
            if len(kept) >= _MAX_PAIRS:
                break
    return kept


@lru_cache(maxsize=4096)  # Few keys, asked for with every record.
def may_travel(key: str) -> bool:
    """Tell whether a key is a short text that names no secret."""
    plain = key.lower().replace("-", "").replace("_", "").replace(".", "")
    return word(key) == key != "" and not any(part in plain for part in _SECRET_WORDS)


def mesh_labels(pairs: Mapping[str, str]) -> Labels:
    """Return the pairs that have a value, as the mesh may carry them."""
    return labels({key: naming.label_value(value) for key, value in pairs.items() if value})


def locality(known: Mapping[str, str]) -> str:
    """Return region/zone as far as the metadata has them under the usual names."""
    region = known.get("region", "")
    zone = known.get("zone", "") or known.get("az", "")
    if "/" in region + zone:
        return ""
    return f"{region}/{zone}" if zone else region
