"""The sources of a running bridge: one task each, replaced when its part of the configuration changes."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

import structlog

from meshbridge.adapters.base import Adapter, AdapterConfig, AdapterContext
from meshbridge.adapters.probing.adapter import Probing
from meshbridge.adapters.probing.roster import unjudged
from meshbridge.bridge.metrics import Metrics
from meshbridge.bridge.pipeline.publish import Publisher
from meshbridge.bridge.pipeline.sources import Source
from meshbridge.bridge.supervise import Supervised
from meshbridge.schemas.errors import ConfigError
from meshbridge.schemas.registry import InstanceGroup, SourceEvent

log = structlog.get_logger(__name__)


class Start(NamedTuple):
    """A source that is to be started, or to be started anew."""

    config: AdapterConfig
    adapter: Adapter


class Watching:
    """Runs the adapters. What they say goes to the publisher under the name of their source."""

    def __init__(
        self,
        publisher: Publisher,
        metrics: Metrics,
        tasks: asyncio.TaskGroup,
        before_start: Callable[[AdapterConfig], Awaitable[None]],
    ) -> None:
        """Prepare to run adapters in `tasks`; `before_start` is awaited before each starts."""
        self._publisher = publisher
        self._metrics = metrics
        self._tasks = tasks
        self._before_start = before_start
        self._running: dict[str, tuple[AdapterConfig, asyncio.Task[None]]] = {}

    def prepare(self, configs: Sequence[AdapterConfig]) -> dict[str, Start | None]:
        """Return what `apply` shall do for each source; None where the running adapter stays.

        Raises:
            ConfigError: an adapter can't be made of its configuration; nothing has changed then.
        """
        return {config.name: self._prepare(config) for config in expanded(configs)}

    async def apply(self, wanted: Mapping[str, Start | None], now: float) -> None:
        """Watch these sources from now on; `now` is in Unix seconds.

        A source whose configuration is the same keeps its adapter. The groups of a changed one stay
        in force until its new adapter has synced. One that is no longer there is watched no more, and its
        groups leave once the sources that are new have been read: see `Publisher.remove`.
        """
        new = [name for name in wanted if name not in self._running]
        for name in self._running.keys() - wanted.keys():
            await self._stop(name)
            await self._publisher.remove(name, new)
            self._metrics.forget(name)
            log.info("source removed", source=name)
        for name, start in wanted.items():
            if start is None:
                continue
            if name in self._running:
                await self._stop(name)
                log.info("source replaced", source=name)
            await self._start(start, now)

    async def stop(self) -> None:
        """Stop every adapter."""
        for _, task in self._running.values():
            task.cancel()  # All at once: each may take its second to end.
        for name in list(self._running):
            await self._stop(name)

    def _prepare(self, config: AdapterConfig) -> Start | None:
        running = self._running.get(config.name)
        if running is not None and running[0] == config:
            return None
        context = AdapterContext(
            source=config.name,
            metrics=self._metrics.adapter(config.name, kind_of(config)),
            previous=lambda: self._previous(config),
        )
        try:
            return Start(config, compose(config, context, self._metrics))
        except ConfigError as error:
            raise ConfigError([f"source {config.name}: {problem}" for problem in error.problems]) from error

    async def _start(self, start: Start, now: float) -> None:
        config = start.config
        kind, sources = kind_of(config), self._publisher.sources
        source = sources.setdefault(config.name, Source(config.name, kind, config.required, now))
        source.required, source.allow_empty = config.required, config.allow_empty
        await self._before_start(config)
        task = self._tasks.create_task(self._run(start.adapter), name=f"source {config.name}")
        self._running[config.name] = (config, task)

    async def _run(self, adapter: Adapter) -> None:
        async def emit(event: SourceEvent) -> None:
            await self._publisher.submit(adapter.name, event)

        await adapter.run(emit)

    async def _stop(self, name: str) -> None:
        _, task = self._running.pop(name)
        task.cancel()
        await asyncio.wait([task])

    def _previous(self, config: AdapterConfig) -> Mapping[str, InstanceGroup]:
        groups = self._publisher.mesh.catalog.groups(config.name)
        if config.probe is not None:
            groups = map(unjudged, groups)
        return {group.key.name: group for group in groups}


def compose(config: AdapterConfig, context: AdapterContext, metrics: Metrics) -> Adapter:
    """Return the adapter of a source, restarted after errors and, where configured, with active probes."""

    def supervised(adapter: Adapter) -> Adapter:
        return Supervised(adapter, lambda: metrics.restarted(context.source))

    adapter = supervised(config.build(context))
    if config.probe is None:
        return adapter
    # Inside, so that probes outlive outages of the registry; outside, so that a bug ends no other source.
    return supervised(Probing(adapter, config.probe, context))


def expanded(configs: Sequence[AdapterConfig]) -> list[AdapterConfig]:
    """Return one configuration for each failure domain."""
    return [part for config in configs for part in config.expand()]


def kind_of(config: AdapterConfig) -> str:
    """Return the kind of registry the configuration is for."""
    return str(getattr(config, "kind", type(config).__name__))


def fingerprint(config: AdapterConfig) -> str:
    """Return what tells whether retained groups are from the registry that this configuration names."""
    # Without defaults, so that an upgrade which brings a new setting does not make all copies useless.
    said = config.model_dump_json(exclude=set(config.unessential), exclude_defaults=True)
    return hashlib.sha256(f"{kind_of(config)} {said}".encode()).hexdigest()
