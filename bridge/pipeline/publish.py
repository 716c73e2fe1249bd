"""Drives the mesh: takes events, works in slices, and gives the sinks one snapshot after another.

Nothing is published before the gate is open, nor while an event is half worked off.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import structlog

from meshbridge.bridge.pipeline.catalog import Change, grown
from meshbridge.bridge.pipeline.leaving import Departures
from meshbridge.bridge.pipeline.mesh import Mesh, News
from meshbridge.bridge.pipeline.outside import SYSTEM_CLOCKS, Clocks, GateSettings, Kept, PublisherMetrics
from meshbridge.bridge.pipeline.preview import Losses, groups_of, losses, shadow
from meshbridge.bridge.pipeline.rules import Rules
from meshbridge.bridge.pipeline.sources import Source, waiting_for
from meshbridge.bridge.sink import Sink
from meshbridge.schemas.errors import SinkError
from meshbridge.schemas.registry import FullSync, GroupUpdate, SourceEvent, SourceReport
from meshbridge.schemas.resource import EMPTY_SNAPSHOT, Delta, Publication, ResourceKey, Snapshot, replace

log = structlog.get_logger(__name__)

TICK = 1.0
"""Seconds between looks at what only time changes: the gate's grace, the guard's hold."""
_SLICE = 0.005
"""Seconds of work after which other tasks get their turn."""
_GROUPS = 500
"""Groups compared in one go."""


class Publisher:
    """Owns the mesh while the program runs: the one writer."""

    def __init__(
        self,
        mesh: Mesh,
        sinks: Sequence[Sink],
        metrics: PublisherMetrics,
        gate: GateSettings,
        clocks: Clocks = SYSTEM_CLOCKS,
    ) -> None:
        self.mesh = mesh
        self.sources: dict[str, Source] = {}
        self.gate = gate
        self.snapshot: Snapshot = EMPTY_SNAPSHOT
        self.generation = 0
        self.created: dict[ResourceKey, float] = {}
        """Unix seconds at which this process first published a resource."""
        self.unsaved: set[str] = set()
        """Sources whose effective groups changed since somebody cleared this."""
        self._sinks = sinks
        self._metrics = metrics
        self._clocks = clocks
        self._started = clocks.monotonic()
        self._oldest: dict[str, float] = {}
        self.departures = Departures(mesh)
        self._lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._newer = asyncio.Event()

    def waiting_for(self) -> list[str]:
        """Return the sources that the first publication waits for; empty once it has been made."""
        if self.generation:
            return []
        age = self._clocks.monotonic() - self._started
        return waiting_for(self.sources.values(), age, self.gate.grace, hold=self.gate.hold)

    @property
    def is_complete(self) -> bool:
        """Whether what is published is everything: each source has been read, and none is about to leave."""
        return not self.departures and all(source.is_known for source in self.sources.values())

    async def submit(self, name: str, event: SourceEvent) -> None:
        """Take what a source says. Waits while earlier events are being worked off."""
        async with self._lock:
            source = self.sources.get(name)
            if source is None:
                return  # Taken out of the configuration while its last event was on the way.
            if isinstance(event, SourceReport):
                if source.report(event, self._clocks.wall()):
                    log.info("source state", source=name, state=str(event.state), reason=event.reason)
                self._suspect(name, is_suspect=event.suspect)
                return
            changes = await self._compare(name, event)
            emptied = isinstance(event, FullSync) and not source.believes(event)
            self._apply(name, changes, emptied=emptied)
            if changes:
                self._oldest.setdefault(name, event.observed)
            self._note_reading(source, event, changes, emptied=emptied)
        self._wake.set()

    def _note_reading(
        self, source: Source, event: FullSync | GroupUpdate, changes: Sequence[Change], *, emptied: bool
    ) -> None:
        now = self._clocks.wall()
        if emptied and not source.is_known:
            if source.doubt(now):
                log.warning("source is empty", source=source.name, reason=source.error)
            return
        if isinstance(event, FullSync) and not source.is_doubted:
            source.sync(now)
            return
        source.succeed(now)
        if source.is_doubted and grown(changes):
            source.grow(self._clocks.monotonic(), now)

    def _believe_refilled(self) -> None:
        """Take those sources for read that were empty and have got all that came back to them."""
        now = self._clocks.monotonic()
        for source in self.sources.values():
            if source.grew is not None and now - source.grew >= self.gate.refill:
                source.sync(self._clocks.wall())
                self.unsaved.add(source.name)
                log.info("source filled up", source=source.name)

    @property
    def ahead(self) -> float:
        """Unix seconds less monotonic ones, now."""
        return self._clocks.wall() - self._clocks.monotonic()

    def kept(self, name: str) -> Kept | None:
        """Return what is known of a source, for the next start or another replica; None when nothing is."""
        source = self.sources.get(name)
        now = self._clocks.wall()
        as_of = source.as_of(now) if source else None
        if as_of is None:
            return None
        held = self.mesh.guard(name).keep()
        return Kept(self.mesh.groups(name), as_of, held.moved(self.ahead) if held else None)

    async def restore(self, name: str, kept: Kept) -> None:
        """Take what was known of a source that has not been read yet."""
        async with self._lock:
            held = kept.held.moved(-self.ahead) if kept.held else None
            self.mesh.restore(name, kept.groups, held, self._clocks.monotonic())
            self.unsaved.discard(name)
            self.sources[name].restore(kept.as_of)
        self._wake.set()

    async def remove(self, name: str, successors: Iterable[str] = ()) -> None:
        """Take out a source that is no longer configured.

        Its groups leave when the sources that come in its place have been read, after the gate's `grace` at
        the latest: a source that only got another name must not make its services vanish for a moment.
        """
        async with self._lock:
            del self.sources[name]
            self.departures.add(name, successors, self._clocks.monotonic() + self.gate.grace)
        self._wake.set()

    async def reconfigure(self, change: Callable[[Mesh], None]) -> None:
        """Change the mesh's settings between two rounds."""
        async with self._lock:
            change(self.mesh)
        self._wake.set()

    def release(self, name: str) -> int:
        """Free what the guard holds of a source and return how many instances that were.

        Raises:
            KeyError: there is no such source.
        """
        source = self.sources.get(name)
        if source is None:
            raise KeyError(f"there is no source {name!r}")
        released = self.mesh.release(name, self._clocks.monotonic())
        if source.is_doubted:
            source.sync(self._clocks.wall())
        self.unsaved.add(name)
        log.warning("guard released", source=name, instances=released)
        self._wake.set()
        return released

    async def wait_newer(self, generation: int, within: float | None) -> int:
        """Return the generation as soon as it is above the given one, or after `within` seconds.

        None waits for as long as it takes.
        """
        try:
            async with asyncio.timeout(within):
                while self.generation <= generation:
                    await self._newer.wait()
        except TimeoutError:
            pass
        return self.generation

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                async with asyncio.timeout(TICK):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            async with self._lock:
                await self._round()

    async def _compare(self, name: str, event: FullSync | GroupUpdate) -> list[Change]:
        catalog = self.mesh.catalog
        if isinstance(event, GroupUpdate):
            return catalog.compare([event.group])
        groups = {group.key.name: group for group in event.groups}
        changes = catalog.missing(name, groups)
        found = list(groups.values())
        for start in range(0, len(found), _GROUPS):
            changes.extend(catalog.compare(found[start : start + _GROUPS]))
            await asyncio.sleep(0)
        return changes

    def _apply(self, name: str, changes: Sequence[Change], *, emptied: bool = False) -> None:
        guard = self.mesh.guard(name)
        was_holding = guard.trip is not None
        if self.mesh.apply(name, changes, self._clocks.monotonic(), emptied=emptied):
            self.unsaved.add(name)
        if guard.trip is not None and not was_holding:
            self._metrics.tripped(name)
            log.warning("guard holds", source=name, instances=guard.held, served_before=guard.trip.peak)
        elif guard.trip is None and was_holding:
            log.info("guard recovered", source=name)

    def _suspect(self, name: str, *, is_suspect: bool) -> None:
        guard = self.mesh.guard(name)
        if is_suspect and not guard.is_suspect:
            log.warning("registry suspect, guard tightened", source=name)
        elif guard.is_suspect and not is_suspect:
            log.info("registry no longer suspect", source=name)
        guard.is_suspect = is_suspect

    def _drop_too_old(self) -> None:
        """Take out what is known of sources that could not be read for longer than the settings allow."""
        if self.gate.max_outage is None:
            return
        now = self._clocks.wall()
        for name, source in self.sources.items():
            as_of = source.as_of(now)
            if as_of is not None and now - as_of > self.gate.max_outage:
                self.mesh.forget(name, self._clocks.monotonic())
                source.forget()
                log.error("source dropped, not read for too long", source=name, seconds=round(now - as_of))

    async def _let_go(self) -> None:
        """Forget the sources that are taken out and need not be waited with any longer."""
        await _in_slices(self.mesh.settle())  # What came in their place counts.
        now = self._clocks.monotonic()
        unread = {name for name, source in self.sources.items() if not source.is_known}
        for name in self.departures.due(self.sources, unread, now):
            self.mesh.forget(name, now)
            log.info("source forgotten", source=name)

    def let_leave(self) -> int:
        """Let the sources go that were kept although they are taken out, and return how many hosts go."""
        self._wake.set()
        return self.departures.allow()

    async def preview(self, rules: Rules, names: Sequence[str], *, leaving: bool) -> Losses:
        """Return what other rules and sources would take out of the mesh.

        Args:
            rules: the rules to try.
            names: the sources that there would be.
            leaving: whether sources that are not among them stay for now, as others come in their place.
        """
        async with self._lock:
            staying = set(self.mesh.guards) if leaving else set(names)
            groups = groups_of(self.mesh, staying)
            before = dict(self.mesh.services)
        tried, work = shadow(rules, names, groups)
        await _in_slices(work)
        return losses(before, tried.services)

    async def _round(self) -> None:
        self._believe_refilled()
        self._drop_too_old()
        if self.departures:
            await self._let_go()
        for name in self.mesh.expire(self._clocks.monotonic()):
            self.unsaved.add(name)
            log.warning("guard timed out", source=name)
        self.mesh.turn_to(self._clocks.wall())
        await _in_slices(self.mesh.settle())
        self._report(self.mesh.take_news())
        if self.waiting_for():
            return
        snapshot, delta = replace(self.snapshot, self.mesh.take_changes())
        if delta or not self.generation:
            await self._publish(snapshot, delta)
        self._oldest.clear()

    def _report(self, news: News) -> None:
        for key, built in news.quarantined:
            self._metrics.quarantined("bug" if built.is_bug else "refused")
            log.error("service quarantined", service=str(key), error=built.error)
        for group, bug in news.bugs:
            self._metrics.quarantined("bug")
            log.error("rules failed, the service stays as it was", service=str(group), error=bug)
        for stage, count in news.problems.items():
            self._metrics.problems(stage, count)

    async def _publish(self, snapshot: Snapshot, delta: Delta) -> None:
        self.snapshot = snapshot
        self.generation += 1
        self._note_times(delta)
        publication = Publication(self.generation, snapshot, delta, dict(self._oldest))
        for sink in self._sinks:
            try:
                await sink.apply(publication)
            except Exception as error:  # It stays at what it has; nothing of that may end the program.
                bug = None if isinstance(error, SinkError) else error
                self._metrics.sink_failed(sink.name)
                log.error("sink failed", sink=sink.name, error=str(error), exc_info=bug)
        self._metrics.published(publication)
        self._newer.set()
        self._newer = asyncio.Event()

    def _note_times(self, delta: Delta) -> None:
        now = self._clocks.wall()
        self.created.update(dict.fromkeys((found.key for found in delta.added), now))
        for key in delta.removed:
            self.created.pop(key, None)


async def _in_slices(work: Iterator[None]) -> None:
    """Do all the work, letting other tasks run every few milliseconds."""
    until = time.perf_counter() + _SLICE
    for _ in work:
        if time.perf_counter() > until:
            await asyncio.sleep(0)
            until = time.perf_counter() + _SLICE
