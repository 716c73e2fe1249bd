"""What the fields of a record must look like, whatever the format they were written in."""

import ipaddress
from collections.abc import Mapping
from enum import StrEnum

from meshbridge.schemas import naming
from meshbridge.schemas.registry import Health

MAX_TEXT = 253
"""Characters in any name."""

_PROTOCOLS = ("grpc-web", "http2", "https", "http", "grpc", "tcp", "tls", "udp", "mongo", "mysql", "redis")


class Reason(StrEnum):
    """Why something was refused: the few words that metrics know."""

    ADDRESS = "address"
    PORT = "port"
    FIELD = "field"
    LABEL = "label"
    SERVICE = "service"
    DUPLICATE = "duplicate"
    UNKNOWN_KEY = "unknown_key"
    UNKNOWN_KIND = "unknown_kind"
    SECRET = "secret"  # noqa: S105 - a word for "an encrypted value stands where a plain one is needed"


class Refused(ValueError):  # noqa: N818 - says what happened to the record
    """One record, or one part of it, can't be taken."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text


def as_text(value: object) -> str:
    """Return a scalar as text, "" for nothing and for anything that is not a scalar."""
    if isinstance(value, str):  # The usual case first: this runs several times for each of 100,000 records.
        return value.strip()
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else ""


def shown(value: object) -> str:
    """Return a value as it may stand in a message: short, on one line."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def word(value: object, field: str) -> str:
    """Return a short text without control characters; "" for nothing.

    Raises:
        Refused: it is a list or mapping, too long, or not printable.
    """
    if value is None or value == "":
        return ""
    text = as_text(value)
    if not isinstance(value, str | int):
        raise Refused(Reason.FIELD, f"{field} {shown(value)} is not a text")
    if len(text) > MAX_TEXT or not text.isprintable():
        raise Refused(Reason.FIELD, f"{field} {shown(text)} is longer than {MAX_TEXT} or not printable")
    return text


def service(value: object) -> str:
    """Return the name of a service.

    Raises:
        Refused: there is none, or it can't be one.
    """
    text = word(value, "service")
    if not text:
        raise Refused(Reason.SERVICE, "it names no service")
    return text


def altered_names(host: str, namespace: str) -> list[str]:
    """Return a sentence for each of a service's own names that the mesh gets in another form."""
    remarks = []
    legal = naming.host(host) if host else ""
    if legal != host.lower().removesuffix("."):
        remarks.append(f"host {shown(host)} can't be that of a mesh service: it becomes {legal}")
    label = naming.dns_label(namespace) if namespace else ""
    if label != namespace:
        remarks.append(f"namespace {shown(namespace)} is not one Kubernetes takes: it becomes {label}")
    return remarks


def bare_address(text: str) -> str:
    """Return the text without the brackets of an IPv6 address."""
    return text[1:-1] if text.startswith("[") and text.endswith("]") else text


def address(value: object) -> str:
    """Return an IP address in its plain form, or a DNS name in lower case.

    Raises:
        Refused: it is neither.
    """
    text = bare_address(as_text(value))
    if not text:
        raise Refused(Reason.ADDRESS, "it has no address")
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return _host_name(text)
    if getattr(found, "scope_id", None):
        raise Refused(Reason.ADDRESS, f"address {shown(text)} has a zone, which other machines can't use")
    return str(found)


def _host_name(text: str) -> str:
    name = text.lower().removesuffix(".")
    # A last label of digits alone is what is left of a mistyped IP address.
    is_name = naming.is_subdomain(name) and all(map(naming.is_dns_label, name.split(".")))
    if not is_name or name.rpartition(".")[2].isdigit():
        raise Refused(Reason.ADDRESS, f"address {shown(text)} is neither an IP address nor a host name")
    return name


def port(value: object) -> int:
    """Return a port number.

    Raises:
        Refused: it is none from 1 to 65535.
    """
    text = as_text(value)
    if not text:
        raise Refused(Reason.PORT, "it has no port")
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535):
        raise Refused(Reason.PORT, f"port {shown(value)} is not a number from 1 to 65535")
    return int(text)


def port_name(value: str) -> str:
    """Return the name of a port.

    Raises:
        Refused: it is not a DNS label.
    """
    if not naming.is_dns_label(value.lower()):
        raise Refused(Reason.PORT, f"port name {shown(value)} is not a DNS label")
    return value


def protocol(value: object) -> str:
    """Return a protocol in lower case, "" for none.

    Raises:
        Refused: it is no single word.
    """
    text = word(value, "protocol").lower()
    if text and not naming.is_dns_label(text):
        raise Refused(Reason.FIELD, f"protocol {shown(value)} is not one word")
    return text


def protocol_of_port_name(name: str) -> str:
    """Return what Istio reads from a port name such as `http` or `grpc-admin`, "" for nothing."""
    for known in _PROTOCOLS:
        if name == known or name.startswith(known + "-"):
            return known
    return ""


def weight(value: object) -> int | None:
    """Return a weight, None for none.

    Raises:
        Refused: it is not a whole number from 0 up.
    """
    text = as_text(value)
    if value is None or text == "":
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise Refused(Reason.FIELD, f"weight {shown(value)} is not a whole number from 0 to 999999999")
    return int(text)


def health(value: object) -> Health:
    """Return a health, UNKNOWN for none.

    Raises:
        Refused: it is not one of the words.
    """
    text = as_text(value).lower()
    if not text and value in (None, ""):
        return Health.UNKNOWN
    if text not in set(Health):
        raise Refused(Reason.FIELD, f"health {shown(value)} is none of {', '.join(Health)}")
    return Health(text)


def labels(wanted: Mapping[str, object]) -> tuple[dict[str, str], list[str]]:
    """Return the labels that Istio takes, and a sentence for every other one."""
    kept = {}
    remarks = []
    for key, value in wanted.items():
        text = as_text(value)
        if not naming.is_label_key(key):
            remarks.append(f"label {shown(key)} is left out: its name is not one Istio takes")
        elif not isinstance(value, str | int) or not naming.is_label_value(text):
            remarks.append(f"label {key} is left out: Istio does not take the value {shown(value)}")
        else:
            kept[key] = text
    return kept, remarks
