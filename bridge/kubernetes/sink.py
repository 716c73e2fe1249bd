"""The sink: takes snapshots and, while this bridge leads, keeps the API server's objects like them."""

import asyncio
import os
import socket
import time
import uuid
from collections.abc import Callable

import structlog

from meshbridge.bridge.config.kubernetes import KubernetesOutput
from meshbridge.bridge.kubernetes.api import ApiServer, require_package
from meshbridge.bridge.kubernetes.lease import Election
from meshbridge.bridge.kubernetes.leavers import Leavers, Limits
from meshbridge.bridge.kubernetes.objects import Observed
from meshbridge.bridge.kubernetes.ownership import Ownership
from meshbridge.bridge.kubernetes.plan import Verb
from meshbridge.bridge.kubernetes.queue import Queue, phase
from meshbridge.bridge.kubernetes.reflector import Reflector
from meshbridge.bridge.kubernetes.status import OutputStatus, TroubleStatus
from meshbridge.bridge.kubernetes.store import Store
from meshbridge.bridge.kubernetes.troubles import Troubles
from meshbridge.bridge.kubernetes.writer import Memory, Writer, WriterMetrics
from meshbridge.schemas.errors import SinkError
from meshbridge.schemas.resource import EMPTY_SNAPSHOT, Kind, Publication, Resource, ResourceKey, Snapshot

log = structlog.get_logger(__name__)

NAME = "kubernetes"

_TICK = 1.0
_RESTART = 10.0
"""Seconds before another try when the credentials can't be used, or after a bug."""
_SLICE = 500
_SHOWN = 100


