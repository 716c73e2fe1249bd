"""Reading the configuration again: on SIGHUP, and when its file changes."""

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import structlog

from meshbridge.bridge.config.loading import load
from meshbridge.bridge.config.models import Config, Safety
from meshbridge.bridge.config.watching import changes, fingerprint
from meshbridge.bridge.metrics import Metrics
from meshbridge.bridge.pipeline.bounds import GuardSettings
from meshbridge.bridge.pipeline.hosts import HostPolicy
from meshbridge.bridge.pipeline.outside import GateSettings
from meshbridge.bridge.pipeline.publish import Publisher
from meshbridge.bridge.pipeline.rules import Rules
from meshbridge.bridge.status import RunningBridge
from meshbridge.bridge.watching import Start, Watching, expanded
from meshbridge.schemas.errors import ConfigError

log = structlog.get_logger(__name__)


class Refused(NamedTuple):
    """Content of the file that would remove too much."""

    content: bytes
    """Its fingerprint."""
    hosts: int
    """How many hosts would go."""


class Reloading:
    """Puts a changed configuration into force, or keeps the old one and says why."""

    def __init__(
        self,
        config: Config,
        path: Path | None,
        publisher: Publisher,
        watching: Watching,
        view: RunningBridge,
        metrics: Metrics,
    ) -> None:
        self._config = config
        self._path = path
        self._publisher = publisher
        self._watching = watching
        self._view = view
        self._metrics = metrics
        self._content = fingerprint(path) if path else b""
        self._requested = asyncio.Event()
        self._refused: Refused | None = None
        """The newest content that was refused for what it would remove."""
        self._released = b""
        """Fingerprint of the content that somebody said is meant."""

    def request(self) -> None:
        """Ask for a reload."""
        self._requested.set()

    def release(self) -> int:
        """Put into force what was refused for what it would remove, and return how many hosts go.

        Raises:
            KeyError: nothing was.
        """
        going = self._publisher.let_leave()
        if self._refused is not None:
            self._released = self._refused.content
            going += self._refused.hosts
            self.request()
        elif not self._publisher.departures.kept_back:
            raise KeyError("no configuration was refused for what it would remove")
        log.warning("configuration released", hosts=going)
        return going

    async def run(self) -> None:
        """Reload whenever asked to, or when the file has changed, until cancelled."""
        if self._path is None:
            return
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch(self._path), name="watch configuration")
            while True:
                await self._requested.wait()
                self._requested.clear()
                await self._reload(self._path)

    async def _watch(self, path: Path) -> None:
        async for _ in changes(path, self._content):
            self.request()

    async def _reload(self, path: Path) -> None:
        content = fingerprint(path)
        try:
            config = load(path, os.environ)
            rules = make_rules(config)
            starts = self._watching.prepare(config.sources)
        except Exception as error:  # Nothing about a new file may end what runs by the old one.
            bug = None if isinstance(error, ConfigError) else error
            self._view.reload_error = repr(bug) if bug else str(error)
            self._metrics.reloaded("refused")
            log.error("reload refused", problems=self._view.reload_error.splitlines(), exc_info=bug)
            return
        self._view.reload_error, self._refused = "", None
        if config == self._config:
            self._metrics.reloaded("unchanged")
            return
        if content != self._released and await self._removes_too_much(config, rules, content):
            return
        await self._apply(config, rules, starts)
        self._metrics.reloaded("applied")
        log.info("reloaded", needs_restart=self._needs_restart(config))
        self._config = config

    async def _removes_too_much(self, config: Config, rules: Rules, content: bytes) -> bool:
        """Whether a new configuration has to wait for somebody to say that what it removes is meant."""
        old = [part.name for part in expanded(self._config.sources)]
        new = [part.name for part in expanded(config.sources)]
        has_successors = bool(set(new) - set(old))
        lost = await self._publisher.preview(rules, new, leaving=has_successors)
        if not lost.are_too_many(guard_settings(config.safety)):
            return False
        self._refused = Refused(content, len(lost.hosts))
        self._view.reload_error = (
            f"it would remove {lost}; "
            "if that is meant, say `meshbridge release config`, until then the old one stays in force"
        )
        self._metrics.reloaded("refused")
        log.error("reload refused", problems=[self._view.reload_error], exc_info=None)
        return True

    async def _apply(self, config: Config, rules: Rules, starts: Mapping[str, Start | None]) -> None:
        names = [part.name for part in expanded(config.sources)]
        await self._publisher.reconfigure(
            lambda mesh: mesh.configure(rules, names, guard_settings(config.safety))
        )
        self._publisher.gate = gate_settings(config.safety)
        await self._watching.apply(starts, time.time())

    def _needs_restart(self, config: Config) -> list[str]:
        """Return the changed parts that only a new process takes up."""
        changed = [
            name
            for name in ("outputs", "admin", "log")
            if getattr(config, name) != getattr(self._config, name)
        ]
        return changed + [
            f"safety.{name}"
            for name in ("state_dir", "max_age", "peers")
            if getattr(config.safety, name) != getattr(self._config.safety, name)
        ]


def make_rules(config: Config) -> Rules:
    """Return the rules of a configuration, compiled."""
    safety = config.safety
    hosts = HostPolicy(safety.hosts.allow, safety.hosts.deny)
    return Rules(config.rules, config.defaults, hosts, safety.identity_rollover)


def guard_settings(safety: Safety) -> GuardSettings:
    """Return the guard's part of the settings."""
    return GuardSettings(safety.min_removed, safety.max_removed_percent, safety.window, safety.hold)


def gate_settings(safety: Safety) -> GateSettings:
    """Return the gate's part of the settings."""
    return GateSettings(
        hold=safety.startup == "hold", grace=safety.grace, refill=safety.refill, max_outage=safety.max_outage
    )
