"""What a sink is: something that makes a snapshot true somewhere else."""

from typing import Protocol

from meshbridge.schemas.resource import Publication


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
