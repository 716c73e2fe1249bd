"""One run of a source: reads everything, then what the registry says has changed.

Four lists are waited for all the time; together they see every change. Besides, as many services as the
budget of connections allows are waited for one by one, those that changed last first; what the lists say of
the others leads to reads, a few at a time.
"""

import asyncio
from collections.abc import Callable

from meshbridge.adapters.base import AdapterContext, Emit
from meshbridge.adapters.consul import lists
from meshbridge.adapters.consul.bucket import TokenBucket
from meshbridge.adapters.consul.budget import READERS, Budget
from meshbridge.adapters.consul.client import CRITICAL, NODES, SERVICES, WARNING, Client, Reply
from meshbridge.adapters.consul.emitting import Outbox
from meshbridge.adapters.consul.hot import HotServices
from meshbridge.adapters.consul.index import Movement, movement, next_index
from meshbridge.adapters.consul.intake import Intake
from meshbridge.adapters.consul.reads import Reads
from meshbridge.adapters.consul.settings import ConsulConfig
from meshbridge.adapters.consul.sweeps import Sweeps
from meshbridge.adapters.consul.transport import Failure
from meshbridge.schemas.errors import PayloadError
from meshbridge.schemas.registry import SourceReport

_PER_SECOND, _BURST = 2.0, 2
"""Answers about one list; the first `_BURST` are taken at once."""
_SHARE, _LONGEST_REST = 0.1, 5.0
"""A list is read in at most this share of the time, with at most so many seconds between two reads of it."""
_PATIENCE = 3
"""Refusals for want of capacity in a row after which a list is given up."""
_INVISIBLE = (
    "no node is visible, which can't be: the token needs node:read (or there is none, see token_file)"
)


