"""Watches the documents of one inventory source and says what changed: the order of things, no rules."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

from meshbridge.adapters.base import AdapterContext, Emit
from meshbridge.adapters.inventory import http, watching
from meshbridge.adapters.inventory.commands import CommandDocument
from meshbridge.adapters.inventory.documents import Failure, Remote
from meshbridge.adapters.inventory.files import Files
from meshbridge.adapters.inventory.intake import Intake
from meshbridge.adapters.inventory.presence import Presence
from meshbridge.adapters.inventory.settings import InventoryConfig
from meshbridge.schemas.errors import RegistryUnavailable
from meshbridge.schemas.registry import FullSync, GroupUpdate, InstanceGroup, SourceReport

_Thing = TypeVar("_Thing")

_MANY = 5
"""More services than this changing at once are told in one event."""


class InventoryAdapter:
    """One inventory source. `run()` may be called again after it ended, not while it runs."""

    def __init__(self, config: InventoryConfig, context: AdapterContext) -> None:
        self._config = config
        self._context = context
        self._intake = Intake(config, context)
        self._groups: dict[str, InstanceGroup] = {}
        """What this run has told."""
        self._reported: SourceReport | None = None
        self._turn = asyncio.Lock()
        """Held while changes are taken and emitted, so that the states of a service keep their order."""

    @property
    def name(self) -> str:
        """The source's configured name."""
        return self._context.source

    async def run(self, emit: Emit) -> None:
        """Watch the documents until cancelled.

        Raises:
            RegistryUnavailable: a document can't be read and was never read before.
            RegistryDenied: the same, for want of permission.
        """
        self._turn = asyncio.Lock()
        self._reported = None
        files = Files(self._config.files, self._config.max_size)
        async with self._remotes() as remotes:
            await self._read_all(files, remotes)
            groups = self._intake.groups()
            self._groups = {group.key.name: group for group in groups}
            # An inventory that is empty by accident gets no further than the intake.
            await emit(FullSync(groups, self._context.clock(), empty_is_meant=True))
            await self._report(emit)
            async with asyncio.TaskGroup() as tasks:
                if self._config.files:
                    tasks.create_task(self._follow(files, emit), name=f"{self.name}: files")
                for remote in remotes:
                    tasks.create_task(self._poll(remote, emit), name=f"{self.name}: {remote.name}")

    @contextlib.asynccontextmanager
    async def _remotes(self) -> AsyncIterator[list[Remote]]:
        """Give the URLs and commands; connections end with the context."""
        config = self._config
        remotes: list[Remote] = [
            CommandDocument(argv, name, max_size=config.max_size, timeout=config.timeout)
            for name, argv in _named((f"command {argv[0]}", argv) for argv in config.commands)
        ]
        async with contextlib.AsyncExitStack() as stack:
            if config.urls:
                try:
                    session = await stack.enter_async_context(http.session(config.tls, config.timeout))
                except Failure as failure:
                    raise RegistryUnavailable(self.name, "prepare TLS", failure.text) from failure
                remotes += [
                    http.UrlDocument(url, name, session, config)
                    for name, url in _named((http.url_name(url), url) for url in config.urls)
                ]
            yield remotes

    async def _read_all(self, files: Files, remotes: list[Remote]) -> None:
        self._intake.begin(remote.name for remote in remotes)
        scan = await asyncio.to_thread(files.scan, everything=True)
        # Nothing can flap before the first event, so what is missing now is gone at once.
        await self._intake.take_scan(scan, Presence(0, allow_empty=self._config.allow_empty))
        self._intake.note_absent(scan.absent)
        async with asyncio.TaskGroup() as tasks:
            for remote in remotes:
                tasks.create_task(self._read(remote), name=f"{self.name}: first {remote.name}")
        self._intake.require_readings()

    async def _read(self, remote: Remote) -> set[str]:
        """Read a URL or command for the first time and return the services that differ."""
        return await self._take(remote, await _fetch(remote))

    async def _take(self, remote: Remote, got: bytes | Failure | None) -> set[str]:
        if isinstance(got, Failure):
            self._intake.fail(remote.name, got)
            return set()
        return await self._intake.take(remote.name, got)

    async def _poll(self, remote: Remote, emit: Emit) -> None:
        """Read a URL or command every `refresh`, a little jittered so that replicas spread out."""
        while True:
            await asyncio.sleep(self._config.refresh * random.uniform(0.9, 1.1))  # noqa: S311 - no secret
            got = await _fetch(remote)
            async with self._turn:
                await self._emit(await self._take(remote, got), emit)

    async def _follow(self, files: Files, emit: Emit) -> None:
        """Look at the files when they may have changed, and read all of them every `rescan`."""
        woken = asyncio.Event()
        presence = Presence(self._config.settle, allow_empty=self._config.allow_empty)
        async with asyncio.TaskGroup() as tasks:
            watcher = watching.watch(self._config.files, woken.set, self._config.rescan)
            tasks.create_task(watcher, name=f"{self.name}: file notifications")
            wait = None
            rescan_at = self._context.clock() + self._config.rescan
            while True:
                left = max(rescan_at - self._context.clock(), 0.0)
                await _set_within(woken, left if wait is None else min(left, wait))
                is_due = self._context.clock() >= rescan_at
                if is_due:
                    rescan_at = self._context.clock() + self._config.rescan
                scan = await asyncio.to_thread(files.scan, everything=is_due)
                async with self._turn:
                    changed, wait = await self._intake.take_scan(scan, presence)
                    await self._emit(changed, emit)

    async def _emit(self, changed: set[str], emit: Emit) -> None:
        now = self._context.clock()
        news = {service: self._intake.group(service) for service in sorted(changed)}
        for service, group in news.items():
            self._groups[service] = group
            if not (group.instances or group.notes):
                del self._groups[service]
        if len(news) > _MANY:
            # One event, so that whoever judges losses sees all of them before the first is gone.
            groups = tuple(self._groups[service] for service in sorted(self._groups))
            await emit(FullSync(groups, now, empty_is_meant=True))
            self._reported = None  # It said "synced", which may not be the whole truth.
        else:
            for group in news.values():
                await emit(GroupUpdate(group, now))
        await self._report(emit)

    async def _report(self, emit: Emit) -> None:
        """Say how the source fares, when that is news."""
        report = self._intake.report()
        if report != self._reported:
            await emit(report)
            self._reported = report


async def _fetch(remote: Remote) -> bytes | Failure | None:
    try:
        return await remote.read()
    except Failure as failure:
        return failure


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    """Wait until the event is set, at most so long, and clear it."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    event.clear()


def _named(pairs: Iterable[tuple[str, _Thing]]) -> list[tuple[str, _Thing]]:
    """Return the pairs with names made unique by their position."""
    seen: set[str] = set()
    found = []
    for index, (name, thing) in enumerate(pairs, start=1):
        unique = f"{name} #{index}" if name in seen else name
        seen.add(unique)
        found.append((unique, thing))
    return found
