"""What a sink is: something that makes a snapshot true somewhere else."""

from typing import Protocol

from meshbridge.schemas.resource import (
    EMPTY_SNAPSHOT,
    Publication,
    Resource,
    ResourceKey,
    Snapshot,
    replace,
)


class Sink(Protocol):
    """Takes publications. Applying one twice is applying it once; what is not ours is never touched."""

    @property
    def name(self) -> str:
        """The sink's name in metrics and messages."""

    async def apply(self, publication: Publication) -> None:
        """Accept the newest snapshot; publications come in order.

        Raises:
            SinkError: it was not taken.
        """


class Share:
    """Gives a sink only the resources that are meant for it. Work follows change, as everywhere."""

    def __init__(self, sink: Sink, output: str) -> None:
        self._sink = sink
        self._output = output
        self._snapshot: Snapshot = EMPTY_SNAPSHOT

    @property
    def name(self) -> str:
        """The sink's name."""
        return self._sink.name

    async def apply(self, publication: Publication) -> None:
        """Hand on the sink's share.

        Raises:
            SinkError: it was not taken.
        """
        delta = publication.delta
        changes: dict[ResourceKey, Resource | None] = dict.fromkeys(delta.removed)
        for found in (*delta.added, *delta.changed):
            changes[found.key] = found if found.output == self._output else None
        snapshot, share = replace(self._snapshot, changes)
        if share or publication.generation == 1:
            self._snapshot = snapshot
            await self._sink.apply(Publication(publication.generation, snapshot, share, publication.oldest))