class Watch:
    """A run. Made for one `run()` of the adapter, inside its loop."""

    def __init__(
        self, config: ConsulConfig, context: AdapterContext, intake: Intake, budget: Budget, client: Client
    ) -> None:
        self._config = config
        self._context = context
        self._intake = intake
        self._budget = budget
        self._client = client
        self._outbox = Outbox(intake.readings, context, self._report)
        self._reads = Reads(config, context, intake, client, self._outbox)
        self._hot = HotServices(context, intake, self._reads, client, budget, self._outbox)
        self._catalog: lists.Catalog = {}
        self._services: frozenset[str] = frozenset()
        """Those of the catalog that the configuration wants."""
        self._is_filtered = False
        self._nodes: lists.Nodes = {}
        self._checks: dict[str, lists.Checks] = {CRITICAL: frozenset(), WARNING: frozenset()}
        self._indexes: dict[str, int] = {}
        self._costs: dict[str, float] = {}
        """Seconds that it takes to read a list."""
        self._sweeps = Sweeps(config, self._reads)

    async def run(self, emit: Emit) -> None:
        """Read everything, say it, and go on until cancelled.

        Raises:
            Failure: the registry gives no usable answer.
        """
        await self._read_lists()
        await self._read_services()
        self._reads.changed.clear()  # That everything is new says nothing of what will change.
        self._hot.offer(self._services)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._outbox.run(emit), name=f"{self._context.source}: events")
            for path in (SERVICES, NODES, CRITICAL, WARNING):
                tasks.create_task(self._follow(path), name=f"{self._context.source}: {path}")
            self._reads.start(tasks)
            tasks.create_task(self._hot.run(tasks), name=f"{self._context.source}: hot services")
            tasks.create_task(self._turn_over(), name=f"{self._context.source}: anti-entropy")
            tasks.create_task(self._sweeps.run(self._cold), name=f"{self._context.source}: sweeps")

    async def _read_lists(self) -> None:
        """Read the four lists from the leader, whose word on what is not there counts."""
        for path in (SERVICES, NODES, CRITICAL, WARNING):
            asked = self._context.clock()
            reply = await self._client.read_list(path, is_plain=True)
            self._costs[path] = reply.observed - asked
            self._indexes[path] = next_index(0, reply.standing.index)
            self._take_list(path, reply)
        self._reads.trail.begin(self._indexes[SERVICES])
        self._intake.note_default_policy(self._client)
        self._require_nodes()

    def _require_nodes(self) -> None:
        if self._config.scope.has_servers and not self._nodes:
            raise Failure("denied", _INVISIBLE)

    async def _read_services(self) -> None:
        """Read every service, a few at a time."""
        config = self._config
        known = lists.wanted(self._intake.readings.names, config.services, config.exclude_services)
        for name in set(self._intake.readings.names) - known:
            self._intake.readings.drop(name)  # The configuration leaves it out now.
        names = iter(sorted(self._services | known))

        async def work() -> None:
            for name in names:
                await self._read_first(name)

        async with asyncio.TaskGroup() as tasks:
            for number in range(READERS):
                tasks.create_task(work(), name=f"{self._context.source}: first reads {number}")

    async def _read_first(self, name: str) -> None:
        try:
            await self._reads.read(name)
        except Failure as failure:
            # One service that can't be read must not hide the others.
            if name in self._intake.readings and failure.reason in ("refused", "doubt", "denied"):
                self._reads.repeat_later(name, failure)
            elif failure.reason == "refused":
                self._intake.note_refused(name, failure)
            else:
                raise

    async def _follow(self, path: str) -> None:
        rest = max(min(self._costs[path] / _SHARE, _LONGEST_REST), 1 / _PER_SECOND)
        bucket = TokenBucket(1 / rest, _BURST, self._context.clock)
        refusals = 0
        while True:
            await asyncio.sleep(bucket.take())
            last = self._indexes[path]
            try:
                reply = await self._client.read_list(path, index=last)
            except Failure as failure:
                refusals += 1
                if failure.reason != "limited" or refusals == _PATIENCE:
                    raise
                self._hot.refuse()
                await asyncio.sleep(refusals)
                continue
            refusals = 0
            if movement(last, reply.standing.index) is not Movement.AHEAD:
                reply = await self._ask_again(path, last, reply)
            found = reply.standing.index
            self._indexes[path] = next_index(0, found)
            # Taken in any case: what a token may see changes without the index.
            self._enqueue(self._take_list(path, reply))
            if path == SERVICES:
                self._sweeps.note(found)
            if path == NODES and not self._nodes:
                self._take_list(path, await self._client.read_list(path, is_plain=True))
                self._require_nodes()

    async def _ask_again(self, path: str, last: int, reply: Reply) -> Reply:
        """Return the leader's answer instead of one with an index that is unknown or lower than before."""
        if movement(last, reply.standing.index) is Movement.SAME:
            return reply
        reply = await self._client.read_list(path, is_plain=True)
        if movement(last, reply.standing.index) is Movement.BACK:
            self._start_over()
        return reply

    def _take_list(self, path: str, reply: Reply) -> set[str]:
        """Take a list and return the services in which something changed.

        Raises:
            Failure: it can't be used.
        """
        if path == SERVICES:
            self._is_filtered = reply.standing.is_filtered
        try:
            return self._parsers[path](path, reply.body)
        except PayloadError as error:
            self._context.metrics.error("payload")
            raise Failure("payload", str(error)) from error

    @property
    def _parsers(self) -> dict[str, Callable[[str, bytes], set[str]]]:
        return {
            SERVICES: self._take_catalog,
            NODES: self._take_nodes,
            CRITICAL: self._take_checks,
            WARNING: self._take_checks,
        }

    def _take_catalog(self, _path: str, body: bytes) -> set[str]:
        before, self._catalog = self._catalog, self._intake.parse_catalog(body)
        self._intake.note_catalog(self._catalog)
        if before.keys() != self._catalog.keys():
            config = self._config
            self._services = lists.wanted(self._catalog, config.services, config.exclude_services)
            self._hot.offer(self._services)
        return lists.differing(before, self._catalog)

    def _take_nodes(self, _path: str, body: bytes) -> set[str]:
        before, self._nodes = self._nodes, lists.parse_nodes(body)
        return set(self._intake.readings.on_nodes(lists.differing_nodes(before, self._nodes)))

    def _take_checks(self, path: str, body: bytes) -> set[str]:
        before, self._checks[path] = self._checks[path], lists.parse_checks(body)
        services, nodes = lists.touched(before, self._checks[path])
        return services | set(self._intake.readings.on_nodes(nodes))

    def _enqueue(self, differing: set[str]) -> None:
        """Have the services read in which something changed, unless they are waited for anyway."""
        known = self._services | {name for name in differing if name in self._intake.readings}
        for name in sorted(known & differing):
            if name not in self._hot or name not in self._services:
                self._reads.urgent.put(name)

    def _cold(self) -> list[str]:
        """Return the services that are not waited for, sorted."""
        return sorted(name for name in self._services if name not in self._hot)

    def _start_over(self) -> None:
        """The servers count anew, so nothing says what happened meanwhile: read everything."""
        self._intake.readings.forget_indexes()
        self._reads.trail.begin(0)
        for name in self._services | set(self._intake.readings.names):
            self._reads.sweep.put(name)

    async def _turn_over(self) -> None:
        """Read every service once in each interval, evenly, for changes that nothing told of."""
        while True:
            names = sorted(self._services | set(self._intake.readings.names))
            for name in names:
                await asyncio.sleep(self._config.sweep_interval / len(names))
                self._reads.sweep.put(name)
            if not names:
                await asyncio.sleep(self._config.sweep_interval)

    def _report(self) -> SourceReport:
        details = {
            "agent": self._client.agent,
            "strategy": f"{self._hot.strategy} services waited for",
            "connections": f"{self._budget.current} of {self._budget.configured}",
            "waited_for": str(len(self._hot)),
            "read_in_turn": str(self._hot.read_in_turn),
        }
        if self._is_filtered:
            details["acl"] = "the token may not see every service"
        return self._intake.report(details.items())
