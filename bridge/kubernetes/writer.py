"""Makes one object after another what it should be."""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import msgspec
import structlog

from meshbridge.bridge.config.kubernetes import KubernetesOutput
from meshbridge.bridge.kubernetes.answers import Outcome, Result
from meshbridge.bridge.kubernetes.api import APPLY, ApiServer
from meshbridge.bridge.kubernetes.objects import encode, hosts, object_path, observe
from meshbridge.bridge.kubernetes.ownership import Ownership
from meshbridge.bridge.kubernetes.pace import FIGHT_WINDOW, Pace, Repairs, backoff
from meshbridge.bridge.kubernetes.plan import WRITES, Action, Case, Verb, decide
from meshbridge.bridge.kubernetes.queue import Queue, phase
from meshbridge.bridge.kubernetes.store import Store
from meshbridge.bridge.kubernetes.troubles import Troubles
from meshbridge.schemas.errors import PayloadError
from meshbridge.schemas.resource import Kind, Resource, ResourceKey

log = structlog.get_logger(__name__)

_RETRY = {
    Result.DENIED: 60.0,
    Result.NO_NAMESPACE: 15.0,
    Result.NO_KIND: 30.0,
    Result.CONFLICT: 300.0,
    Result.REFUSED: 600.0,
    Result.TOO_LARGE: 600.0,
}
"""Seconds after which what only people can mend is tried again; a change of the object is tried at once."""
_BUG = 60.0
_UNREAD = 5.0

Place = tuple[str, str]
"""A kind and a namespace; "" stands for all."""


class WriterMetrics(Protocol):
    """What the writer counts."""

    def written(self, kind: Kind, result: str, seconds: float) -> None:
        """A write was done (`created`, `updated`, ...) or failed for a reason."""


class World(Protocol):
    """What the writer asks about one object."""

    def wanted(self, key: ResourceKey) -> Resource | None:
        """Return the resource that should be there."""

    def is_known(self, key: ResourceKey) -> bool:
        """Whether the objects of its kind and namespace have been read, and there is a snapshot."""

    def why_unknown(self, key: ResourceKey) -> str:
        """Return why they can't be read, "" when they will be."""

    def may_leave(self, key: ResourceKey) -> bool:
        """Whether it may be deleted when nothing asks for it."""

    def may_write(self) -> bool:
        """Whether nobody else writes."""


@dataclass(frozen=True)
class Memory:
    """What outlives a term of leading."""

    store: Store
    queue: Queue
    troubles: Troubles
    ownership: Ownership


