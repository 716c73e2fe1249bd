"""What a layout is: how instances are written below one root of ZooKeeper.

A layout is pure: it looks at a mirror of the root (`Tree`) and says which services are in it. Paths are
relative to the root: "" is the root itself, "orders/10.4.0.7:20880" a grandchild; names stay as ZooKeeper
has them (percent-encoded where the client wrote them so).
"""

from collections.abc import Collection, Iterable
from typing import Protocol

import msgspec

from meshbridge.schemas.registry import InstanceGroup, Note

SAMPLE_CHILDREN = 20
"""Children of one node that are enough to recognise a layout."""
SAMPLE_DEPTH = 4
"""Levels below the root that are enough to recognise a layout."""

_MALFORMED = "malformed: "


class Node(msgspec.Struct, frozen=True, gc=False):
    """One znode."""

    data: bytes
    """b"" also where the layout does not need the data."""
    ephemeral: bool = False
    is_readable: bool = True
    """False when its data was denied or too large to read: the earlier reading stays."""


class Tree(Protocol):
    """The mirror of a root, as far as the layout covers it."""

    def children(self, path: str) -> Collection[str]:
        """Return the names of the children of a node; none for a node that does not exist."""

    def nodes(self, path: str) -> Iterable[tuple[str, Node]]:
        """Give the children of a node by name; none for a node that does not exist."""

    def directories(self, path: str) -> Collection[str]:
        """Return the names of the children that have children."""

    def node(self, path: str) -> Node | None:
        """Return a node, if it exists."""

    def paths(self, service: str) -> Collection[str]:
        """Return the paths whose `Layout.owner` is this service; only for layouts that are `indexed`."""


class Layout(Protocol):
    """How services and instances are written below a root."""

    @property
    def name(self) -> str:
        """The name it has in the configuration."""

    @property
    def indexed(self) -> bool:
        """Whether `Tree.paths` must be kept: a service's name does not say where its records are."""

    @property
    def trees(self) -> tuple[str, ...]:
        """The paths below which everything lies, ("",) unless only parts of the root are looked at.

        Each gets a watch of its own. `covers` is true for them and what leads there, so that watching the
        root alone is right too. One of several may be missing: then it is empty.
        """

    def covers(self, path: str) -> bool:
        """Tell whether this node and what is below it matter. Asked of a child once its parent is covered."""

    def needs(self, path: str) -> bool:
        """Tell whether the data of this node must be read."""

    def leads(self, _path: str) -> bool:
        """Tell whether this node, which is covered, may have children that are: only then they are listed."""
        return True

    def holds_names(self, _path: str) -> bool:
        """Tell whether all children of this node are covered, and only their names are needed."""
        return False

    def owner(self, path: str) -> str:
        """Return the service that has a record at this path, "" for none. It looks at the path alone."""

    def services(self, path: str, tree: Tree) -> Collection[str] | None:
        """Return the services that a change of this node touches; None means any, so look at all again.

        Ask with the tree as it was before the change, and again with the tree after it: what counts is the
        union, since a service that leaves is known only before and one that comes only after.
        """

    def group(
        self, source: str, service: str, tree: Tree, previous: InstanceGroup | None = None
    ) -> InstanceGroup:
        """Return all instances of a service; it costs what this service costs, not what the root costs.

        A record whose node exists but can't be understood keeps its instance of `previous`, and is in the
        notes (`is_malformed`). It never raises, whatever the bytes.
        """

    def names(self, tree: Tree) -> set[str]:
        """Return all services that have a record in the tree."""


def malformed(record: str, reason: str) -> Note:
    """Return the note of a record that can't be understood."""
    return Note(record, _MALFORMED + reason)


def is_malformed(note: Note) -> bool:
    """Tell whether the note is about a record that was refused, not merely left out on purpose."""
    return note.reason.startswith(_MALFORMED)


def parent(path: str) -> str:
    """Return the path of the node above, "" at the top."""
    return path.rpartition("/")[0]


def leaf(path: str) -> str:
    """Return the last name of a path."""
    return path.rpartition("/")[2]


def join(above: str, name: str) -> str:
    """Return the path of a child."""
    return f"{above}/{name}" if above and name else above or name
