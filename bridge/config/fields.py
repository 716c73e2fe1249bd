"""Types of single configuration values."""

import ipaddress
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from meshbridge.bridge.pipeline.pattern import compile_pattern
from meshbridge.bridge.pipeline.template import compile_template
from meshbridge.bridge.pipeline.variables import is_of_group
from meshbridge.schemas.naming import is_label_value

MAX_PORT = 65535
MAX_PREFIX = 16
"""Bits that a range of virtual addresses may fix: in smaller ones too many services would collide."""


def split_listen(listen: str) -> tuple[str, int]:
    """Return host and port of `127.0.0.1:80`, `[::1]:80`, `localhost:80`, or `:80` (every address).

    Raises:
        ValueError: it is none of these.
    """
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > MAX_PORT:
        raise ValueError(f'"{listen}" is not an address to listen on; write HOST:PORT, e.g. 127.0.0.1:16010')
    if host.startswith("[") and host.endswith("]"):
        host = str(ipaddress.IPv6Address(host[1:-1]))
    elif ":" in host:
        raise ValueError(f'"{listen}" needs brackets around its IPv6 address: [{host}]:{port}')
    return host, int(port)


def is_loopback(listen: str) -> bool:
    """Whether only this machine can reach the address."""
    host, _ = split_listen(listen)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(text: str) -> str:
    split_listen(text)
    return text


def _template(text: str) -> str:
    compile_template(text)
    return text


def _group_template(text: str) -> str:
    for name in compile_template(text).variables():
        if not is_of_group(name):
            raise ValueError(
                f'"{{{name}}}" may differ between the instances of a service; here only '
                "{service}, {source}, {part}, {namespace} and {attributes.KEY} are known"
            )
    return text


def _weight(value: object) -> object:
    """Return the value as a number, or as a template of one."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise PydanticCustomError("weight", "must be a number, or a template that gives one")
    if isinstance(value, str):
        return _template(value)
    if not 1 <= value < 1 << 31:
        raise ValueError(f"{value} is not a weight, which is a number from 1 to {(1 << 31) - 1}")
    return value


def _label_value(text: str) -> str:
    if not is_label_value(text):
        raise ValueError(f'"{text}" is not a revision; allowed are at most 63 letters, digits, "-", "_", "."')
    return text


def _range(text: str) -> str:
    try:
        found = ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f'"{text}" is not a network: {error}') from None
    if found.version != 4 or found.prefixlen > MAX_PREFIX:
        raise ValueError(f'"{text}" is not an IPv4 network of at least /{MAX_PREFIX}')
    return text


def _as_tuple(value: object) -> object:
    if isinstance(value, list | tuple):
        return tuple(value)
    if not isinstance(value, str):
        raise PydanticCustomError("patterns", "must be a text or a list of texts; put numbers in quotes")
    return (value,)


def _ports(value: object) -> object:
    """Return the value with numbers as text: ports are matched by name or number."""
    if isinstance(value, list | tuple):
        return tuple(_checked_port(one) for one in value)
    return _as_tuple(_checked_port(value))


def _checked_port(value: object) -> object:
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if not 0 < value <= MAX_PORT:
        raise ValueError(f"{value} is not a port, which is a number from 1 to {MAX_PORT}")
    return str(value)


def _pattern(text: str) -> str:
    compile_pattern(text)
    return text


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f'"{text}" is not an IP address or CIDR: {error}') from None
    return text


def _no_switch(value: object) -> object:
    """Return the value unless it is a boolean, which would count as 0 or 1."""
    if isinstance(value, bool):
        raise PydanticCustomError("number", "must be a number")
    return value


_ONE_OR_MANY = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_PORTS = {
    "anyOf": [
        {"type": ["string", "integer"]},
        {"type": "array", "items": {"type": ["string", "integer"]}},
    ]
}

Listen = Annotated[str, AfterValidator(_listen)]
"""An address to listen on, `HOST:PORT`; port 0 takes any free one."""

TemplateText = Annotated[str, AfterValidator(_template)]
"""A text with variables in braces."""

Patterns = Annotated[
    tuple[Annotated[str, AfterValidator(_pattern)], ...],
    BeforeValidator(_as_tuple),
    WithJsonSchema(_ONE_OR_MANY),
]
"""Exact texts, globs or /regular expressions/, one or a list of them; any may match, empty matches all."""

PortPatterns = Annotated[
    tuple[Annotated[str, AfterValidator(_pattern)], ...],
    BeforeValidator(_ports),
    WithJsonSchema(_PORTS),
]
"""Like `Patterns`, for the name or the number of a port; numbers are kept as text."""

Networks = Annotated[
    tuple[Annotated[str, AfterValidator(_network)], ...],
    BeforeValidator(_as_tuple),
    WithJsonSchema(_ONE_OR_MANY),
]
"""IP addresses or CIDRs, one or a list of them."""

PortNumber = Annotated[int, Field(ge=1, le=MAX_PORT), BeforeValidator(_no_switch)]

Percent = Annotated[float, Field(ge=0, le=100), BeforeValidator(_no_switch)]

Weight = Annotated[int | str, BeforeValidator(_weight)]
"""A number, or a template that gives one."""

GroupTemplateText = Annotated[str, AfterValidator(_group_template)]
"""A text with variables that are the same for all instances of a service."""

Revision = Annotated[str, AfterValidator(_label_value)]
"""A revision of istiod: the value of the label `istio.io/rev`."""

AddressRange = Annotated[str, AfterValidator(_range)]
"""An IPv4 network to take virtual addresses from."""

Count = Annotated[int, Field(ge=1), BeforeValidator(_no_switch)]

Protocol = Literal[
    "auto",
    "tcp",
    "udp",
    "tls",
    "http",
    "http2",
    "https",
    "grpc",
    "grpc-web",
    "mongo",
    "mysql",
    "redis",
]
"""A protocol as Istio knows it, lower-case; `auto` leaves it to proxies to find out."""
