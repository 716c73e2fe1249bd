"""Services that are waited for one by one, within the budget of connections."""

import asyncio
from collections.abc import Collection

import structlog

from meshbridge.adapters.base import AdapterContext
from meshbridge.adapters.consul.bucket import TokenBucket
from meshbridge.adapters.consul.budget import Budget, choose
from meshbridge.adapters.consul.client import Client
from meshbridge.adapters.consul.emitting import Outbox
from meshbridge.adapters.consul.index import next_index
from meshbridge.adapters.consul.intake import Intake
from meshbridge.adapters.consul.reads import Reads
from meshbridge.adapters.consul.transport import Failure

_log = structlog.get_logger(__name__)

_PER_SECOND, _BURST = 10.0, 2
"""Answers to one waiting query; the first `_BURST` are taken at once."""
_REVIEW = 5.0
"""Seconds between two looks at whether the budget may grow."""
_SETTLE = 1.0
"""Seconds after a refusal in which the end of the whole run would show that the agent is gone."""


class HotServices:
    """One waiting query for each of the chosen services."""

    def __init__(
        self,
        context: AdapterContext,
        intake: Intake,
        reads: Reads,
        client: Client,
        budget: Budget,
        outbox: Outbox,
    ) -> None:
        self._context = context
        self._intake = intake
        self._reads = reads
        self._client = client
        self._budget = budget
        self._outbox = outbox
        self._running: dict[str, asyncio.Task[None]] = {}
        self._services: Collection[str] = ()

    def __contains__(self, name: str) -> bool:
        return name in self._running

    def __len__(self) -> int:
        return len(self._running)

    @property
    def strategy(self) -> str:
        """How services are followed: `all` or only the `hot` ones are waited for."""
        return "hot" if self.read_in_turn else "all"

    @property
    def read_in_turn(self) -> int:
        """How many services are not waited for."""
        return max(len(self._services) - len(self._running), 0)

    async def run(self, tasks: asyncio.TaskGroup) -> None:
        """Keep the right services waited for, until cancelled; the queries are tasks of the group."""
        changed = self._reads.on_change
        while True:
            self._choose(tasks)
            changed.clear()
            try:
                async with asyncio.timeout(_REVIEW):
                    await changed.wait()
            except TimeoutError:
                self._budget.recover(self._context.clock())

    def offer(self, services: Collection[str]) -> None:
        """Note which services there are."""
        self._services = services
        self._reads.on_change.set()

    def refuse(self) -> None:
        """Note that the agent is asked too much."""
        if self._budget.refuse(self._context.clock()):
            _log.warning(
                "agent refuses connections, waiting for fewer services",
                source=self._context.source,
                connections=self._budget.current,
            )
        self._reads.on_change.set()

    def _choose(self, tasks: asyncio.TaskGroup) -> None:
        chosen = choose(self._services, self._reads.changed, self._budget.slots)
        for name in self._running.keys() - chosen:
            self._running.pop(name).cancel()
            self._reads.urgent.put(name)  # For what happened since its last answer.
        for name in chosen - self._running.keys():
            task = tasks.create_task(self._follow(name), name=f"{self._context.source}: {name}")
            self._running[name] = task
        self._count()
        self._outbox.wake()

    def _count(self) -> None:
        metrics = self._context.metrics
        metrics.strategy(self.strategy)
        metrics.level("connections", self._budget.current)
        metrics.level("connections_configured", self._budget.configured)
        metrics.level("waited_for", len(self._running))
        metrics.level("read_in_turn", self.read_in_turn)

    async def _follow(self, name: str) -> None:
        bucket = TokenBucket(_PER_SECOND, _BURST, self._context.clock)
        index = self._intake.readings.of(name).index
        while True:
            await asyncio.sleep(bucket.take())
            try:
                reply = await self._client.service(name, index=index)
                await self._reads.take(name, reply)
            except Failure as failure:
                await self._pause(name, failure)
                index = 0
            else:
                known = self._intake.readings.of(name).index
                index = known or next_index(index, reply.standing.index)

    async def _pause(self, name: str, failure: Failure) -> None:
        pause = self._reads.repeat_later(name, failure)
        if failure.reason in ("limited", "connection"):
            await asyncio.sleep(_SETTLE)
            self.refuse()
        await asyncio.sleep(pause)
