"""Keeps retained state up to date, and gives it back at the next start."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import structlog

from meshbridge.adapters.base import AdapterConfig
from meshbridge.bridge.config.models import Safety
from meshbridge.bridge.metrics import Metrics
from meshbridge.bridge.peers import PeerClient
from meshbridge.bridge.pipeline.mesh import MeshKept
from meshbridge.bridge.pipeline.outside import Kept
from meshbridge.bridge.pipeline.publish import Publisher
from meshbridge.bridge.pipeline.sources import Source
from meshbridge.bridge.state import StateFiles
from meshbridge.bridge.state_copy import MESH, Copy, decode_mesh, encode_copy, encode_mesh, united
from meshbridge.bridge.watching import fingerprint
from meshbridge.schemas.registry import SourceState

log = structlog.get_logger(__name__)

MESH_FILE = f"{MESH}.state"
INTERVAL = 30.0
"""Seconds between two writes at most."""


class Retaining:
    """Writes the effective groups of the sources that changed. Without a state directory it does nothing."""

    def __init__(self, publisher: Publisher, metrics: Metrics, safety: Safety, peers: PeerClient) -> None:
        self._publisher = publisher
        self._metrics = metrics
        self._peers = peers
        self._mesh = b""
        """What is in the file that no source has."""
        self._told: dict[str, list[Copy]] = {}
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
        if source.is_synced or source.is_retained:
            return
        copy = self._newest(config.name)
        if copy is not None:
            header = copy.header
            await self._publisher.restore(config.name, Kept(copy.groups, header.saved, header.held))
            log.info("state restored", source=config.name, services=len(copy.groups))

    async def learn(self) -> None:
        """Ask the other replicas what they know."""
        self._told, meshes = await self._peers.copies()
        own = self._read_mesh()
        for kept in [*meshes, own] if own else meshes:
            self._publisher.mesh.load(kept)

    def _read_mesh(self) -> MeshKept | None:
        content = self._files.read(MESH_FILE) if self._files else None
        if self._files is None or content is None:
            return None
        try:
            found = decode_mesh(content)
        except (ValueError, RecursionError) as error:
            self._files.set_aside(MESH_FILE, error)
            return None
        self._mesh = content
        return found

    def copy_of(self, name: str) -> bytes | None:
        """Return what is known of a source, for another replica; None when nothing is."""
        if name == MESH:
            return encode_mesh(self._publisher.mesh.keep())
        kept = self._publisher.kept(name)
        mark = self._fingerprints.get(name)
        return encode_copy(name, mark, kept.groups, kept.as_of, kept.held) if kept and mark else None

    def _newest(self, name: str) -> Copy | None:
        """Return the best copy of a source: what replicas that run say counts before our own file."""
        mark, now = self._fingerprints[name], time.time()
        told = [copy for copy in self._told.get(name, ()) if copy.header.fingerprint == mark]
        told = [copy for copy in told if now - copy.header.saved <= self._max_age]
        if told:
            return united(told)
        return self._files.load(name, mark, self._max_age, now) if self._files else None

    async def run(self) -> None:
        """Save every now and then until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL)
            await self.save()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other bridges out of the state directory.

        Raises:
            ConfigError: another one uses it.
        """
        with self._files.locked() if self._files else contextlib.nullcontext():
            yield

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
            await self._save_mesh(self._files)

    async def _save_mesh(self, files: StateFiles) -> None:
        kept = self._publisher.mesh.keep()
        content = await asyncio.to_thread(encode_mesh, kept)
        if content == self._mesh or (not self._mesh and not (kept.identities or kept.last_valid)):
            return
        try:
            await asyncio.to_thread(files.write, MESH_FILE, content)
        except OSError as error:
            self._note(f"{type(error).__name__}: {error}")
        else:
            self._mesh = content
            self._note("")

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
