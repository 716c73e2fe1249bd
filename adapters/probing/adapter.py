"""Probing: any adapter, with active checks of the instances it finds."""

import asyncio
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from typing import Never

import structlog
from msgspec.structs import replace

from meshbridge.adapters.base import Adapter, AdapterContext, Emit
from meshbridge.adapters.probing.checks import Check, Checks
from meshbridge.adapters.probing.roster import Roster, Target
from meshbridge.adapters.probing.schedule import Schedule
from meshbridge.adapters.probing.settings import ProbeSettings
from meshbridge.schemas.registry import (
    FullSync,
    GroupUpdate,
    ServiceKey,
    SourceEvent,
    SourceReport,
    SourceState,
    labels,
)

_log = structlog.get_logger(__name__)

_PAUSE = 0.2
"""Seconds between two rounds of updates; verdicts of one round share the update of their group."""
_SLICE = 256
"""Groups of a FullSync to take in before others get the event loop."""


class Probing:
    """An adapter whose instances have the worse of their registry's health and the checks' verdict.

    Keeps verdicts while the inner adapter reconnects, and from one `run` to the next.

    Raises:
        ConfigError: a TLS file of the checks can't be used.
    """

    def __init__(
        self,
        inner: Adapter,
        settings: ProbeSettings,
        context: AdapterContext,
        checks: AbstractAsyncContextManager[Check] | None = None,
    ) -> None:
        self._inner = inner
        self._settings = settings
        self._context = context
        self._checks = checks or Checks(settings)
        self._roster = Roster(settings, context.metrics.rejected)
        self._is_new = True

    @property
    def name(self) -> str:
        """The source's configured name."""
        return self._inner.name

    async def run(self, emit: Emit) -> None:
        """Run the inner adapter and the checks until cancelled.

        Raises:
            RegistryError: the inner adapter raised it.
        """
        if self._is_new:
            self._roster.remember(self._context.previous().values())
            self._is_new = False
        try:
            async with self._checks as check, asyncio.TaskGroup() as tasks:
                run = _Run(self._roster, self._settings, self._context, emit)
                own = [
                    tasks.create_task(run.probe(check), name=f"{self.name} probes"),
                    tasks.create_task(run.publish(), name=f"{self.name} verdicts"),
                ]
                await self._inner.run(run.take)
                for task in own:
                    task.cancel()
        except ExceptionGroup as failures:
            failure = failures.exceptions[0]
            raise failure from failure.__cause__


class _Run:
    """One run of a Probing: two writers, the inner adapter and the verdicts, that take turns."""

    def __init__(self, roster: Roster, settings: ProbeSettings, context: AdapterContext, emit: Emit) -> None:
        self._roster = roster
        self._context = context
        self._emit = emit
        # Held from making an event until it is taken, so that none overtakes a newer one.
        self._turn = asyncio.Lock()
        self._changed: dict[ServiceKey, float] = {}
        self._wake = asyncio.Event()
        self._synced = False
        self._report = SourceReport(SourceState.CONNECTING)
        self._told = ""
        self._schedule = Schedule(settings.concurrency)
        self._schedule_all(roster.targets())

    async def take(self, event: SourceEvent) -> None:
        """Pass on what the inner adapter says, with verdicts applied."""
        async with self._turn:
            match event:
                case FullSync():
                    await self._take_all(event)
                case GroupUpdate(group, observed):
                    self._schedule_all(self._roster.replace(group))
                    await self._emit(GroupUpdate(self._roster.effective(group), observed))
                case SourceReport():
                    self._report = event
                    await self._tell()
        self._review()

    async def _take_all(self, event: FullSync) -> None:
        for number, group in enumerate(event.groups, start=1):
            self._schedule_all(self._roster.replace(group))
            if number % _SLICE == 0:
                await asyncio.sleep(0)
        self._roster.keep_only({group.key for group in event.groups})
        self._report = replace(self._report, state=SourceState.SYNCED, reason="")
        self._synced = True
        groups = tuple(map(self._roster.effective, event.groups))
        await self._emit(replace(event, groups=groups))

    def _schedule_all(self, targets: Iterable[Target]) -> None:
        for target in targets:
            self._schedule.add(target)

    async def probe(self, check: Check) -> Never:
        """Check all targets when they are due."""

        async def once(target: Target) -> None:
            failure = await _ask(check, target)
            if target.users:  # Else it left meanwhile.
                self._mark(self._roster.judge(target, failure))
                self._review()

        await self._schedule.run(once)

    def _review(self) -> None:
        """Freeze or thaw by the numbers, and say so."""
        before = self._roster.frozen
        self._mark(self._roster.review())
        if self._roster.summary() != self._told:
            self._wake.set()
        if self._roster.frozen is before:
            return
        failing, total = self._roster.count.share
        log = _log.bind(source=self._context.source, failing=failing, total=total)
        if before:
            log.info("probes agree again, health thawed")
        else:
            log.warning("too many probes fail at once, health frozen")

    def _mark(self, keys: Iterable[ServiceKey]) -> None:
        """Note that the verdicts on these groups have changed."""
        for key in keys:
            self._changed.setdefault(key, self._context.clock())
            self._wake.set()

    async def publish(self) -> Never:
        """Say what verdicts have changed: at once after a quiet time, then in rounds."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            changed, self._changed = self._changed, {}
            for key, observed in changed.items() if self._synced else ():  # A FullSync will have it all.
                async with self._turn:
                    group = self._roster.refresh(key)
                    if group is not None:
                        await self._emit(GroupUpdate(group, observed))
            async with self._turn:
                if self._synced and self._roster.summary() != self._told:
                    await self._tell()
            await asyncio.sleep(_PAUSE)

    async def _tell(self) -> None:
        """Repeat the inner adapter's newest report, with the state of the checks."""
        self._told = summary = self._roster.summary()
        report = self._report
        reason = report.reason or (f"probes {summary}" if self._roster.frozen else "")
        details = labels({**dict(report.details), "probes": summary})
        await self._emit(replace(report, reason=reason, details=details))


async def _ask(check: Check, target: Target) -> str:
    """Return "" if the target passes, else why not."""
    limit = target.probe.time_limit
    try:
        async with asyncio.timeout(limit):
            return await check(target.address, target.port, target.probe)
    except TimeoutError:
        return f"no answer within {limit:g}s"
    except Exception:  # noqa: BLE001 - one odd target must not end the checks of all others
        _log.exception("probe broke", address=target.address, port=target.port)
        return "the check itself broke"
