"""Reads of single services, queued: urgent ones at once, others evenly, failed ones again after a pause."""

import asyncio

from meshbridge.adapters.base import AdapterContext
from meshbridge.adapters.consul.bucket import TokenBucket
from meshbridge.adapters.consul.budget import READERS
from meshbridge.adapters.consul.client import Client, Reply
from meshbridge.adapters.consul.emitting import Outbox
from meshbridge.adapters.consul.intake import Intake
from meshbridge.adapters.consul.settings import ConsulConfig
from meshbridge.adapters.consul.trail import Trail
from meshbridge.adapters.consul.transport import Failure

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_SWEEPERS = 2
_TICK = 0.25
"""Seconds between two looks at what is to be read again."""


class Inbox:
    """Names in the order they came, each once."""

    def __init__(self) -> None:
        self._names: dict[str, None] = {}
        self._woken = asyncio.Event()

    def __len__(self) -> int:
        return len(self._names)

    def put(self, name: str) -> None:
        """Add a name."""
        self._names[name] = None
        self._woken.set()

    async def get(self) -> str:
        """Return the first name, when there is one."""
        while not self._names:
            self._woken.clear()
            await self._woken.wait()
        name = next(iter(self._names))
        del self._names[name]
        return name


class Reads:
    """Reads services and tells what changed."""

    def __init__(
        self, config: ConsulConfig, context: AdapterContext, intake: Intake, client: Client, outbox: Outbox
    ) -> None:
        self._config = config
        self._context = context
        self._intake = intake
        self._client = client
        self._outbox = outbox
        self.urgent = Inbox()
        """Services that a list says have changed."""
        self.sweep = Inbox()
        """Services that may have changed."""
        self.changed: dict[str, float] = {}
        """When services changed last, for those that did."""
        self._again: dict[str, tuple[float, float]] = {}
        """Services to be read again: when, and after how long a pause."""
        self.on_change = asyncio.Event()
        """That a service changed which was not waited for."""
        self.trail = Trail()

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Work on the queues in tasks of this group."""
        name = self._context.source
        for number in range(READERS - _SWEEPERS):
            tasks.create_task(self._work(self.urgent), name=f"{name}: reader {number}")
        bucket = TokenBucket(self._config.sweep_rate, READERS, self._context.clock)
        for number in range(_SWEEPERS):
            tasks.create_task(self._work(self.sweep, bucket), name=f"{name}: sweeper {number}")
        tasks.create_task(self._repeat(), name=f"{name}: failed reads")

    async def take(self, name: str, reply: Reply) -> bool:
        """Take an answer about a service, tell when it changed anything, and return whether it did.

        Raises:
            Failure: it can't be used, or is not believed.
        """
        before = self._intake.readings.of(name).instances.keys()
        differs = await self._intake.take(name, reply, self._client)
        self.trail.explain(reply.standing.index)
        self.trail.explain(self._intake.readings.of(name).index)
        if self._again.pop(name, None) is not None:
            self._outbox.wake()
        if differs:
            now = self._intake.readings.of(name).instances.keys()
            self.changed[name] = self._context.clock()
            self._outbox.put(name, reply.observed, is_loss=not before <= now)
        return differs

    async def read(self, name: str) -> None:
        """Read a service now.

        Raises:
            Failure: it can't be read, or is not believed.
        """
        if await self.take(name, await self._client.service(name)):
            self.on_change.set()

    def repeat_later(self, name: str, failure: Failure) -> float:
        """Note that a service couldn't be read; return the seconds after which it is read again."""
        self._intake.fail(name, failure)
        _, pause = self._again.get(name, (0.0, 0.0))
        pause = min(max(pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
        self._again[name] = (self._context.clock() + pause, pause)
        self._outbox.wake()
        return pause

    async def _work(self, inbox: Inbox, bucket: TokenBucket | None = None) -> None:
        while True:
            name = await inbox.get()
            if bucket is not None:
                await asyncio.sleep(bucket.take())
            try:
                await self.read(name)
            except Failure as failure:
                self.repeat_later(name, failure)

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            now = self._context.clock()
            for name in [name for name, (due, _) in self._again.items() if due <= now]:
                self._again[name] = (
                    now + _LONGEST_PAUSE,
                    self._again[name][1],
                )  # Unless the read says otherwise before.
                self.sweep.put(name)
