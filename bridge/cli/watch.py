"""What changed between two readings of a list. Pure."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

from meshbridge.bridge.cli.kinds import Item, Listing


class Event(StrEnum):
    """What happened to an item."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


class Change(NamedTuple):
    """One item that is not as before."""

    event: Event
    item: Item
    """The item as it is, or as it last was."""


def changes(listing: Listing, before: Iterable[Item], after: Sequence[Item]) -> list[Change]:
    """Return what differs, in the order of the new list, deleted items last."""
    old = {listing.identity(item): item for item in before}
    found = []
    for item in after:
        known = old.pop(listing.identity(item), None)
        if known is None:
            found.append(Change(Event.ADDED, item))
        elif _steady(listing, known) != _steady(listing, item):
            found.append(Change(Event.MODIFIED, item))
    return [*found, *(Change(Event.DELETED, item) for item in old.values())]


def _steady(listing: Listing, item: Item) -> Item:
    if not listing.volatile:
        return item
    return {key: value for key, value in item.items() if key not in listing.volatile}
