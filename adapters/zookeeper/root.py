"""One root as it is read: watches first, then everything, then only what is told."""

from collections.abc import Callable, Mapping

from meshbridge.adapters.zookeeper.groups import Groups
from meshbridge.adapters.zookeeper.layouts.recognise import recognise
from meshbridge.adapters.zookeeper.session import Interrupted, Link, News, Session
from meshbridge.adapters.zookeeper.settings import LayoutName, ZookeeperConfig
from meshbridge.adapters.zookeeper.tree import Differences, Mirror
from meshbridge.adapters.zookeeper.walk import Sample, Walk, Wanted
from meshbridge.schemas.errors import RegistryDenied, RegistryUnavailable
from meshbridge.schemas.registry import InstanceGroup


class Root:
    """Reads one root through a session. What it knows outlives connections."""

    def __init__(self, source: str, session: Session, config: ZookeeperConfig) -> None:
        self._source = source
        self._session = session
        self._config = config
        self._walk = self._make_walk(Sample())
        self._generation = 0
        """The connection whose watches are set and whose snapshot was taken, 0 for none."""
        self._is_partial = False
        """Whether the mirror may hold what is no more, having been read from a read-only server."""
        self.is_missing = False
        """Whether the root does not exist, so that what is known of it is old."""
        self.groups: Groups | None = None
        """None until the layout is known."""
        self.recognised = ""
        """What the layout was recognised by, "" where it is configured."""

    @property
    def unreadable(self) -> Mapping[str, str]:
        """The nodes that could not be read, and why, in one word."""
        return dict.fromkeys(self._walk.too_large, "too-large") | dict.fromkeys(self._walk.denied, "denied")

    def distrust(self) -> None:
        """Have everything read again at the next chance."""
        self._generation = 0

    def is_told(self, news: News | None) -> bool:
        """Whether the news alone say what changed, so that not everything has to be read."""
        is_current = news is not None and news.generation == self._generation
        return is_current and not self.is_missing

    async def take(self, news: News) -> set[str] | None:
        """Follow the news and return the services they touch, None for all.

        Raises:
            Interrupted: the connection broke; everything has to be read again.
        """
        groups = self.groups
        return groups.apply(await self._walk.edits(news, groups.mirror)) if groups else set()

    async def read(self, previous: Callable[[], Mapping[str, InstanceGroup]]) -> set[str] | None:
        """Set the watches, read everything and return the services touched, None for all.

        Raises:
            Interrupted: the connection broke.
            RegistryUnavailable: the root is missing and was not read before, or its layout is not known.
            RegistryDenied: the root may not be read.
        """
        generation = self._session.generation
        if self.groups is None:
            await self._choose_layout(previous)
        edits = await self._confirmed(self.groups) if self.groups else None
        if self._session.generation != generation:
            raise Interrupted("the connection was renewed while everything was read")
        if self.groups is None or edits is None:
            return set()
        self._generation = generation
        was_partial, self._is_partial = self._is_partial, self._session.link is Link.READ_ONLY
        if isinstance(edits, Mirror):
            self.groups.adopt(edits)
            return None
        if self._is_partial:
            edits.gone.clear()  # The server's state may be older than what was read before.
        touched = self.groups.apply(edits)
        return None if was_partial else touched

    async def _choose_layout(self, previous: Callable[[], Mapping[str, InstanceGroup]]) -> None:
        """Take the configured layout, or the one recognised; none while the root is empty."""
        chosen = str(self._config.root.layout)
        if chosen == LayoutName.AUTO:
            await self._session.watch(self._walk.absolute(""))
            sample = self._make_walk(Sample(), is_sample=True)
            tree = await sample.snapshot([""], Mirror())
            self._require_root(tree, sample)
            found = recognise(tree)
            if found is None and tree.children(""):
                reason = f"nothing below {self._config.root.path} tells its layout: set `layout`"
                raise RegistryUnavailable(self._source, "read", reason)
            if found is None:
                return
            chosen, self.recognised = found.layout, found.reason
        layout = self._config.root.make_layout(chosen)
        self._walk = self._make_walk(layout)
        self.groups = Groups(self._source, layout, previous())

    def _make_walk(self, wanted: Wanted, *, is_sample: bool = False) -> Walk:
        config = self._config
        return Walk(self._session, config.root.base, wanted, config.max_node_size, is_sample=is_sample)

    async def _confirmed(self, groups: Groups) -> Differences | Mirror | None:
        """Return what changed since the mirror was last right, or a first mirror; None if the root is gone.

        A server may be behind its quorum, so it is told to catch up; and a reading that lacks more than
        half of what was there counts only when a second one says the same.
        """
        trees = groups.layout.trees
        for tree in trees:
            await self._session.watch(self._walk.absolute(tree))
        edits = await self._differences(groups, trees)
        if isinstance(edits, Differences) and groups.mirror.would_lose_most(edits):
            edits = await self._differences(groups, trees)
        return edits

    async def _differences(self, groups: Groups, trees: tuple[str, ...]) -> Differences | Mirror | None:
        if self._session.link is Link.CONNECTED:
            await self._session.sync(self._walk.absolute(""))
        fresh = await self._walk.snapshot(trees, groups.empty_mirror())
        is_known = groups.mirror.node("") is not None
        self.is_missing = fresh.node("") is None
        if self.is_missing and is_known:
            return None
        self._require_root(fresh, self._walk)
        return groups.mirror.differences(fresh) if is_known else fresh

    def _require_root(self, tree: Mirror, walk: Walk) -> None:
        root = self._config.root.path
        if tree.node("") is not None and walk.denied.issuperset(walk.starts):
            raise RegistryDenied(self._source, "read", f"{root} may not be read")
        if tree.node("") is None:
            raise RegistryUnavailable(self._source, "read", f"{root} does not exist")
