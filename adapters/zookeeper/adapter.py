"""Watches one root of a ZooKeeper ensemble and says what changed: the order of things, no rules."""

import asyncio
import random
from collections.abc import Mapping

from meshbridge.adapters.base import AdapterContext, Emit
from meshbridge.adapters.zookeeper.endpoint import endpoint
from meshbridge.adapters.zookeeper.kazoo_session import KazooSession
from meshbridge.adapters.zookeeper.root import Root
from meshbridge.adapters.zookeeper.session import Interrupted, Link, News, Session
from meshbridge.adapters.zookeeper.settings import ZookeeperConfig
from meshbridge.schemas.errors import RegistryDenied, RegistryError, RegistryUnavailable
from meshbridge.schemas.registry import (
    FullSync,
    GroupUpdate,
    InstanceGroup,
    SourceReport,
    SourceState,
    labels,
)

_MANY = 5
"""More services than this losing instances at once are told in one event."""
_SLICE = 50
"""Services looked at between two turns of the loop."""
_AFTERMATH = 1.0
"""Seconds in which the client says what broke a request; else it is the request's own failure."""
_PATIENCE = 1.5
"""Session time-outs without a connection until the client is made anew. The session is over by then, and
a server that has lost its disk refuses clients who remember more than it does."""


class ZooKeeperAdapter:
    """One root. `run()` may be called again after it ended, not while it runs."""

    def __init__(
        self, config: ZookeeperConfig, context: AdapterContext, session: Session | None = None
    ) -> None:
        self._config = config
        self._context = context
        self._session = session or KazooSession(context.source, lambda: endpoint(config), context.clock)
        self._root = Root(context.source, self._session, config)
        self._patience = _PATIENCE * config.session_timeout
        self._reported: SourceReport | None = None
        self._unreadable: Mapping[str, str] = {}
        self._is_synced = False
        self._trouble = ""
        """What is wrong with the connection now."""
        self._limit = 0.0
        """Monotonic seconds until which the trouble is borne."""
        self._rescan_at = 0.0

    @property
    def name(self) -> str:
        """The source's configured name."""
        return self._context.source

    async def run(self, emit: Emit) -> None:
        """Watch the root until cancelled.

        Raises:
            RegistryUnavailable: no server answers, or the root does not exist and was not read before.
            RegistryDenied: the credentials are refused, or the root may not be read.
        """
        self._reported = None
        self._is_synced = False
        self._trouble = ""
        self._root.distrust()
        self._context.metrics.attempt()
        try:
            await self._session.open()
            while True:
                await self._follow(await self._news(), emit)
        except RegistryError as error:
            self._context.metrics.error("denied" if isinstance(error, RegistryDenied) else "unavailable")
            raise
        finally:
            self._session.close()

    async def _news(self) -> News | None:
        """Return what happened, None when it is time to read everything again or to give up."""
        now = self._context.clock()
        until = min(self._limit, self._rescan_at) if self._trouble else self._rescan_at
        try:
            async with asyncio.timeout(max(until - now, 0.0) if self._is_synced else None):
                return await self._session.news()
        except TimeoutError:
            return None

    async def _follow(self, news: News | None, emit: Emit) -> None:
        """Take the news; trouble is said at once, and raised when it lasts."""
        if self._session.link is Link.DENIED:
            raise RegistryDenied(self.name, "connect", "the credentials are refused")
        if self._trouble and self._context.clock() >= self._limit:
            raise RegistryUnavailable(self.name, "read", self._session.trouble or self._trouble)
        if self._session.link is Link.SUSPENDED:
            self._endure(self._session.trouble or "the connection is lost", self._patience)
            await self._report(SourceState.STALE, self._trouble, emit)
            return
        try:
            await self._take(news, emit)
            self._trouble = ""
        except Interrupted as error:
            self._endure(str(error), _AFTERMATH)

    def _endure(self, trouble: str, patience: float) -> None:
        """Go on with what is known, for so many seconds.

        Raises:
            RegistryUnavailable: nothing is known yet.
        """
        self._root.distrust()
        if not self._is_synced:
            raise RegistryUnavailable(self.name, "read", trouble)
        self._context.metrics.error("interrupted")
        self._trouble = trouble
        self._limit = self._context.clock() + patience

    async def _take(self, news: News | None, emit: Emit) -> None:
        """Read what the news demand and say what changed.

        Raises:
            Interrupted: the connection broke.
        """
        self._context.metrics.attempt()
        observed = self._context.clock()
        if news is not None and self._root.is_told(news):
            touched: set[str] | None = await self._root.take(news)
            observed = news.since
        else:
            touched = await self._root.read(self._context.previous)
            self._rescan_at = observed + self._config.resync * random.uniform(0.8, 1.2)  # noqa: S311 - no secret
        self._context.metrics.success()
        await self._say(touched, emit, observed)
        await self._say_how_it_is(emit)

    async def _say(self, touched: set[str] | None, emit: Emit, observed: float) -> None:
        """Emit what became of the touched services; mass losses, like the first reading, as one event."""
        groups = self._root.groups
        if groups is None:
            if not self._is_synced:
                await self._sync((), emit, observed)
            return
        services = groups.names() if touched is None or not self._is_synced else touched
        keep = self._session.link is Link.READ_ONLY
        renewals = []
        for count, service in enumerate(sorted(services)):
            if count % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            if renewal := groups.renew(service, keep=keep):
                renewals.append(renewal)
                for _ in renewal.refused():
                    self._context.metrics.rejected("malformed")
        if not self._is_synced or sum(renewal.loses for renewal in renewals) > _MANY:
            await self._sync(groups.all(), emit, observed)
        else:
            for renewal in renewals:
                await emit(GroupUpdate(renewal.new, observed))

    async def _sync(self, groups: tuple[InstanceGroup, ...], emit: Emit, observed: float) -> None:
        self._is_synced = True
        await emit(FullSync(groups, observed))

    async def _say_how_it_is(self, emit: Emit) -> None:
        unreadable = self._root.unreadable
        for path in unreadable.keys() - self._unreadable.keys():
            self._context.metrics.rejected(unreadable[path])
        self._unreadable = unreadable
        if self._session.link is Link.READ_ONLY:
            await self._report(SourceState.STALE, "the server is read-only, cut off from its quorum", emit)
        elif self._root.is_missing:
            await self._report(SourceState.STALE, f"{self._config.root.path} does not exist", emit)
        else:
            await self._report(SourceState.SYNCED, "", emit)

    async def _report(self, state: SourceState, reason: str, emit: Emit) -> None:
        """Say how the source fares, when that is news."""
        groups = self._root.groups
        details = {
            "layout": groups.layout.name if groups else "none yet: the root is empty",
            "recognised": self._root.recognised,
            "watches": "recursive" if self._session.is_recursive else "one for each node",
            "unreadable nodes": str(len(self._unreadable) or ""),
        }
        report = SourceReport(state, reason, labels({key: value for key, value in details.items() if value}))
        if report != self._reported:
            self._reported = report
            await emit(report)
