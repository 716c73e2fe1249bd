"""The program: builds everything from a configuration and runs it."""

import asyncio
import functools
import gc
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from meshbridge.adapters.base import AdapterConfig
from meshbridge.bridge import expiry, logs
from meshbridge.bridge.admin.server import AdminServer
from meshbridge.bridge.config.fields import split_listen
from meshbridge.bridge.config.loading import load
from meshbridge.bridge.config.models import Config, McpClient, McpLimits
from meshbridge.bridge.kubernetes.leavers import Limits
from meshbridge.bridge.kubernetes.sink import KubernetesSink
from meshbridge.bridge.metrics import Metrics
from meshbridge.bridge.peers import PeerClient
from meshbridge.bridge.pipeline.mesh import Mesh
from meshbridge.bridge.pipeline.publish import Publisher
from meshbridge.bridge.pipeline.values import Output
from meshbridge.bridge.reload import Reloading, gate_settings, guard_settings, make_rules
from meshbridge.bridge.retain import Retaining
from meshbridge.bridge.sink import Share, Sink
from meshbridge.bridge.status import RunningBridge
from meshbridge.bridge.watching import Watching, expanded
from meshbridge.mcp.access import AllowRule
from meshbridge.mcp.cache import SnapshotCache
from meshbridge.mcp.flow import Pacing
from meshbridge.mcp.limits import Limits as ClientLimits
from meshbridge.mcp.server import McpServer
from meshbridge.mcp.stream import Serving
from meshbridge.mcp.view import Scope
from meshbridge.schemas.registry import SourceState
from meshbridge.schemas.resource import Kind

log = structlog.get_logger(__name__)

_DRAIN = 2.0
"""Seconds that clients get to take leave."""
_SWITCH_INTERVAL = 0.0005
"""Seconds a busy thread may hold the interpreter: a tenth of Python's default, so that the loop gets it
back soon when a registry's client computes in a thread of its own."""
_GAUGES = 2.0
"""Seconds between two looks at the sizes of sources, for metrics."""


async def serve(path: Path, replays: Mapping[str, AdapterConfig] | None = None) -> None:
    """Run the bridge that a configuration file describes, until SIGTERM or SIGINT.

    Args:
        path: the file.
        replays: recordings in the place of sources, by name; the file is not read again then.

    Raises:
        ConfigError: the configuration is wrong.
        SinkError: an address to listen on can't be had.
    """
    config = load(path, os.environ)
    if replays:
        config = _with_replays(config, replays)
    logs.configure(config.log)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    sys.setswitchinterval(_SWITCH_INTERVAL)
    async with running(config, None if replays else path) as bridge:
        loop.add_signal_handler(signal.SIGHUP, bridge.reloading.request)
        log.info("started", sources=len(config.sources), mcp=bridge.mcp_address, admin=bridge.admin_address)
        settling = asyncio.create_task(_freeze_when_loaded(bridge), name="freeze")
        await stop.wait()
        settling.cancel()
        log.info("stopping")


def _with_replays(config: Config, replays: Mapping[str, AdapterConfig]) -> Config:
    """Return the configuration with some of its sources replaced, and without its retained state."""
    sources = tuple(replays.get(part.name, part) for part in expanded(config.sources))
    safety = config.safety.model_copy(update={"state_dir": ""})
    return config.model_copy(update={"sources": sources, "safety": safety})


@dataclass(frozen=True)
class Bridge:
    """A running bridge. Addresses are `host:port`, "" for what is switched off."""

    view: RunningBridge
    publisher: Publisher
    reloading: Reloading
    mcp_address: str
    admin_address: str


@asynccontextmanager
async def running(config: Config, path: Path | None = None) -> AsyncIterator[Bridge]:
    """Run a bridge for as long as the context lasts.

    Args:
        config: what to run.
        path: its file, to be read again when it changes or on request; None: never.

    Raises:
        SinkError: an address to listen on can't be had.
    """
    metrics = Metrics()
    _watch_certificates(config, metrics)
    cache = SnapshotCache()
    kubernetes = _make_kubernetes(config, metrics, lambda: publisher.is_complete)
    publisher = make_publisher(config, _sinks(cache, kubernetes, config), metrics)
    mcp = _make_mcp(config, cache, metrics)
    peers = PeerClient(config.safety.peers)
    view = RunningBridge(publisher, mcp.clients.statuses if mcp else lambda: [], peers, kubernetes)
    admin = AdminServer(view, config.admin, metrics.registry)
    retaining = Retaining(publisher, metrics, config.safety, peers)
    view.copy_of = retaining.copy_of
    with retaining.locked():
        async with _task_group() as tasks:
            watching = Watching(publisher, metrics, tasks, retaining.restore)
            reloading = Reloading(config, path, publisher, watching, view, metrics)
            view.release_config = reloading.release
            mcp_address = await _start_mcp(mcp, config)
            try:
                admin_address = await admin.start()
                await retaining.learn()
                await watching.apply(watching.prepare(config.sources), time.time())
                background = [
                    tasks.create_task(publisher.run(), name="publisher"),
                    tasks.create_task(retaining.run(), name="retained state"),
                    tasks.create_task(reloading.run(), name="reload"),
                    tasks.create_task(_keep_gauges(view, metrics), name="gauges"),
                ]
                if kubernetes is not None:
                    background.append(tasks.create_task(kubernetes.run(), name="kubernetes output"))
                try:
                    yield Bridge(view, publisher, reloading, mcp_address, admin_address)
                finally:
                    await watching.stop()
                    await retaining.save()  # Before its task is cancelled, which may be writing.
                    for task in background:
                        task.cancel()
            finally:
                # Clients keep what they have: they are sent away before anything of it is taken back.
                await _stop_mcp(mcp)
                await admin.stop()


