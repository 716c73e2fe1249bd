"""The lists that tell of changes, and which services a change in them touches. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from meshbridge.adapters.consul.payload import matches_any
from meshbridge.adapters.consul.records import Check, NodeAddress
from meshbridge.schemas.errors import PayloadError

Catalog = Mapping[str, frozenset[str] | None]
"""Tags by service, perhaps none. Their order varies from answer to answer."""

Nodes = Mapping[str, NodeAddress]
"""Nodes by name."""

Checks = frozenset["FailingCheck"]

_catalog = msgspec.json.Decoder(dict[str, frozenset[str] | None])
_nodes = msgspec.json.Decoder(list[NodeAddress])
_checks = msgspec.json.Decoder(list[Check])


class _Stream(msgspec.Struct):
    imported: list[str] | None = msgspec.field(name="ImportedServices", default=None)


class _Peering(msgspec.Struct):
    state: str = msgspec.field(name="State", default="")
    stream: _Stream = msgspec.field(name="StreamStatus", default_factory=_Stream)


_peering = msgspec.json.Decoder(_Peering)


class FailingCheck(NamedTuple):
    """What tells a check in a state list from the others; its output doesn't."""

    node: str
    check: str
    service: str
    """"" for a check of the node."""


def parse_catalog(body: bytes) -> Catalog:
    """Return the services of the catalog.

    Raises:
        PayloadError: it is no catalog.
    """
    try:
        found = _catalog.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise PayloadError("catalog/services", f"not usable: {error}") from error
    found.pop("", None)
    return found


def parse_imported(body: bytes) -> Catalog:
    """Return the services imported from a peer, by `/v1/peering/NAME`.

    Raises:
        PayloadError: it is no peering, or none whose services are known yet.
    """
    try:
        found = _peering.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise PayloadError("peering", f"not usable: {error}") from error
    names = found.stream.imported or ()
    if not names and found.state != "ACTIVE":  # A new leader knows none until the peer has told it.
        raise PayloadError("peering", f"it is {found.state or 'unknown'} and lists no services")
    return dict.fromkeys(names)


def parse_nodes(body: bytes) -> Nodes:
    """Return the nodes of the catalog.

    Raises:
        PayloadError: it is no list of nodes.
    """
    try:
        return {node.name: node for node in _nodes.decode(body)}
    except (msgspec.DecodeError, RecursionError) as error:
        raise PayloadError("catalog/nodes", f"not usable: {error}") from error


def parse_checks(body: bytes) -> Checks:
    """Return the checks that are in a state.

    Raises:
        PayloadError: it is no list of checks.
    """
    try:
        found = _checks.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise PayloadError("health/state", f"not usable: {error}") from error
    return frozenset(FailingCheck(check.node, check.check_id, check.service_name) for check in found)


def wanted(names: Iterable[str], include: Sequence[str], exclude: Sequence[str]) -> frozenset[str]:
    """Return the names of the services that the configuration wants."""
    return frozenset(
        name
        for name in names
        if (not include or matches_any((name,), include)) and not matches_any((name,), exclude)
    )


def differing(before: Catalog, now: Catalog) -> set[str]:
    """Return the services that came, went, or have other tags."""
    other = {name for name, tags in now.items() if name not in before or before[name] != tags}
    return other | (before.keys() - now.keys())


def differing_nodes(before: Nodes, now: Nodes) -> set[str]:
    """Return the nodes that came, went, or have another address or metadata."""
    return {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}


def touched(before: Checks, now: Checks) -> tuple[set[str], set[str]]:
    """Return the services, and the nodes with all their services, whose checks changed their state."""
    changed = before ^ now
    services = {check.service for check in changed if check.service}
    return services, {check.node for check in changed if not check.service}
