"""What is true now, as bytes: the sink that MCP clients are served from.

A resource is framed when it changes, a response is joined when a client first needs it, and from then on
every client gets the same bytes object until the next change. The cache lives on one event loop.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from typing import Protocol

import msgspec

from meshbridge.mcp import codec
from meshbridge.schemas.resource import (
    EMPTY_COLLECTION,
    EMPTY_SNAPSHOT,
    Kind,
    Publication,
    Resource,
    ResourceKey,
    diff,
)

_SLICE = 500
"""Resources framed in one go, 3 ms: the loop has other work too."""

_MAX_PUBLICATIONS = 512
"""How far back the times of registry events are known, for measuring how long changes take."""


class Answer(msgspec.Struct, frozen=True):
    """The whole content of one type, ready to be sent."""

    version: str
    nonce: str
    generation: int
    """Of the publication that last changed the type; 0 for types that we never fill."""
    body: bytes
    """A serialized DiscoveryResponse."""


class SnapshotReader(Protocol):
    """What a stream needs of the cache."""

    def versions(self, type_urls: Iterable[str]) -> dict[str, str]:
        """Return the newest version of each of these types, without those that are held."""

    def current(self, type_url: str) -> Answer | None:
        """Return the answer for a type, None while it is held. The bytes are shared: don't keep them."""

    def oldest_since(self, type_url: str, generation: int) -> Mapping[str, float]:
        """Return, per source, the oldest registry event that changed the type after a generation."""

    def wakes(self, event: asyncio.Event) -> AbstractContextManager[None]:
        """Set the event at every change for as long as the context lasts."""


class _Changes(msgspec.Struct, frozen=True):
    generation: int
    kinds: frozenset[Kind]
    oldest: Mapping[str, float]


class SnapshotCache:
    """The newest publication. Until the first `apply`, the kinds that we fill are held: not answered."""

    name = "mcp"

    def __init__(self) -> None:
        self._publication = Publication(0, EMPTY_SNAPSHOT, diff(EMPTY_SNAPSHOT, EMPTY_SNAPSHOT), {})
        self._frames: dict[Kind, dict[ResourceKey, bytes]] = {kind: {} for kind in Kind}
        self._changed_in = dict.fromkeys(Kind, 0)
        self._answers: dict[str, Answer] = {}
        self._recent: deque[_Changes] = deque(maxlen=_MAX_PUBLICATIONS)
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
        for key in delta.removed:
            self._frames[key.kind].pop(key, None)
        for key, frame in framed.items():
            self._frames[key.kind][key] = frame
        self._publication = publication
        kinds = frozenset(Kind) if last.generation == 0 else delta.kinds
        self._changed_in.update(dict.fromkeys(kinds, publication.generation))
        self._answers = {url: old for url, old in self._answers.items() if codec.kind_of(url) not in kinds}
        self._recent.append(_Changes(publication.generation, kinds, publication.oldest))
        for event in self._listeners:
            event.set()

    def versions(self, type_urls: Iterable[str]) -> dict[str, str]:
        """Return the newest version of each of these types, without those that are held."""
        snapshot, is_held = self._publication.snapshot, self.generation == 0
        kinds = ((url, codec.kind_of(url)) for url in type_urls)
        return {
            url: EMPTY_COLLECTION.version if kind is None else snapshot[kind].version
            for url, kind in kinds
            if kind is None or not is_held
        }

    def current(self, type_url: str) -> Answer | None:
        """Return the answer for a type, None while it is held. The bytes are shared by all clients."""
        kind = codec.kind_of(type_url)
        if kind is None:
            return _answer(type_url, EMPTY_COLLECTION.version, 0, ())
        if self.generation == 0:
            return None
        if type_url not in self._answers:
            version = self._publication.snapshot[kind].version
            frames = self._frames[kind].values()
            self._answers[type_url] = _answer(type_url, version, self._changed_in[kind], frames)
        return self._answers[type_url]

    def oldest_since(self, type_url: str, generation: int) -> Mapping[str, float]:
        """Return, per source, the oldest registry event that changed the type after a generation."""
        kind = codec.kind_of(type_url)
        oldest: dict[str, float] = {}
        for changes in reversed(self._recent):
            if changes.generation <= generation:
                break
            if kind in changes.kinds:
                for source, at in changes.oldest.items():
                    oldest[source] = min(at, oldest.get(source, at))
        return oldest

    @contextmanager
    def wakes(self, event: asyncio.Event) -> Iterator[None]:
        """Set the event at every change for as long as the context lasts."""
        self._listeners.add(event)
        try:
            yield
        finally:
            self._listeners.discard(event)


async def _frame_all(resources: Iterable[Resource]) -> dict[ResourceKey, bytes]:
    framed: dict[ResourceKey, bytes] = {}
    rest = iter(resources)
    while part := list(islice(rest, _SLICE)):
        if framed:
            await asyncio.sleep(0)
        framed.update((resource.key, codec.frame(resource)) for resource in part)
    return framed


def _answer(type_url: str, version: str, generation: int, frames: Iterable[bytes]) -> Answer:
    nonce = f"g{generation}"
    return Answer(version, nonce, generation, codec.response(type_url, version, nonce, frames))
