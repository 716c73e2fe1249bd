"""Reading every source once, to tell what a configuration would bring into the mesh."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import structlog

from meshbridge.adapters.base import AdapterConfig, AdapterContext
from meshbridge.bridge.config.models import Config
from meshbridge.bridge.pipeline.bounds import GuardSettings
from meshbridge.bridge.pipeline.lint import lint, lint_met
from meshbridge.bridge.pipeline.mesh import Mesh
from meshbridge.bridge.pipeline.sources import NEVER_SEEN_OTHERWISE, has_instances
from meshbridge.bridge.reload import make_rules
from meshbridge.bridge.supervise import bug_text
from meshbridge.bridge.watching import expanded, kind_of
from meshbridge.schemas.errors import ConfigError, RegistryError
from meshbridge.schemas.registry import FullSync, SourceEvent

log = structlog.get_logger(__name__)


@dataclass
class SourceCheck:
    """What one source has, and what is wrong with it."""

    name: str
    kind: str
    ok: bool = False
    services: int = 0
    instances: int = 0
    problems: list[str] = field(default_factory=list)
    error: str = ""
    """Why the source can't be read."""


@dataclass
class Checked:
    """What a configuration would bring into the mesh."""

    sources: list[SourceCheck]
    warnings: list[str]
    """What is probably wrong with the rules; empty unless every source could be read."""


def check_rules(config: Config) -> list[str]:
    """Return what is probably wrong with the rules, as far as the configuration alone tells."""
    return list(lint(config.rules, [source.name for source in config.sources]))


async def read_sources(config: Config, within: float) -> tuple[Mesh, list[SourceCheck]]:
    """Return the mesh of what the sources have, each read once (at most `within` seconds, all at once)."""
    parts = expanded(config.sources)
    mesh = Mesh(make_rules(config), [part.name for part in parts], GuardSettings())
    checks = await asyncio.gather(*(_check(part, mesh, within) for part in parts))
    for _ in mesh.settle():
        pass
    return mesh, checks


async def check_sources(config: Config, within: float) -> Checked:
    """Return a check of each source, after reading each once (at most `within` seconds, all at once)."""
    mesh, checks = await read_sources(config, within)
    for check in checks:
        check.problems.extend(_problems(mesh, check.name))
    all_read = all(check.ok for check in checks)
    return Checked(checks, list(lint_met(mesh)) if all_read else [])


async def _check(config: AdapterConfig, mesh: Mesh, within: float) -> SourceCheck:
    check = SourceCheck(config.name, kind_of(config))
    try:
        async with asyncio.timeout(within):
            sync = await _first_sync(config)
    except RegistryError as error:
        check.error = f"{error.operation}: {error.reason}"
    except ConfigError as error:
        check.error = "; ".join(error.problems)
    except TimeoutError:
        check.error = f"not read within {within:g} seconds"
    except Exception as error:
        log.exception("adapter failed", source=config.name)
        check.error = f"bug: {bug_text(error)}"
    else:
        check.ok = True
        check.services = len(sync.groups)
        check.instances = sum(len(group.instances) for group in sync.groups)
        if not (has_instances(sync) or sync.empty_is_meant or config.allow_empty):
            check.problems.append(NEVER_SEEN_OTHERWISE.format(config.name))
        mesh.apply(config.name, mesh.catalog.compare(sync.groups), time.monotonic())
    return check


async def _first_sync(config: AdapterConfig) -> FullSync:
    found: asyncio.Future[FullSync] = asyncio.get_running_loop().create_future()

    async def emit(event: SourceEvent) -> None:
        if isinstance(event, FullSync) and not found.done():
            found.set_result(event)

    adapter = config.build(AdapterContext(config.name))
    running = asyncio.create_task(adapter.run(emit), name=f"check {config.name}")
    try:
        both: list[asyncio.Future[Any]] = [running, found]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not found.done():
            await running
        return await found
    finally:
        running.cancel()
        await asyncio.wait([running])


def _problems(mesh: Mesh, source: str) -> list[str]:
    """Return everything that would be left out or changed on the way of this source into the mesh."""
    problems: list[str] = []
    for evaluated in mesh.evaluated(source):
        problems.extend(
            f"{evaluated.group.key.name}: {note.record}: {note.reason}" for note in evaluated.group.notes
        )
        for target in sorted(evaluated.targets()):
            built = mesh.services[target]
            if built.service.groups[0] == evaluated.group.key:
                problems.extend(f"{target}: {note.record}: {note.reason}" for note in built.notes)
                problems.extend([f"{target}: {built.error.strip()}"] if built.error else [])
    return problems