class Writer:
    """Works off the queue."""

    def __init__(
        self,
        api: ApiServer,
        settings: KubernetesOutput,
        memory: Memory,
        world: World,
        metrics: WriterMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._settings = settings
        self._store, self._queue = memory.store, memory.queue
        self._troubles, self._ownership = memory.troubles, memory.ownership
        self._world = world
        self._metrics = metrics
        self._clock = clock
        self._pace = Pace(clock)
        self._repairs = Repairs()
        self._failures: dict[ResourceKey, int] = {}
        self._settled: dict[ResourceKey, tuple[str, bytes]] = {}
        self._rehearsed: dict[ResourceKey, str] = {}
        self._blocked: dict[Place, float] = {}
        self._creating = asyncio.Lock()

    async def work(self) -> None:
        """Look at one object after another, until cancelled. Several of these may run at once."""
        while True:
            key = await self._queue.take()
            try:
                await self._look(key)
            except Exception as error:  # One odd object must not keep the others from being written.
                log.exception("writing failed", object=str(key))
                self._troubles.note(key, "bug", f"{type(error).__name__}: {error}")
                self._again(key, _BUG)
            finally:
                self._queue.done(key)
            await asyncio.sleep(0)  # Most objects need no request, and others have work too.

    async def _look(self, key: ResourceKey) -> None:
        wanted = self._world.wanted(key)
        scope = self._settings.namespaces
        if wanted is not None and scope and key.namespace not in scope:
            text = f"outputs.kubernetes.namespaces does not name {key.namespace}"
            self._troubles.note(key, "outside", text)
            return
        if not self._world.is_known(key):  # It comes again when its objects have been read.
            if wanted is not None and (why := self._world.why_unknown(key)):
                self._troubles.note(key, "unread", why)
            self._again(key, _UNREAD)
            return
        action = self._decide(key, wanted)
        if action.verb in WRITES:
            await self._write(key, wanted, action)
        elif action.verb is Verb.NOTHING:
            self._well(key, action.remark)
        else:
            self._troubles.note(key, action.verb.value, action.reason)

    def _decide(self, key: ResourceKey, wanted: Resource | None) -> Action:
        rival = ""
        if wanted is not None and self._store.has_foreign_hosts(key.namespace):
            rival = self._store.rival(key, hosts(wanted))
        may_delete = wanted is None and self._world.may_leave(key)
        case = Case(wanted, self._store.get(key), rival, may_delete, self._settled.get(key))
        action = decide(case, self._ownership, self._settings.policy)
        if action.verb is Verb.REPAIR and self._repairs.is_fight(key, self._clock()):
            self._again(key, FIGHT_WINDOW)
            return Action(Verb.CONFLICT, "somebody keeps undoing what we write")
        if action.verb in WRITES and self._rehearsed.get(key) == _rehearsal(wanted):
            return Action(Verb.NOTHING, remark=action.remark)
        return action

    async def _write(self, key: ResourceKey, wanted: Resource | None, action: Action) -> None:
        if self._is_blocked(key):
            return
        await self._pace.ready()
        if not self._world.may_write():
            self._again(key, 1.0)
            return
        begun = self._clock()
        outcome, sent = await self._send(key, wanted, action)
        took = self._clock() - begun
        if outcome.result is Result.DONE:
            self._metrics.written(key.kind, action.verb.value, took)
            self._done(key, wanted, action, outcome, sent)
        else:
            self._metrics.written(key.kind, outcome.result.value, took)
            await self._failed(key, outcome)

    async def _send(self, key: ResourceKey, wanted: Resource | None, action: Action) -> tuple[Outcome, bytes]:
        """Return how the write ended, and the digest of the spec that was sent."""
        query = {"dryRun": "All"} if self._settings.dry_run else {}
        if wanted is None:
            meant = {"uid": action.uid, "resourceVersion": action.resource_version}
            body = msgspec.json.encode({"preconditions": meant, **({"dryRun": ["All"]} if query else {})})
            return await self._api.request("DELETE", object_path(key), body=body), b""
        body, sent = encode(wanted, self._ownership.group, action.uid)
        query |= {"fieldManager": self._ownership.manager, "force": "true" if action.force else "false"}
        outcome = await self._api.request(
            "PATCH",
            object_path(key),
            query=query,
            body=body,
            content_type=APPLY,
        )
        return outcome, sent

    def _done(
        self, key: ResourceKey, wanted: Resource | None, action: Action, outcome: Outcome, sent: bytes
    ) -> None:
        self._pace.succeeded()
        self._well(key, action.remark)
        for place in _places(key):
            if self._blocked.pop(place, None) is not None:
                self._revive(place)
        if self._settings.dry_run:
            self._rehearsed[key] = _rehearsal(wanted)
        elif wanted is not None:
            try:
                # A new object is what we sent; in an older one others may have fields.
                found = observe(key.kind, outcome.body, sent if outcome.is_created else b"")
            except PayloadError:
                return  # The watch will tell.
            self._store.put(found)
            self._settled[key] = (wanted.version, found.digest)
        else:
            self._settled.pop(key, None)
            self._repairs.forget(key)
        if action.verb is Verb.REPAIR:
            self._repairs.note(key, self._clock())
            log.info("object put right", object=str(key))

    async def _failed(self, key: ResourceKey, outcome: Outcome) -> None:
        result = outcome.result
        if result in {Result.BUSY, Result.UNAVAILABLE}:
            self._pace.failed(outcome.retry_after)
            self._troubles.note(key, result.value, outcome.text)
            self._again(key, 0.0)
        elif result is Result.STALE:
            self._failures[key] = self._failures.get(key, 0) + 1
            self._again(key, backoff(self._failures[key]))
        elif result is Result.NO_NAMESPACE and self._settings.create_namespaces:
            await self._create_namespace(key)
        else:
            self._give_up(key, outcome)

    def _give_up(self, key: ResourceKey, outcome: Outcome) -> None:
        """Report, and try again when people have had time; places are tried with one object."""
        wait = _RETRY[outcome.result]
        self._troubles.note(key, outcome.result.value, outcome.text)
        place = _blocked_place(key, outcome.result)
        if place is not None:
            self._blocked[place] = self._clock() + wait
        self._again(key, wait)

    def _is_blocked(self, key: ResourceKey) -> bool:
        now = self._clock()
        for place in _places(key):
            until = self._blocked.get(place)
            if until is None:
                continue
            if now < until:
                self._troubles.note(key, "waiting", "others like it can't be written now either")
                self._again(key, until - now)
                return True
            self._blocked[place] = now + self._settings.request_timeout  # This one tries for all.
        return False

    def _revive(self, place: Place) -> None:
        kind, namespace = place
        for key in self._troubles.keys("waiting", Result.DENIED, Result.NO_NAMESPACE, Result.NO_KIND):
            if kind in ("", key.kind) and namespace in ("", key.namespace):
                self._queue.add(key, phase(key.kind, wanted=self._world.wanted(key) is not None))

    async def _create_namespace(self, key: ResourceKey) -> None:
        async with self._creating:
            name = key.namespace
            labels = {"app.kubernetes.io/managed-by": "meshbridge"}
            document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
            query = {"dryRun": "All"} if self._settings.dry_run else None
            outcome = await self._api.request(
                "POST", "/api/v1/namespaces", query=query, body=msgspec.json.encode(document)
            )
        if outcome.result is Result.DONE and not self._settings.dry_run:
            log.info("namespace created", namespace=name)
            self._again(key, 0.0)
        elif outcome.result is Result.STALE:  # It exists meanwhile.
            self._again(key, 0.2)
        else:
            text = f"namespace {name} is missing, and can't be created: {outcome.text}"
            self._give_up(key, Outcome(Result.NO_NAMESPACE, text))

    def _well(self, key: ResourceKey, remark: str) -> None:
        self._failures.pop(key, None)
        if remark:
            self._troubles.note(key, "shared", remark)
        else:
            self._troubles.clear(key)

    def _again(self, key: ResourceKey, seconds: float) -> None:
        when = phase(key.kind, wanted=self._world.wanted(key) is not None)
        if seconds <= 0:
            self._queue.add(key, when)
        else:
            self._queue.add_later(key, when, seconds)


def _rehearsal(wanted: Resource | None) -> str:
    return wanted.version if wanted is not None else "deleted"


def _places(key: ResourceKey) -> Iterable[Place]:
    return (key.kind, key.namespace), (key.kind, ""), ("", key.namespace)


def _blocked_place(key: ResourceKey, result: Result) -> Place | None:
    """Return where else the same will happen."""
    return {
        Result.DENIED: (key.kind.value, key.namespace),
        Result.NO_KIND: (key.kind.value, ""),
        Result.NO_NAMESPACE: ("", key.namespace),
    }.get(result)
