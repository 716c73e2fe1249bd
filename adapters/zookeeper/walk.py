"""Reads what a layout wants to see of a root, level by level and in bulk."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from meshbridge.adapters.zookeeper.layouts.layout import SAMPLE_CHILDREN, SAMPLE_DEPTH, Node, join
from meshbridge.adapters.zookeeper.session import Change, Content, News, Refusal, Session
from meshbridge.adapters.zookeeper.tree import BARE, Differences, Mirror

_SAMPLE_LEVEL = 400
"""Nodes of one level that are enough to recognise a layout."""
_AT_ONCE = 1000
"""Nodes of one level that are read, with all below them, before the next: paths are many times as large as
what is kept of them."""
_UNREADABLE = Node(b"", is_readable=False)
_SYSTEM = "zookeeper"
"""ZooKeeper's own node below "/"."""


class Wanted(Protocol):
    """The part of a layout that says what to read."""

    def covers(self, path: str) -> bool:
        """Tell whether this node and what is below it matter."""

    def needs(self, path: str) -> bool:
        """Tell whether the data of this node must be read."""

    def leads(self, path: str) -> bool:
        """Tell whether this node may have children that matter."""

    def holds_names(self, path: str) -> bool:
        """Tell whether all children of this node matter, and nothing of them but their names."""


