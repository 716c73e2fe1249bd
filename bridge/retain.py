"""Keeps retained state up to date, and gives it back at the next start."""

import asyncio
import time
from pathlib import Path

import structlog

from meshbridge.adapters.base import AdapterConfig
from meshbridge.bridge.config.models import Safety
from meshbridge.bridge.metrics import Metrics
from meshbridge.bridge.pipeline.publish import Kept, Publisher
from meshbridge.bridge.pipeline.sources import Source
from meshbridge.bridge.state import StateFiles
from meshbridge.bridge.watching import fingerprint
from meshbridge.schemas.registry import SourceState

log = structlog.get_logger(__name__)

INTERVAL = 30.0
"""Seconds between two writes at most."""


class Retaining:
    """Writes the effective groups of the sources that changed. Without a state directory it does nothing."""

    def __init__(self, publisher: Publisher, metrics: Metrics, safety: Safety) -> None:
        self._publisher = publisher
        self._metrics = metrics
        self._max_age = safety.max_age
        self._files = StateFiles(Path(safety.state_dir)) if safety.state_dir else None
        self._fingerprints: dict[str, str] = {}
        self._saved: dict[str, float] = {}
        self._is_failing = False
        self._turn = asyncio.Lock()

    async def restore(self, config: AdapterConfig) -> None:
        """Give the publisher what is kept of a source, unless it knows the source already."""
        self._fingerprints[config.name] = fingerprint(config)
        source = self._publisher.sources[config.name]
        if self._files is None or source.is_synced or source.is_retained:
            return
        copy = self._files.load(config.name, self._fingerprints[config.name], self._max_age, time.time())
        if copy is not None:
            header = copy.header
            await self._publisher.restore(config.name, Kept(copy.groups, header.saved, header.held))
            log.info("state restored", source=config.name, services=len(copy.groups))

    async def run(self) -> None:
        """Save every now and then until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL)
            await self.save()

    async def save(self) -> None:
        """Write the files of the sources that changed since the last time.

        Waits for writes that are under way: an older copy must not replace a newer one.
        """
        if self._files is None:
            return
        async with self._turn:
            unsaved, self._publisher.unsaved = self._publisher.unsaved, set()
            for source in list(self._publisher.sources.values()):
                if source.name in unsaved or self._looks_old(source):
                    await self._save(self._files, source)

    def _looks_old(self, source: Source) -> bool:
        """Whether the file seems much older than what it holds, because nothing has changed for long."""
        age = time.time() - self._saved.get(source.name, 0.0)
        return source.state is SourceState.SYNCED and age > self._max_age / 4

    async def _save(self, files: StateFiles, source: Source) -> None:
        kept = self._publisher.kept(source.name)
        if kept is None:
            return  # A copy of nothing would pass for an empty registry.
        name, now = source.name, time.time()
        saved = kept.as_of if source.is_retained else now
        try:
            await asyncio.to_thread(files.save, name, self._fingerprints[name], kept.groups, saved, kept.held)
        except OSError as error:
            self._publisher.unsaved.add(name)
            self._note(f"{type(error).__name__}: {error}")
        else:
            self._saved[name] = now
            self._note("")

    def _note(self, failure: str) -> None:
        """Count a write, and say once when they begin or cease to fail."""
        self._metrics.state_written("failed" if failure else "ok")
        if failure and not self._is_failing:
            log.warning("state not written", reason=failure)
        elif self._is_failing and not failure:
            log.info("state written again")
        self._is_failing = bool(failure)
