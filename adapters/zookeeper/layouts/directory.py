"""Layouts in which a directory is a service and the nodes in it are its instances."""

from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator

from typing_extensions import override

from meshbridge.adapters.zookeeper.layouts.fields import Refused
from meshbridge.adapters.zookeeper.layouts.layout import Layout, Node, Tree, join, leaf, malformed, parent
from meshbridge.schemas.registry import Instance, InstanceGroup, Note, ServiceKey, group

MAX_DEPTH = 8
"""Levels below a root that are looked at."""


class DirectoryLayout(Layout):
    """A directory with records is a service, named by its path below the root."""

    indexed = False
    trees = ("",)

    def __init__(self, own_name: str = "") -> None:
        """Describe the layout.

        Args:
            own_name: name of the service whose records lie in the root itself; "" where there is none.
        """
        self._own_name = own_name

    @abstractmethod
    def is_record(self, path: str, node: Node, tree: Tree) -> bool:
        """Tell whether a node is meant as an instance, well written or not."""

    @abstractmethod
    def read(self, path: str, node: Node, tree: Tree) -> tuple[Instance, Iterable[Note]]:
        """Return the instance of a record, its id being `record_id(path)`.

        Raises:
            Refused: it can't be understood.
        """

    @override
    def covers(self, path: str) -> bool:
        return path.count("/") < MAX_DEPTH

    @override
    def needs(self, path: str) -> bool:
        return path != ""

    @override
    def owner(self, path: str) -> str:
        return ""

    def service(self, directory: str) -> str:
        """Return the name of the service in a directory, "" for none."""
        return directory or self._own_name

    def directories(self, service: str) -> tuple[str, ...]:
        """Return where the records of a service may be."""
        return (service, "") if service == self._own_name else (service,)

    def record_id(self, path: str) -> str:
        """Return what a record is called within its service: the place, never what is written there."""
        return leaf(path)

    @override
    def services(self, path: str, tree: Tree) -> Collection[str] | None:
        # The first child makes a directory of what may have looked like a record.
        above = parent(path)
        return {name for name in (self.service(above), self.service(parent(above))) if path and name}

    @override
    def group(
        self, source: str, service: str, tree: Tree, previous: InstanceGroup | None = None
    ) -> InstanceGroup:
        earlier = {found.id: found for found in previous.instances} if previous else {}
        instances: list[Instance] = []
        notes: list[Note] = []
        for path, node in self._all_records(service, tree):
            name = self.record_id(path)
            try:
                instance, remarks = self.read(path, readable(node), tree)
                instances.append(instance)
                notes.extend(remarks)
            except Refused as error:
                notes.append(malformed(name, str(error)))
                if name in earlier:
                    instances.append(earlier[name])
        return group(ServiceKey(source, service), instances, notes=notes)

    @override
    def names(self, tree: Tree) -> set[str]:
        found: set[str] = set()
        waiting = [""]
        while waiting:
            directory = waiting.pop()
            name = self.service(directory)
            if name and next(self._records(directory, tree), None):
                found.add(name)
            below = (join(directory, child) for child in tree.directories(directory))
            waiting.extend(path for path in below if self.covers(path))
        return found

    def _all_records(self, service: str, tree: Tree) -> Iterator[tuple[str, Node]]:
        for directory in self.directories(service):
            yield from self._records(directory, tree)

    def _records(self, directory: str, tree: Tree) -> Iterator[tuple[str, Node]]:
        for child, node in tree.nodes(directory):
            path = join(directory, child)
            if self.is_record(path, node, tree):
                yield path, node


def readable(node: Node) -> Node:
    """Return the node.

    Raises:
        Refused: nobody could read its data.
    """
    if not node.is_readable:
        raise Refused("its data can't be read")
    return node


def is_leaf_with_content(path: str, node: Node, tree: Tree) -> bool:
    """Tell whether a node looks like a record rather than a directory.

    An ephemeral node can have no children, so it is one, whatever it holds. Directories are empty, or hold
    the address of whoever made them, as Curator and Dubbo do.
    """
    return node.ephemeral or (
        (node.data.lstrip()[:1] == b"{" or not node.is_readable) and not tree.children(path)
    )
