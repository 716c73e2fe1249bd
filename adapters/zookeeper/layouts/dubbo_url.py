"""Dubbo's URLs, as they stand percent-encoded in the names of nodes.

`dubbo://10.4.0.7:20880/com.acme.OrderService?application=orders&version=1.2.0`, encoded as Java's
URLEncoder does it (org.apache.dubbo.common.URL).
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote_plus, unquote_plus

import msgspec

from meshbridge.adapters.zookeeper.layouts.fields import Refused

MAX_URL = 64 * 1024
"""Characters of an encoded URL; real ones have some hundreds."""
MAX_PARAMETERS = 512
"""Parameters of one URL."""

_USUAL = re.compile(r"([a-z][a-z0-9]{0,62})%3A%2F%2F([A-Za-z0-9.-]+)%3A([0-9]{1,5})(?=%2F|%3F)")
_NEW_AT_EVERY_START = ("%26pid%3D", "%26timestamp%3D")
_PROTOCOL = re.compile(r"[a-z][a-z0-9+.-]{0,62}", re.IGNORECASE)
_END_OF_PLACE = re.compile(r"[?&=%]")
NO_VERSION = "0.0.0"
"""A version that means none."""

_ANY = "*"


class DubboUrl(msgspec.Struct, frozen=True, gc=False):
    """A parsed URL. `parameters` is never mutated."""

    protocol: str
    host: str
    """As written: an address, a name, "" for none; IPv6 without brackets."""
    port: int
    """0 where there is none."""
    path: str
    parameters: Mapping[str, str]

    def get(self, key: str) -> str:
        """Return a parameter, "" for none."""
        return self.parameters.get(key, "")


class Usual(NamedTuple):
    """A name of the usual form, cut where what is the same for all instances of a service begins."""

    protocol: str
    host: str
    port: int
    terms: str
    """Path and parameters, still encoded, without what is new at every start of a process."""


def usual(name: str) -> Usual | None:
    """Return the parts of a name, None for one that only `parse` can tell what it is.

    It costs a tenth of `parse`: thousands of names differ in nothing but their place.
    """
    found = _USUAL.match(name)
    if found is None or len(name) > MAX_URL:
        return None
    terms = name[found.end() :]
    for key in _NEW_AT_EVERY_START:
        start = terms.find(key)
        if start >= 0:
            end = terms.find("%26", start + 3)
            terms = terms[:start] + terms[end:] if end >= 0 else terms[:start]
    protocol, host, port = found.groups()
    return Usual(protocol, host, int(port), terms)


class Naming(NamedTuple):
    """The parameters that say which service a provider belongs to, "" for none; and its protocol."""

    application: str
    group: str
    version: str
    protocol: str


def naming(name: str, parts: Usual | None) -> Naming:
    """Return what names the service of a provider, without reading all of its URL where that can be.

    Args:
        name: the node's name.
        parts: what `usual` says of it.

    Raises:
        Refused: it is no URL.
    """
    if parts:
        return _naming(parts.protocol, parts.terms)
    found = parse(name)
    return _named(found.protocol, found.parameters)


@lru_cache(maxsize=256)  # The names of one service come one after the other.
def _naming(protocol: str, terms: str) -> Naming:
    query = decode(terms).partition("?")[2]
    if query.count("&") >= MAX_PARAMETERS:
        return _named(protocol, _parameters(query))
    # Pairs without a key or a separator count for nothing, and of several with one key the last counts.
    return _named(protocol, {key: _last(query, key) for key in ("application", "group", "version")})


def _named(protocol: str, found: Mapping[str, str]) -> Naming:
    version = found.get("version", "")
    version = "" if version == NO_VERSION else version
    return Naming(found.get("application", ""), found.get("group", ""), version, protocol)


def _last(query: str, key: str) -> str:
    start = f"&{query}".rfind(f"&{key}=")
    return query[start + len(key) + 1 :].partition("&")[0] if start >= 0 else ""


@lru_cache(maxsize=64)  # An unusual name is asked for its service first, and for all it says right after.
def parse(name: str) -> DubboUrl:
    """Return the URL that the name of a node says.

    Raises:
        Refused: it is none.
    """
    if len(name) > MAX_URL:
        raise Refused(f"its name is longer than {MAX_URL} characters")
    whole = decode(name)
    place, _, query = whole.partition("?")
    protocol, separator, rest = place.partition("://")
    if not separator or not _PROTOCOL.fullmatch(protocol):
        raise Refused("its name is no URL")
    authority, _, path = rest.partition("/")
    host, port = _split(authority.rpartition("@")[2])
    return DubboUrl(protocol.lower(), host, port, path, _parameters(query))


def decode(name: str) -> str:
    """Return a percent-encoded name in plain text; broken escapes stay as they are."""
    # The usual escapes first: that is five times as fast as splitting at every one of them.
    if "%25" not in name and "+" not in name:
        name = (
            name.replace("%3A", ":").replace("%2F", "/").replace("%3F", "?").replace("%3D", "=")
            .replace("%26", "&").replace("%2C", ",")
        )  # fmt: skip
    return unquote_plus(name) if "%" in name or "+" in name else name


def encode(text: str) -> str:
    """Return a text percent-encoded as Java's URLEncoder does it."""
    return quote_plus(text, safe="*").replace("~", "%7E")


def place_of(name: str) -> str:
    """Return what of a name may be shown: protocol, host and port, without parameters and user."""
    plain = _END_OF_PLACE.split(decode(name[:MAX_URL]), maxsplit=1)[0]
    protocol, separator, rest = plain.partition("://")
    return f"{protocol}{separator}{rest.rpartition('@')[2].partition('/')[0]}"[:120]


def matches(wanted: str, has: str) -> bool:
    """Tell whether a rule's group or version is this one; `*` is any."""
    return wanted in (_ANY, has)


def _split(authority: str) -> tuple[str, int]:
    if authority.startswith("["):
        host, _, rest = authority[1:].partition("]")
        text = rest.removeprefix(":")
    elif authority.count(":") > 1:
        # Dubbo writes IPv6 addresses without brackets: the last part is the port.
        host, _, text = authority.rpartition(":")
    else:
        host, _, text = authority.partition(":")
    is_number = text.isascii() and text.isdigit() and len(text) <= 5
    if text and not is_number:
        raise Refused("its port is no number")
    return host, int(text) if text else 0


def _parameters(query: str) -> Mapping[str, str]:
    pairs = query.split("&", MAX_PARAMETERS)[:MAX_PARAMETERS] if query else []
    found = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if key and separator:
            found[key] = value
    if found.get("version") == NO_VERSION:
        del found["version"]
    return found