class KubernetesSink:
    """Implements `bridge.sink.Sink`; `run()` does the work."""

    name = NAME

    def __init__(
        self,
        settings: KubernetesOutput,
        metrics: WriterMetrics,
        is_complete: Callable[[], bool],
        limits: Limits,
        identity: str = "",
    ) -> None:
        """Prepare.

        Args:
            settings: of the output.
            metrics: what writes are counted in.
            is_complete: whether every source has been read, so that what is not published is not wanted.
            limits: how many leftovers of earlier runs are too many to be deleted at once.
            identity: of this bridge among those of its group.

        Raises:
            SinkError: the package `kubernetes` is not installed.
        """
        require_package()
        self._settings = settings
        self._metrics = metrics
        self._is_complete = is_complete
        self._identity = identity or f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._ownership = Ownership(settings)
        self._store = Store(self._ownership.is_ours)
        self._queue = Queue(time.monotonic)
        self._troubles = Troubles()
        self._leavers = Leavers(limits)
        self._memory = Memory(self._store, self._queue, self._troubles, self._ownership)
        self._snapshot: Snapshot = EMPTY_SNAPSHOT
        self._generation = 0
        self._known: set[tuple[Kind, str]] = set()
        self._reflectors: list[Reflector] = []
        self._election: Election | None = None
        self._is_leading = False
        self._since = time.time()
        self._error = ""

    async def apply(self, publication: Publication) -> None:
        """Take the newest snapshot. Writing it is the work of `run()`."""
        self._snapshot, self._generation = publication.snapshot, publication.generation
        delta = publication.delta
        self._leavers.retire(delta.removed)
        self._leavers.forget(found.key for found in delta.added)
        for key in (*(found.key for found in (*delta.added, *delta.changed)), *delta.removed):
            self._touch(key)

    async def run(self) -> None:
        """Keep the objects true until cancelled."""
        while True:
            try:
                async with ApiServer(self._settings) as api:
                    self._error = ""
                    await self._follow(api)
            except* SinkError as errors:
                self._tell(str(errors.exceptions[0]))
            except* Exception as errors:
                log.exception("kubernetes output failed")
                self._tell(f"bug: {errors.exceptions[0]!r}")
            await asyncio.sleep(_RESTART)

    # What the writer asks (`writer.World`).

    def wanted(self, key: ResourceKey) -> Resource | None:
        """Return the resource that should be there."""
        return self._snapshot.get(key)

    def is_known(self, key: ResourceKey) -> bool:
        """Whether the objects of its kind and namespace have been read, and there is a snapshot."""
        known = (key.kind, "") in self._known or (key.kind, key.namespace) in self._known
        return known and self._generation > 0

    def why_unknown(self, key: ResourceKey) -> str:
        """Return why the objects of its kind and namespace can't be read, "" when they will be."""
        for reflector in self._reflectors:
            if reflector.kind is key.kind and reflector.namespace in ("", key.namespace):
                return reflector.problem.text if reflector.problem else ""
        return ""

    def may_leave(self, key: ResourceKey) -> bool:
        """Whether an object may be deleted when nothing asks for it."""
        return self._leavers.may_leave(key)

    def may_write(self) -> bool:
        """Whether nobody else writes. Asked before each request: this process may just have been woken."""
        return self._settings.dry_run or (self._election is not None and self._election.is_leading)

    # What reflectors tell (`reflector.Follower`).

    async def listed(self, kind: Kind, namespace: str, found: list[Observed], resource_version: str) -> None:
        """Take all objects of a kind."""
        for number, key in enumerate(self._store.replace(kind, namespace, found, resource_version), start=1):
            self._touch(key)
            if number % _SLICE == 0:
                await asyncio.sleep(0)
        if (kind, namespace) not in self._known:
            self._known.add((kind, namespace))
            for key in list(self._snapshot[kind].resources):
                if namespace in ("", key.namespace):
                    self._touch(key)

    def changed(self, found: Observed) -> None:
        """Take an object that is new or different."""
        before = self._store.is_ours(found.key)
        if self._store.put(found):
            self._touch(found.key)
            if not before and not self._store.is_ours(found.key):
                self._reconsider(found.key)

    def knows(self, key: ResourceKey, resource_version: str) -> bool:
        """Whether this state of an object is known."""
        return self._store.knows(key, resource_version)

    def removed(self, key: ResourceKey, resource_version: str) -> None:
        """Take that an object was deleted."""
        was_ours = self._store.is_ours(key)
        if self._store.remove(key, resource_version):
            self._leavers.forget([key])
            self._touch(key)
            if not was_ours:
                self._reconsider(key)
            elif self.wanted(key) is None:
                self._troubles.clear(key)

    # What operators see.

    def trouble(self, key: ResourceKey) -> str:
        """Return why an object is not as it should be, "" when it is or another bridge writes."""
        found = self._troubles.get(key)
        return f"{found.reason}: {found.text}" if found else ""

    def release(self) -> int:
        """Let go what waits to be deleted and return how many objects that are."""
        held = self._troubles.keys(Verb.HOLD)
        self._leavers.release()
        for key in held:
            self._touch(key)
        return len(held)

    def status(self) -> OutputStatus:
        """Return how the output fares."""
        problems = [one.problem for one in (*self._reflectors, self._election) if one and one.problem]
        return OutputStatus(
            name=NAME,
            state=self._state(),
            since=self._since,
            leader=self._election.holder if self._election else "",
            identity=self._identity,
            generation=self._generation,
            wanted=len(self._snapshot),
            owned=self._store.owned,
            pending=len(self._queue),
            troubles=dict(self._troubles.counts()),
            error=self._error or (problems[0].text if problems else ""),
            first_troubles=[
                TroubleStatus(str(key), found.reason, found.text)
                for key, found in self._troubles.first(_SHOWN)
            ],
        )

    def _state(self) -> str:
        if self._error:
            return "failed"
        if self._is_leading and len(self._known) == len(self._reflectors):
            return "rehearsing" if self._settings.dry_run else "leading"
        return "standby" if self._election is not None and self._election.holder else "connecting"

    def _tell(self, error: str) -> None:
        if error != self._error:
            self._since = time.time()
            log.error("kubernetes output waits", error=error)
        self._error = error

    async def _follow(self, api: ApiServer) -> None:
        self._known.clear()
        scopes = self._settings.namespaces or ("",)
        self._reflectors = [Reflector(api, kind, scope, self) for scope in scopes for kind in Kind]
        async with asyncio.TaskGroup() as tasks:
            for reflector in self._reflectors:
                tasks.create_task(reflector.run(), name=f"follow {reflector.kind} {reflector.namespace}")
            if self._settings.dry_run:
                tasks.create_task(self._lead(api), name="rehearse")
                return
            settings = self._settings
            self._election = Election(api, settings.group, self._identity, settings.lease)
            tasks.create_task(self._election.run(lambda: self._lead(api)), name="election")

    async def _lead(self, api: ApiServer) -> None:
        writer = Writer(api, self._settings, self._memory, self, self._metrics)
        self._is_leading, self._since = True, time.time()
        try:
            async with asyncio.TaskGroup() as tasks:
                for number in range(self._settings.in_flight):
                    tasks.create_task(writer.work(), name=f"write {number}")
                await self._look_at_everything()
                while True:
                    for key in self._store.stirred():
                        self._touch(key)
                    self._judge_leavers()
                    await asyncio.sleep(_TICK)
        finally:
            self._is_leading, self._since = False, time.time()
            self._queue.clear()
            self._troubles.forget()

    async def _look_at_everything(self) -> None:
        keys = [key for kind in Kind for key in self._snapshot[kind].resources]
        for number, key in enumerate([*keys, *(self._store.ours - set(keys))], start=1):
            self._touch(key)
            if number % _SLICE == 0:
                await asyncio.sleep(0)

    def _judge_leavers(self) -> None:
        if not self._queue.is_idle:
            return  # There may be more of them.
        held = self._troubles.keys(Verb.HOLD)
        was_held = self._leavers.held_since
        is_complete = self._generation > 0 and self._is_complete()
        is_open = self._leavers.judge(len(held), self._store.owned, time.monotonic(), is_complete=is_complete)
        if is_open:
            for key in held:
                self._touch(key)
        elif was_held is None and self._leavers.held_since is not None:
            log.warning("too many objects to delete, they are held", objects=len(held))

    def _touch(self, key: ResourceKey) -> None:
        """Have an object looked at, if it concerns us and we lead."""
        if not self._is_leading:
            return
        is_wanted = self._snapshot.get(key) is not None
        if is_wanted or self._store.is_ours(key) or self._troubles.get(key):
            self._queue.add(key, phase(key.kind, wanted=is_wanted))

    def _reconsider(self, foreign: ResourceKey) -> None:
        """Look again at what was in conflict with objects of others, one of which has changed."""
        if foreign.kind is not Kind.SERVICE_ENTRY:
            return
        for key in self._troubles.keys(Verb.CONFLICT):
            if key.namespace == foreign.namespace:
                self._touch(key)
