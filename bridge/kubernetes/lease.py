"""Leader election on a Lease: one bridge of a group writes, the others stand by.

Times are taken from the monotonic clock of this machine; those in the Lease are for people. A Lease is free
when its holder has left it alone for its whole duration, as we saw it. Format: coordination.k8s.io/v1.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

from meshbridge.bridge.config.kubernetes import Lease as LeaseSettings
from meshbridge.bridge.kubernetes.answers import Outcome, Result
from meshbridge.bridge.kubernetes.api import ApiServer
from meshbridge.bridge.kubernetes.pace import jitter

log = structlog.get_logger(__name__)

_RENEW_SHARE = 2 / 3
"""Share of the duration after which a leader that could not renew stops."""
_RETRY_SHARE = 2 / 15
"""Share of the duration between two looks: 2 s of 15."""


def boottime() -> float:
    """Return monotonic seconds that go on while the machine sleeps, where it can tell."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Held(msgspec.Struct, frozen=True):
    """What a Lease says."""

    holder: str
    resource_version: str
    duration: float
    transitions: int
    raw: dict[str, Any]


def read(document: bytes) -> Held:
    """Return what a Lease says.

    Raises:
        msgspec.MsgspecError: it is none.
    """
    raw = msgspec.json.decode(document, type=dict[str, Any])
    spec: dict[str, Any] = raw.get("spec") or {}
    return Held(
        holder=str(spec.get("holderIdentity") or ""),
        resource_version=str(raw["metadata"]["resourceVersion"]),
        duration=float(spec.get("leaseDurationSeconds") or 0),
        transitions=int(spec.get("leaseTransitions") or 0),
        raw=raw,
    )


class Watched:
    """Since when a Lease has been as it is; pure but for the clock it is given."""

    def __init__(self) -> None:
        self._version = ""
        self._since = 0.0

    def is_free(self, held: Held, me: str, now: float) -> bool:
        """Whether the Lease may be taken now."""
        if held.resource_version != self._version:
            self._version, self._since = held.resource_version, now
        return held.holder in ("", me) or now - self._since > held.duration


class Election:
    """Takes part in the election for as long as `run` runs."""

    def __init__(
        self,
        api: ApiServer,
        name: str,
        identity: str,
        settings: LeaseSettings,
        clock: Callable[[], float] = boottime,
    ) -> None:
        self.identity = identity
        self.holder = ""
        """Who holds the Lease, as we saw it last."""
        self.problem: Outcome | None = None
        """Why we can't take part."""
        self._api = api
        self._name = name
        self._namespace = settings.namespace or api.namespace
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{self._namespace}/leases"
        self._duration = float(int(settings.duration))
        self._clock = clock
        self._until = 0.0
        self._watched = Watched()
        self._held: Held | None = None

    @property
    def is_leading(self) -> bool:
        """Whether nobody else can hold the Lease now, and for a good while."""
        return self._clock() < self._until

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do the work whenever we lead, until cancelled; it is cancelled in time when we no longer do."""
        try:
            while True:
                await self._acquire()
                log.info("leading", identity=self.identity)
                await self._lead(work)
                log.warning("no longer leading", identity=self.identity, holder=self.holder)
        finally:
            await self._release()

    async def _acquire(self) -> None:
        while not await self._try():  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(self._duration * _RETRY_SHARE * jitter(1.0, 1.3))

    async def _lead(self, work: Callable[[], Awaitable[None]]) -> None:
        working = asyncio.ensure_future(work())
        try:
            while self.is_leading:
                wait = min(self._duration * _RETRY_SHARE, self._until - self._clock())
                await asyncio.wait({working}, timeout=max(wait, 0.0))
                if working.done():
                    break
                if not await self._try() and self._held is not None and self.holder != self.identity:
                    break
        finally:
            self._until = 0.0
            working.cancel()
            await asyncio.wait({working})
        if not working.cancelled():
            working.result()  # The work ended by itself: its error is ours.

    async def _try(self) -> bool:
        """Take or renew the Lease; return whether it is ours."""
        asked = self._clock()
        until = asked + self._duration * _RENEW_SHARE
        within = max(
            min(self._duration / 3, self._until - asked) if self.is_leading else self._duration / 3, 0.1
        )
        outcome, held = await self._look(within)
        if outcome.result is Result.DONE and held is not None:
            if not self._watched.is_free(held, self.identity, self._clock()):
                self.holder, self._held, self._until = held.holder, held, 0.0
                self._well()
                return False
            outcome = await self._put(held, within)
        elif outcome.result is Result.STALE:  # There is none yet.
            outcome = await self._create(within)
        if outcome.result is not Result.DONE:
            self._note(outcome)
            return False
        self.holder, self._held, self._until = self.identity, read(outcome.body), until
        self._well()
        return True

    async def _look(self, within: float) -> tuple[Outcome, Held | None]:
        # A leader renews what it wrote last: one request, and whoever else wrote makes it fail.
        if self.is_leading and self._held is not None and self._held.holder == self.identity:
            held, self._held = self._held, None
            return Outcome(Result.DONE), held
        outcome = await self._api.request("GET", f"{self._path}/{self._name}", within=within)
        if outcome.result is not Result.DONE:
            return outcome, None
        return outcome, read(outcome.body)

    async def _put(self, held: Held, within: float) -> Outcome:
        is_new = held.holder != self.identity
        now = _stamp()
        spec = {
            **(held.raw.get("spec") or {}),
            "holderIdentity": self.identity,
            "leaseDurationSeconds": int(self._duration),
            "renewTime": now,
        }
        if is_new:
            spec |= {"acquireTime": now, "leaseTransitions": held.transitions + 1}
        return await self._api.request(
            "PUT",
            f"{self._path}/{self._name}",
            body=msgspec.json.encode({**held.raw, "spec": spec}),
            within=within,
        )

    async def _create(self, within: float) -> Outcome:
        now = _stamp()
        document = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": self.identity,
                "leaseDurationSeconds": int(self._duration),
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": 0,
            },
        }
        return await self._api.request("POST", self._path, body=msgspec.json.encode(document), within=within)

    async def _release(self) -> None:
        """Let the next one lead at once."""
        held, self._held, self._until = self._held, None, 0.0
        if held is None or held.holder != self.identity:
            return
        spec = {**held.raw["spec"], "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _stamp()}
        await self._api.request(
            "PUT",
            f"{self._path}/{self._name}",
            body=msgspec.json.encode({**held.raw, "spec": spec}),
            within=min(self._duration / 3, 2.0),
        )
        self.holder = ""

    def _note(self, outcome: Outcome) -> None:
        if outcome.result is Result.STALE:
            return  # Somebody was quicker.
        if self.problem is None or self.problem.result is not outcome.result:
            log.warning("no election", lease=f"{self._namespace}/{self._name}", error=outcome.text)
        self.problem = outcome

    def _well(self) -> None:
        if self.problem is not None:
            log.info("election again", lease=f"{self._namespace}/{self._name}")
        self.problem = None


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