class Walk:
    """Reads one root through a session. `denied` and `too_large` hold paths from the last full read on."""

    def __init__(
        self, session: Session, root: str, wanted: Wanted, max_data: int, *, is_sample: bool = False
    ) -> None:
        """Read below `root`, an absolute path; a sample takes only a few children of each node."""
        self._session = session
        self._root = root.rstrip("/")
        self._wanted = wanted
        self._max_data = max_data
        self._is_sample = is_sample
        self.starts: tuple[str, ...] = ()
        self.denied: set[str] = set()
        self.too_large: set[str] = set()

    def absolute(self, path: str) -> str:
        """Return the path as the session knows it."""
        return (f"{self._root}/{path}" if path else self._root) or "/"

    def relative(self, path: str) -> str | None:
        """Return the path below the root, None if it lies elsewhere or the layout does not cover it."""
        if path == self._root or (path == "/" and not self._root):
            return ""
        if not path.startswith(self._root + "/"):
            return None
        found = path[len(self._root) + 1 :]
        return found if self._is_covered(found) else None

    async def snapshot(self, starts: Iterable[str], mirror: Mirror) -> Mirror:
        """Fill an empty mirror with the nodes at these paths and everything below them; return it.

        Raises:
            Interrupted: the connection broke.
        """
        self.starts = tuple(starts)
        self.denied.clear()
        self.too_large.clear()
        await self._descend(self.starts, mirror)
        return mirror

    async def edits(self, news: News, mirror: Mirror) -> Differences:
        """Return what the news do to a mirror; nodes are read where their data is needed.

        Raises:
            Interrupted: the connection broke.
        """
        found = Differences()
        to_read = self._sort(news.changes, mirror, found)
        contents = await self._session.contents([self.absolute(path) for path in to_read])
        for path, content in zip(to_read, contents, strict=True):
            if content is Refusal.MISSING:
                found.gone.append(path)
            else:
                found.put.append((path, self._node(path, content)))
        await self._list_again(news.children, mirror, found)
        found.put.sort(key=lambda item: item[0])
        return found

    def _sort(self, changes: Mapping[str, Change], mirror: Mirror, found: Differences) -> list[str]:
        """Take the changes that say everything, and return the paths that have to be read."""
        to_read = []
        for absolute, change in changes.items():
            path = self.relative(absolute)
            if path is None:
                continue
            if change is Change.DELETED:
                found.gone.append(path)
                self.denied.discard(path)
                self.too_large.discard(path)
            elif self._wanted.needs(path):
                to_read.append(path)
            elif mirror.node(path) is None:
                found.put.append((path, BARE))
        return to_read

    async def _list_again(self, directories: Iterable[str], mirror: Mirror, found: Differences) -> None:
        """Find out what came and went in directories, on servers that tell no more than that."""
        paths = [path for path in map(self.relative, directories) if path is not None]
        listings = await self._session.children([self.absolute(path) for path in paths])
        fresh = Mirror()
        starts: list[str] = []
        for path, names in zip(paths, listings, strict=True):
            if isinstance(names, Refusal):
                continue  # Gone, which another event says, or denied, and then it stays as it was.
            present = mirror.children(path)
            found.gone += [join(path, name) for name in present if name not in set(names)]
            starts += [join(path, name) for name in names if name not in present]
        await self._descend([path for path in starts if self._is_covered(path)], fresh)
        for start in starts:
            found.put += [(path, node) for path in fresh.below(start) if (node := fresh.node(path))]

    async def _descend(self, starts: Iterable[str], mirror: Mirror) -> None:
        waiting = [list(starts)]
        while waiting:
            level = waiting.pop()
            if len(level) > _AT_ONCE:
                waiting.append(level[_AT_ONCE:])
                del level[_AT_ONCE:]
            to_list = await self._read_level(level, mirror)
            if below := await self._list_level(to_list, mirror):
                waiting.append(below)

    async def _read_level(self, level: Sequence[str], mirror: Mirror) -> list[str]:
        """Put the nodes of one level into the mirror and return which may have children."""
        to_read = [path for path in level if self._wanted.needs(path)]
        unread = set(to_read)
        to_list = []
        for path in level:
            if path not in unread:
                mirror.put(path, BARE)
                to_list.append(path)
        contents = await self._session.contents([self.absolute(path) for path in to_read])
        for path, content in zip(to_read, contents, strict=True):
            if content is Refusal.MISSING:
                continue
            mirror.put(path, self._node(path, content))
            if content is Refusal.DENIED:
                mirror.unlisted(path)
            elif self._has_children(content):
                to_list.append(path)
        return [path for path in to_list if self._wanted.leads(path)]

    async def _list_level(self, to_list: Sequence[str], mirror: Mirror) -> list[str]:
        """List children, put those into the mirror that only have to exist, and return the others."""
        below: list[str] = []
        listings = await self._session.children([self.absolute(path) for path in to_list])
        for path, names in zip(to_list, listings, strict=True):
            if names is Refusal.MISSING:
                mirror.drop(path)
            elif isinstance(names, Refusal):
                self.denied.add(path)
                mirror.unlisted(path)
            else:
                below += self._take_names(path, names, mirror)
        return below[:_SAMPLE_LEVEL] if self._is_sample else below

    def _take_names(self, path: str, names: Sequence[str], mirror: Mirror) -> list[str]:
        """Put the children that only have to exist into the mirror, and return the paths of the others."""
        if self._wanted.holds_names(path):
            mirror.put_bare(path, names)
            return []
        below = []
        for name in sorted(names)[:SAMPLE_CHILDREN] if self._is_sample else names:
            child = join(path, name)
            if not self._covers(child):
                continue
            if self._wanted.needs(child) or self._wanted.leads(child):
                below.append(child)
            else:
                mirror.put_child(path, name, BARE)
        return below

    def _node(self, path: str, content: Content | Refusal) -> Node:
        if isinstance(content, Refusal):
            self.denied.add(path)
            return _UNREADABLE
        self.denied.discard(path)
        if len(content.data) > self._max_data:
            self.too_large.add(path)
            return Node(b"", content.ephemeral, is_readable=False)
        self.too_large.discard(path)
        return Node(content.data, content.ephemeral)

    def _has_children(self, content: Content | Refusal) -> bool:
        """Tell whether to list the node, which on old servers also is how its children are watched."""
        if isinstance(content, Refusal) or content.ephemeral:
            return False
        return content.children > 0 or not self._session.is_recursive

    def _covers(self, path: str) -> bool:
        return not (path == _SYSTEM and not self._root) and self._wanted.covers(path)

    def _is_covered(self, path: str) -> bool:
        """Tell whether the layout covers the node and all above it."""
        names = path.split("/")
        return all(self._covers("/".join(names[:depth])) for depth in range(1, len(names) + 1))


class Sample:
    """Wants everything near the root; for walks that take a sample, to recognise a layout."""

    def covers(self, path: str) -> bool:
        """Tell whether this node is near enough."""
        return path.count("/") < SAMPLE_DEPTH

    def needs(self, _path: str) -> bool:
        """Tell that data is wanted."""
        return True

    def leads(self, path: str) -> bool:
        """Tell whether children are near enough, too."""
        return not path or path.count("/") + 1 < SAMPLE_DEPTH

    def holds_names(self, _path: str) -> bool:
        """Tell that more than names is wanted."""
        return False
