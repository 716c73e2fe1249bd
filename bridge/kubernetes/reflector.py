"""Follows the objects of one kind: a list in pages, then a watch from there, again and again.

Formats: the Kubernetes API concepts, "Efficient detection of changes".
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Protocol

import aiohttp
import msgspec
import structlog

from meshbridge.bridge.kubernetes.answers import Outcome, Result
from meshbridge.bridge.kubernetes.api import ApiServer
from meshbridge.bridge.kubernetes.objects import Observed, collection_path, observe, versioned
from meshbridge.bridge.kubernetes.pace import jitter
from meshbridge.schemas.errors import PayloadError
from meshbridge.schemas.resource import Kind, ResourceKey

log = structlog.get_logger(__name__)

PAGE = 500
_SLICE = 50
"""Objects read in one go, a few milliseconds."""
_WATCH = (300.0, 600.0)
"""Seconds that a watch lasts; each another time, so that not all are renewed at once."""
_PAUSES = (0.2, 30.0)
"""Seconds before the first and before later attempts after trouble."""
_NEEDS_PEOPLE = frozenset({Result.DENIED, Result.NO_KIND})


class Follower(Protocol):
    """Who wants to know."""

    async def listed(self, kind: Kind, namespace: str, found: list[Observed], resource_version: str) -> None:
        """These are all objects."""

    def knows(self, key: ResourceKey, resource_version: str) -> bool:
        """Whether this state of an object is known: what we wrote ourselves comes back as an event."""

    def changed(self, found: Observed) -> None:
        """An object is new or different."""

    def removed(self, key: ResourceKey, resource_version: str) -> None:
        """An object was deleted."""


class Trouble(Exception):  # noqa: N818 - it says how a request went
    """A list or watch ended otherwise than it should."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.text)
        self.outcome = outcome


class _Expired(Exception):  # noqa: N818 - the protocol's word
    """The server no longer knows what happened since our version."""


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct):
    metadata: _Metadata
    items: list[msgspec.Raw] = []


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Mark(msgspec.Struct):
    metadata: _Metadata = _Metadata()
    code: int = 0
    message: str = ""


class Reflector:
    """Keeps a follower informed about one kind, in one namespace or (namespace "") in all."""

    def __init__(
        self,
        api: ApiServer,
        kind: Kind,
        namespace: str,
        follower: Follower,
        pause: Callable[[float, float], float] = jitter,
    ) -> None:
        self.kind = kind
        self.namespace = namespace
        self.problem: Outcome | None = None
        """Why nothing is known, or no longer kept up to date."""
        self._api = api
        self._follower = follower
        self._pause = pause
        self._path = collection_path(kind, namespace)
        self._version = ""
        self._failures = 0

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
            except _Expired:
                self._version = ""
                await asyncio.sleep(self._pause(0.0, 1.0))
            except Trouble as trouble:
                await self._wait(trouble.outcome)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                await self._wait(Outcome(Result.UNAVAILABLE, f"{type(error).__name__}: {error}"))

    async def _wait(self, outcome: Outcome) -> None:
        if self.problem is None or self.problem.result is not outcome.result:
            log.warning(
                "can't follow objects", kind=self.kind.value, namespace=self.namespace, error=outcome.text
            )
        self.problem = outcome
        self._failures += 1
        longest = _PAUSES[1] if outcome.result in _NEEDS_PEOPLE else _PAUSES[1] / 3
        most = min(longest, _PAUSES[0] * 2**self._failures)
        await asyncio.sleep(max(self._pause(most / 2, most), outcome.retry_after))

    def _well(self) -> None:
        if self.problem is not None:
            log.info("objects are followed again", kind=self.kind.value, namespace=self.namespace)
        self.problem, self._failures = None, 0

    async def _list(self) -> None:
        found: list[Observed] = []
        query = {"limit": str(PAGE)}
        while True:
            page = await self._page(query)
            if page is None:  # The list was changed too often since its first page: all at once then.
                found, query = [], {}
                continue
            for number, document in enumerate(page.items, start=1):
                found.append(observe(self.kind, document))
                if number % _SLICE == 0:
                    await asyncio.sleep(0)
            if not page.metadata.continue_:
                break
            query["continue"] = page.metadata.continue_
        await self._follower.listed(self.kind, self.namespace, found, page.metadata.resource_version)
        self._version = page.metadata.resource_version
        self._well()

    async def _page(self, query: dict[str, str]) -> _List | None:
        outcome = await self._api.request("GET", self._path, query=query, within=60.0)
        if outcome.result is Result.UNAVAILABLE and "continue" in query and "too old" in outcome.text:
            return None
        if outcome.result is not Result.DONE:
            raise Trouble(outcome)
        try:
            return msgspec.json.decode(outcome.body, type=_List)
        except msgspec.MsgspecError as error:
            raise Trouble(Outcome(Result.UNAVAILABLE, f"not a list: {error}")) from error

    async def _watch(self) -> None:
        seconds = self._pause(*_WATCH)
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(int(seconds)),
        }
        async with self._api.stream(self._path, query, seconds + 30.0) as lines:
            if isinstance(lines, Outcome):
                if "too old" in lines.text:
                    raise _Expired
                raise Trouble(lines)
            self._well()
            await self._follow(lines)

    async def _follow(self, lines: AsyncIterator[bytes]) -> None:
        async for line in lines:
            try:
                event = msgspec.json.decode(line, type=_Event)
                self._take(event)
            except (msgspec.MsgspecError, PayloadError) as error:
                self._version = ""  # Something was missed.
                raise Trouble(Outcome(Result.UNAVAILABLE, f"not an event: {error}")) from error

    def _take(self, event: _Event) -> None:
        if event.type == "ERROR":
            status = msgspec.json.decode(event.object, type=_Mark)
            if status.code == 410:
                raise _Expired
            self._version = ""
            raise Trouble(Outcome(Result.UNAVAILABLE, status.message))
        if event.type == "BOOKMARK":
            self._version = msgspec.json.decode(event.object, type=_Mark).metadata.resource_version
            return
        key, version = versioned(self.kind, event.object)
        if event.type == "DELETED":
            self._follower.removed(key, version)
        elif not self._follower.knows(key, version):
            self._follower.changed(observe(self.kind, event.object))
        self._version = version
