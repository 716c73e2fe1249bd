"""What a client asks of a list: filters and the long poll. Pure."""

import math
from collections.abc import Mapping

import msgspec

from meshbridge.bridge.admin.view import (
    ConflictStatus,
    HeldStatus,
    InstanceStatus,
    QuarantineStatus,
    ResourceStatus,
    ServiceStatus,
    SourceStatus,
)
from meshbridge.bridge.kubernetes.status import OutputStatus
from meshbridge.bridge.wording import did_you_mean, listing
from meshbridge.mcp.clients import ClientStatus

MAX_WAIT = 60.0
"""Seconds that a long poll lasts at most."""

Item = (
    ResourceStatus
    | ServiceStatus
    | ConflictStatus
    | SourceStatus
    | ClientStatus
    | OutputStatus
    | HeldStatus
    | InstanceStatus
    | QuarantineStatus
)

_POLL = frozenset({"generation", "wait"})
_FILTERS: Mapping[str, frozenset[str]] = {
    "sources": frozenset({"name", "source"}),
    "clients": frozenset({"name"}),
    "outputs": frozenset({"name"}),
    "held": frozenset({"name", "source"}),
    "instances": frozenset({"name", "source"}),
}
_ALL_FILTERS = frozenset({"name", "namespace", "source"})


class Query(msgspec.Struct, frozen=True):
    """The query string of a list, checked."""

    name: str = ""
    """Name of the item, or a host of it."""
    namespace: str = ""
    source: str = ""
    generation: int | None = None
    """The generation the client has."""
    wait: float = 0.0
    """Seconds to wait for a newer one."""


def parse_query(collection: str, given: Mapping[str, str]) -> Query:
    """Return the checked query string of a collection.

    Raises:
        ValueError: with what is wrong; an unknown filter is an error, since ignoring it shows too much.
    """
    filters = _FILTERS.get(collection, _ALL_FILTERS)
    for key in given.keys() - filters - _POLL:
        allowed = filters | _POLL
        raise ValueError(
            f'{collection} know no "{key}"{did_you_mean(key, allowed)}; known are {listing(allowed)}'
        )
    wait = _seconds(given.get("wait", "0"))
    if wait and "generation" not in given:
        raise ValueError('"wait" needs "generation", the one you have')
    return Query(
        name=given.get("name", ""),
        namespace=given.get("namespace", ""),
        source=given.get("source", ""),
        generation=_generation(given["generation"]) if "generation" in given else None,
        wait=min(wait, MAX_WAIT),
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f'"wait" is a number of seconds, not {text!r}')
    return seconds


def _generation(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ValueError(f'"generation" is a number from an earlier answer, not {text!r}')
    return int(text)


def matches(item: Item, query: Query) -> bool:
    """Whether an item is among those asked for."""
    if query.name and query.name not in names(item):
        return False
    if query.namespace and query.namespace != namespace(item):
        return False
    return not query.source or any(_is_part(source, query.source) for source in sources(item))


def names(item: Item) -> tuple[str, ...]:
    """Return what an item may be called: its name, and its hosts."""
    found: tuple[str, ...]
    match item:
        case ResourceStatus(object=shown):
            found = (shown["metadata"]["name"], *shown["spec"].get("hosts", ()))
        case ServiceStatus(name=name, host=host):
            found = (name, host)
        case ConflictStatus(host=host):
            found = (host,)
        case SourceStatus(name=name) | OutputStatus(name=name):
            found = (name,)
        case (
            HeldStatus(service=service, id=one, address=address)
            | InstanceStatus(service=service, id=one, address=address)
        ):
            found = (service, one, address)
        case QuarantineStatus(host=host, endpoint=one, address=address):
            found = (host, one, address)
        case ClientStatus(id=one):
            found = (one,)
    return found


def namespace(item: Item) -> str:
    """Return an item's namespace, "" for what has none."""
    if isinstance(item, ResourceStatus):
        return str(item.object["metadata"]["namespace"])
    return item.namespace if isinstance(item, ServiceStatus | ConflictStatus | QuarantineStatus) else ""


def sources(item: Item) -> tuple[str, ...]:
    """Return the sources an item comes from."""
    if isinstance(item, SourceStatus):
        return (item.name,)
    if isinstance(item, HeldStatus | InstanceStatus):
        return (item.source,)
    return () if isinstance(item, ClientStatus | OutputStatus) else tuple(item.sources)


def _is_part(source: str, wanted: str) -> bool:
    """Whether a source is the wanted one, or one of the parts (`name/part`) it was split into."""
    return source == wanted or source.startswith(f"{wanted}/")