@asynccontextmanager
async def _task_group() -> AsyncIterator[asyncio.TaskGroup]:
    """Give a task group; what goes wrong in it comes out as itself."""
    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
    except BaseExceptionGroup as errors:
        first = errors.exceptions[0]
        raise first from first.__cause__


async def _freeze_when_loaded(bridge: Bridge) -> None:
    """Take what was loaded at the start out of the garbage collector's rounds: it stays anyway."""
    await bridge.publisher.wait_newer(0, None)
    gc.collect()
    gc.freeze()


def make_publisher(config: Config, sinks: list[Sink], metrics: Metrics) -> Publisher:
    """Return the publisher that a configuration describes."""
    names = [part.name for part in expanded(config.sources)]
    mesh = Mesh(make_rules(config), names, guard_settings(config.safety))
    return Publisher(mesh, sinks, metrics.pipeline, gate_settings(config.safety))


def _make_kubernetes(
    config: Config, metrics: Metrics, is_complete: Callable[[], bool]
) -> KubernetesSink | None:
    settings, safety = config.outputs.kubernetes, config.safety
    if not settings.enabled:
        return None
    limits = Limits(safety.min_removed, safety.max_removed_percent, safety.hold)
    return KubernetesSink(settings, metrics.kubernetes, is_complete, limits)


def _sinks(cache: SnapshotCache, kubernetes: KubernetesSink | None, config: Config) -> list[Sink]:
    if kubernetes is None:
        return [cache]
    if not config.outputs.mcp.enabled:
        return [kubernetes]
    return [Share(cache, Output.MCP), Share(kubernetes, Output.KUBERNETES)]


def _make_mcp(config: Config, cache: SnapshotCache, metrics: Metrics) -> McpServer | None:
    settings = config.outputs.mcp
    if not settings.enabled:
        return None
    pacing = Pacing(
        min_push_interval=settings.min_push_interval,
        max_pause=settings.max_push_pause,
        ack_timeout=settings.ack_timeout,
    )
    serving = Serving(
        cache,
        pacing=pacing,
        metrics=metrics.mcp,
        allow=tuple(map(_allow_rule, settings.allow)),
        limits=_limits(settings.limits),
    )
    return McpServer(serving, settings.listen, tls=settings.tls)


def _allow_rule(settings: McpClient) -> AllowRule:
    scope = Scope(frozenset(map(Kind, settings.kinds)), frozenset(settings.namespaces))
    return AllowRule(spiffe=settings.spiffe, san=settings.san, common_name=settings.cn, scope=scope)


def _limits(settings: McpLimits) -> ClientLimits:
    return ClientLimits(
        streams=settings.streams,
        streams_per_peer=settings.streams_per_client,
        requests_per_second=settings.requests_per_second,
        request_bytes=settings.request_bytes,
    )


async def _start_mcp(mcp: McpServer | None, config: Config) -> str:
    if mcp is None:
        return ""
    host, _ = split_listen(config.outputs.mcp.listen)
    return f"{host}:{await mcp.start()}"


async def _stop_mcp(mcp: McpServer | None) -> None:
    if mcp is not None:
        await mcp.stop(_DRAIN)


def _watch_certificates(config: Config, metrics: Metrics) -> None:
    for listener, tls in (("mcp", config.outputs.mcp.tls), ("admin", config.admin.tls)):
        if tls is not None:
            metrics.certificate(listener, functools.partial(expiry.of_file, tls.cert_file))


async def _keep_gauges(view: RunningBridge, metrics: Metrics) -> None:
    while True:
        metrics.gate(is_open=view.readiness().ready)
        for source in view.sources():
            metrics.pipeline.source_state(source.name, SourceState(source.state))
            metrics.pipeline.source_size(source.name, source.services, source.instances, source.held)
        metrics.pipeline.quarantined_services(view.quarantined())
        metrics.pipeline.conflicts(view.conflict_counts())
        for output in view.outputs():
            metrics.kubernetes.output(output)
        await asyncio.sleep(_GAUGES)
