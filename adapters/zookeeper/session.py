"""What the adapter needs of ZooKeeper: a connection that reads in bulk and tells what changes."""

from collections.abc import Mapping, Sequence
from enum import Enum, IntEnum
from typing import NamedTuple, Protocol


class Refusal(Enum):
    """Why one node was not read."""

    MISSING = "missing"
    DENIED = "denied"


class Content(NamedTuple):
    """The data of one node, and how many children it has."""

    data: bytes
    ephemeral: bool
    children: int


class Change(IntEnum):
    """What happened to a node; the values are those of the protocol."""

    CREATED = 1
    DELETED = 2
    CHANGED = 3
    CHILDREN = 4
    """Children came or went: told only by servers without recursive watches."""


class Link(Enum):
    """How the connection to the ensemble is."""

    CONNECTED = "connected"
    READ_ONLY = "read-only"
    """To a server that is cut off from its quorum: what it says may be old."""
    SUSPENDED = "suspended"
    """Broken; the client tries to reconnect."""
    DENIED = "denied"
    """The credentials were refused: it will not reconnect."""


class News(NamedTuple):
    """What happened since the last look."""

    link: Link
    generation: int
    """Counts connections: watches end with the one they were set on."""
    changes: Mapping[str, Change]
    """The last change of each path, of this connection only."""
    children: frozenset[str]
    """Nodes whose children came or went, where the server tells no more than that."""
    since: float
    """Monotonic seconds at which the oldest of the changes was told."""


class Interrupted(Exception):  # noqa: N818 - what it says is no error of anyone
    """The connection broke under a request; what it would have said is unknown."""


class Session(Protocol):
    """A connection to the ensemble that renews itself. Paths are absolute, below the chroot."""

    async def open(self) -> None:
        """Connect, for the first time or again.

        Raises:
            RegistryUnavailable: no server answers.
            RegistryDenied: the credentials are refused.
        """

    def close(self) -> None:
        """End the connection without waiting for it."""

    @property
    def link(self) -> Link:
        """How the connection is now."""

    @property
    def generation(self) -> int:
        """The number of the present connection."""

    @property
    def is_recursive(self) -> bool:
        """Whether one watch covers a tree; else every read leaves a watch that fires once."""

    @property
    def trouble(self) -> str:
        """Why the connection is down, "" while it is not known."""

    async def watch(self, path: str) -> None:
        """Have changes of this node and all below it told, where the server can do that.

        Raises:
            Interrupted: the connection broke.
        """

    async def sync(self, path: str) -> None:
        """Return when the server knows all that its quorum knew at the call.

        Raises:
            Interrupted: the connection broke, or the server has no quorum.
        """

    async def contents(self, paths: Sequence[str]) -> list[Content | Refusal]:
        """Read the nodes, in order.

        Raises:
            Interrupted: the connection broke.
        """

    async def children(self, paths: Sequence[str]) -> list[tuple[str, ...] | Refusal]:
        """List the nodes' children, in order.

        Raises:
            Interrupted: the connection broke.
        """

    async def news(self) -> News:
        """Return what happened since the last call; wait until something has."""
