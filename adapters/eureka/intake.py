"""Takes the answers of servers into our copy of what they list, in slices that never block the loop."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import structlog

from meshbridge.adapters.base import AdapterContext
from meshbridge.adapters.eureka.client import Answer, Failure
from meshbridge.adapters.eureka.instances import Entry, Reader
from meshbridge.adapters.eureka.leases import Leases, count_leases
from meshbridge.adapters.eureka.payload import Outline, Raw, read_application, read_outline
from meshbridge.adapters.eureka.registry import Registry
from meshbridge.adapters.eureka.settings import EurekaConfig
from meshbridge.schemas.errors import PayloadError

_log = structlog.get_logger(__name__)

_SLICE = 0.005
"""Seconds of work after which others get their turn."""
_LOGGED_REFUSALS = 20

_Item = TypeVar("_Item")


@dataclass
class Doubt:
    """Until when instances are kept that the present server does not list."""

    until: float | None = None
    """Monotonic seconds; None when there are none."""
    reason: str = ""


class Intake:
    """The copy of one source, and how far its server is to be trusted. Outlives `run()`."""

    def __init__(self, config: EurekaConfig, context: AdapterContext) -> None:
        self._config = config
        self._context = context
        self._reader = Reader(config.labels)
        self.registry = Registry(context.source, config.vip_hosts)
        self.leases = Leases()
        self.doubt = Doubt()

    @property
    def is_suspect(self) -> bool:
        """Whether what the server says of absence is worth less than usual."""
        return self.leases.is_self_preservation or self.doubt.until is not None

    def seed(self) -> None:
        """Begin with the groups of an earlier process, all of them in doubt."""
        self.registry.seed(self._context.previous())
        self._judge_doubt("it does not list everything that was known before")

    async def take_full(self, answer: Answer, *, is_new: bool) -> set[str]:
        """Take a full answer and return the services that differ.

        Args:
            answer: the answer, with its body.
            is_new: whether it comes from another server than the one before.

        Raises:
            Failure: it is no answer of a Eureka server.
        """
        outline = _outline(answer)
        listing: dict[str, dict[str, Entry]] = {}
        leases = Leases()
        async for applications in _in_slices(self._entries(outline.applications)):
            for service, entries in applications:
                # An application that is listed twice is both.
                listing[service] = listing[service] | entries if service in listing else entries
                leases = count_leases(leases, entries.values(), answer.server_time)
        self.leases = leases
        now = self._context.clock()
        is_empty = not any(listing.values())
        is_known = not is_new and self.registry.is_continued_by(listing)
        is_due = self.doubt.until is not None and now >= self.doubt.until
        forget = is_due and (is_known or (is_empty and not is_new and self._config.allow_empty))
        if not (is_known or forget):
            if is_new or self.registry.listed:
                self.doubt.until = None  # What falls into doubt now gets the whole time.
            self.registry.doubt_all()
        changed = await _names(self.registry.apply_full(listing, now, forget=forget))
        self._judge_doubt(_reason(is_new=is_new, is_known=is_known, is_empty=is_empty))
        self._tell_refusals()
        return changed

    async def take_delta(self, answer: Answer) -> tuple[set[str], str | None]:
        """Take a delta and return the services that differ, and the hash of what the server lists.

        Raises:
            Failure: it is no answer of a Eureka server.
        """
        outline = _outline(answer)
        changes = [
            change async for made in _in_slices(self._entries(outline.applications)) for change in made
        ]
        changed = await _names(self.registry.apply_delta(changes, self._context.clock()))
        self._end_doubt()
        self._tell_refusals()
        return changed, outline.hash_code

    def _entries(self, applications: Iterable[Raw]) -> Iterator[tuple[str, dict[str, Entry]]]:
        for raw in applications:
            try:
                service, records = read_application(raw)
            except PayloadError as error:
                self._context.metrics.rejected("application")
                _log.warning("application not usable", source=self._context.source, reason=str(error))
                continue
            yield service, self._reader.read(records)

    def _judge_doubt(self, reason: str) -> None:
        """Begin, renew or end the time in which instances are kept that the server does not list."""
        now = self._context.clock()
        self._end_doubt()
        if not self.registry.doubted or (self.doubt.until is not None and now < self.doubt.until):
            return
        if self.doubt.reason != reason:
            _log.warning(
                "keeping instances that the server does not list",
                source=self._context.source,
                instances=self.registry.doubted,
                reason=reason,
            )
        self.doubt = Doubt(now + self._config.settle, reason)

    def _end_doubt(self) -> None:
        if self.doubt.reason and not self.registry.doubted:
            _log.info("server lists everything again", source=self._context.source)
            self.doubt = Doubt()

    def _tell_refusals(self) -> None:
        refusals = self.registry.take_refusals()
        for _ in refusals:
            self._context.metrics.rejected("instance")
        for refusal in refusals[:_LOGGED_REFUSALS]:
            _log.warning(
                "instance not usable",
                source=self._context.source,
                service=refusal.service,
                instance=refusal.id,
                reason=refusal.reason,
            )
        if len(refusals) > _LOGGED_REFUSALS:
            more = len(refusals) - _LOGGED_REFUSALS
            _log.warning("more instances are not usable", source=self._context.source, count=more)


def _outline(answer: Answer) -> Outline:
    try:
        return read_outline(answer.body)
    except PayloadError as error:
        raise Failure("parse", str(error)) from error


def _reason(*, is_new: bool, is_known: bool, is_empty: bool) -> str:
    if is_empty:
        return "it lists nothing, though it has told of no removals"
    if is_new:
        return "another server is read now, and may not know all instances yet"
    if not is_known:
        return "it has been restarted, and may not know all instances yet"
    return "its answers do not agree with each other"


async def _names(steps: Iterable[str]) -> set[str]:
    """Do all steps and return what they give, apart from ""."""
    return {name async for names in _in_slices(steps) for name in names if name}


async def _in_slices(items: Iterable[_Item]) -> AsyncIterator[list[_Item]]:
    """Yield the items in lists, each with what was made before others got their turn."""
    made: list[_Item] = []
    started = time.perf_counter()
    for item in items:
        made.append(item)
        if time.perf_counter() - started > _SLICE:
            yield made
            await asyncio.sleep(0)
            made, started = [], time.perf_counter()
    yield made
