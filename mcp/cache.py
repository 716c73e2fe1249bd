"""What is true now, as bytes: the sink that MCP clients are served from.

A resource is framed when it changes, a response is joined when a client first needs it, and from then on
every client that may see the same gets the same bytes object until the next change. The cache lives on one
event loop.
"""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from typing import Protocol
from weakref import WeakValueDictionary

from meshbridge.mcp import codec
from meshbridge.mcp.content import Framed
from meshbridge.mcp.view import EVERYTHING, Answer, Scopes, View
from meshbridge.schemas.resource import EMPTY_SNAPSHOT, Publication, Resource, diff

_SLICE = 500
"""Resources framed in one go, 3 ms: the loop has other work too."""


class SnapshotReader(Protocol):
    """What a stream needs of the cache."""

    def view(self, scopes: Scopes) -> View:
        """Return what these scopes allow; it stays true."""

    def wakes(self, event: asyncio.Event) -> AbstractContextManager[None]:
        """Set the event at every change for as long as the context lasts."""


class SnapshotCache:
    """The newest publication. Until the first `apply`, the kinds that we fill are held: not answered."""

    name = "mcp"

    def __init__(self) -> None:
        self._publication = Publication(0, EMPTY_SNAPSHOT, diff(EMPTY_SNAPSHOT, EMPTY_SNAPSHOT), {})
        self._whole = View()
        self._views: WeakValueDictionary[Scopes, View] = WeakValueDictionary({EVERYTHING: self._whole})
        self._listeners: set[asyncio.Event] = set()

    @property
    def generation(self) -> int:
        """Number of the newest publication applied, 0 before the first."""
        return self._publication.generation

    async def apply(self, publication: Publication) -> None:
        """Serve this publication from now on; one that is not newer changes nothing.

        Calls must not overlap. Nothing is visible before all of it is.
        """
        last = self._publication
        if publication.generation <= last.generation:
            return
        delta = publication.delta
        if publication.generation != last.generation + 1 or last.generation == 0:
            delta = diff(last.snapshot, publication.snapshot)  # We missed some, or start.
        framed = await _frame_all((*delta.added, *delta.changed))
        self._publication = publication
        for view in list(self._views.values()):
            view.apply(publication.generation, framed, delta.removed, publication.oldest)
        for event in self._listeners:
            event.set()

    def view(self, scopes: Scopes = EVERYTHING) -> View:
        """Return what these scopes allow; it stays true for as long as somebody has it."""
        view = self._views.get(scopes)
        if view is None:
            view = self._views[scopes] = self._whole.narrowed(scopes)
        return view

    def versions(self, type_urls: Iterable[str]) -> dict[str, str]:
        """Return the newest version of each of these types, without those that are held."""
        return self._whole.versions(type_urls)

    def current(self, type_url: str) -> Answer | None:
        """Return the answer for a type, None while it is held. The bytes are shared by all clients."""
        return self._whole.current(type_url)

    @contextmanager
    def wakes(self, event: asyncio.Event) -> Iterator[None]:
        """Set the event at every change for as long as the context lasts."""
        self._listeners.add(event)
        try:
            yield
        finally:
            self._listeners.discard(event)


async def _frame_all(resources: Iterable[Resource]) -> list[Framed]:
    framed: list[Framed] = []
    rest = iter(resources)
    while part := list(islice(rest, _SLICE)):
        if framed:
            await asyncio.sleep(0)
        framed += [Framed(found.key, found.version, codec.frame(found)) for found in part]
    return framed
