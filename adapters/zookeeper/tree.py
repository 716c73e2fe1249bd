"""The mirror of one root: what its nodes were when they were last told. Pure."""

from collections.abc import Callable, Collection, Iterator

from meshbridge.adapters.zookeeper.layouts.layout import Node, join

BARE = Node(b"")
"""A node whose data nobody needs, shared by all of them."""


class _Directory:
    """A node with children. Most nodes have none, and are kept as their `Node` alone."""

    __slots__ = ("children", "is_listed", "node")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.children: dict[str, Node | _Directory] = {}
        self.is_listed = True


class Mirror:
    """Nodes by path relative to the root, "" being the root. Names are kept once, not in every path."""

    def __init__(self, owner: Callable[[str], str] | None = None) -> None:
        """Start empty; with an `owner` the paths of each service are kept, too."""
        self._owner = owner
        self._root: Node | _Directory | None = None
        self._owned: dict[str, set[str]] = {}
        self._last: tuple[str, _Directory] | None = None
        """The directory of the last `put`: the next is mostly in it, too."""

    def children(self, path: str) -> Collection[str]:
        """Return the names of the children of a node; none for a node that does not exist."""
        found = self._find(path)
        return found.children.keys() if isinstance(found, _Directory) else ()

    def nodes(self, path: str) -> Iterator[tuple[str, Node]]:
        """Give the children of a node by name; none for a node that does not exist."""
        found = self._find(path)
        for name, child in found.children.items() if isinstance(found, _Directory) else ():
            yield name, _node(child)

    def directories(self, path: str) -> list[str]:
        """Return the names of the children that have children."""
        found = self._find(path)
        below = found.children.items() if isinstance(found, _Directory) else ()
        return [name for name, child in below if isinstance(child, _Directory) and child.children]

    def node(self, path: str) -> Node | None:
        """Return a node, if it exists."""
        found = self._find(path)
        return found.node if isinstance(found, _Directory) else found

    def paths(self, service: str) -> Collection[str]:
        """Return the paths of nodes that belong to a service, if an owner was given."""
        return self._owned.get(service, ())

    def below(self, path: str) -> list[str]:
        """Return the path of a node and of all below it, the deepest first; none if it does not exist."""
        found = self._find(path)
        return [] if found is None else list(_below(path, found))

    def put(self, path: str, node: Node) -> None:
        """Set a node; those above it exist from now on."""
        if self._root is None:
            self._root = BARE
            self._own("")
        if not path:
            self._root = _with_node(self._root, node)
            return
        above, _, name = path.rpartition("/")
        self.put_child(above, name, node)

    def put_child(self, above: str, name: str, node: Node) -> None:
        """Set a node below another one; those above exist from now on."""
        if self._last is None or self._last[0] != above:
            self._last = above, self._directory(above)
        siblings = self._last[1].children
        present = siblings.get(name)
        siblings[name] = node if present is None else _with_node(present, node)
        if present is None:
            self._own(join(above, name) if self._owner else "")

    def put_bare(self, above: str, names: Collection[str]) -> None:
        """Set nodes below another one whose data nobody needs; those above exist from now on."""
        siblings = self._directory(above).children if names else None
        if siblings is not None and not siblings and self._owner is None:
            siblings.update(dict.fromkeys(names, BARE))  # Nearly always, and a tenth of the time.
            return
        for name in names:
            self.put_child(above, name, BARE)

    def drop(self, path: str) -> None:
        """Remove a node and all below it."""
        for gone in self.below(path) if self._owner else ():
            self._disown(gone)
        self._last = None
        if not path:
            self._root = None
            return
        above, _, name = path.rpartition("/")
        found = self._find(above)
        if isinstance(found, _Directory):
            found.children.pop(name, None)

    def unlisted(self, path: str) -> None:
        """Note that the node's children could not be listed: `differences` takes none of them for gone."""
        self._directory(path).is_listed = False

    def differences(self, fresh: "Mirror") -> "Differences":
        """Return what to do to this mirror so that it equals a fresh one, as far as that one is complete."""
        found = Differences()
        if fresh._root is not None:
            _compare("", self._root, fresh._root, found)
        elif self._root is not None:
            found.gone.append("")
        return found

    def would_lose_most(self, differences: "Differences") -> bool:
        """Tell whether more than half of the nodes are gone."""
        gone = sum(len(self.below(path)) for path in differences.gone)
        return gone > 0 and gone * 2 > len(self.below(""))

    def _find(self, path: str) -> "Node | _Directory | None":
        found = self._root
        if not path:
            return found
        for name in path.split("/"):
            if not isinstance(found, _Directory):
                return None
            found = found.children.get(name)
        return found

    def _directory(self, path: str) -> _Directory:
        """Return the node at a path as one that may have children, made where it is missing."""
        if self._root is None:
            self._root = BARE
            self._own("")
        if not isinstance(self._root, _Directory):
            self._root = _Directory(self._root)
        found = self._root
        at = ""
        for name in path.split("/") if path else ():
            at = join(at, name)
            if name not in found.children:
                self._own(at)
            below = found.children.get(name, BARE)
            if not isinstance(below, _Directory):
                below = found.children[name] = _Directory(below)
            found = below
        return found

    def _own(self, path: str) -> None:
        if self._owner and (service := self._owner(path)):
            self._owned.setdefault(service, set()).add(path)

    def _disown(self, path: str) -> None:
        if self._owner and (service := self._owner(path)):
            paths = self._owned.get(service, set())
            paths.discard(path)
            if not paths:
                self._owned.pop(service, None)


class Differences:
    """What a mirror lacks, and what it has too much."""

    def __init__(self) -> None:
        self.put: list[tuple[str, Node]] = []
        """Nodes to set, those above before those below."""
        self.gone: list[str] = []
        """Nodes that are no more, each without those below it."""


def _with_node(present: Node | _Directory, node: Node) -> Node | _Directory:
    if isinstance(present, _Directory):
        present.node = node
        return present
    return node


def _below(path: str, found: Node | _Directory) -> Iterator[str]:
    if isinstance(found, _Directory):
        for name, child in found.children.items():
            yield from _below(join(path, name), child)
    yield path


def _compare(path: str, old: Node | _Directory | None, fresh: Node | _Directory, found: Differences) -> None:
    node = _node(fresh)
    if old is None or _node(old) != node:
        found.put.append((path, node))
    before = old.children if isinstance(old, _Directory) else {}
    after = fresh.children if isinstance(fresh, _Directory) else {}
    if before and not (isinstance(fresh, _Directory) and not fresh.is_listed):
        found.gone += [join(path, name) for name in before if name not in after]
    for name, child in after.items():
        _compare(join(path, name), before.get(name), child, found)


def _node(found: Node | _Directory) -> Node:
    return found.node if isinstance(found, _Directory) else found
