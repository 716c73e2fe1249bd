"""Watches one Eureka cluster and says what changed: the order of things, no rules."""

import asyncio
import random

import structlog

from meshbridge.adapters.base import AdapterContext, Emit
from meshbridge.adapters.eureka import servers
from meshbridge.adapters.eureka.client import Answer, Client, Failure, open_client
from meshbridge.adapters.eureka.intake import Intake
from meshbridge.adapters.eureka.payload import read_outline
from meshbridge.adapters.eureka.schedule import Schedule
from meshbridge.adapters.eureka.settings import EurekaConfig
from meshbridge.schemas.errors import PayloadError, RegistryDenied, RegistryError, RegistryUnavailable
from meshbridge.schemas.registry import FullSync, GroupUpdate, SourceReport, SourceState, labels

_log = structlog.get_logger(__name__)

_MANY = 5
"""More services than this changing at once are told in one event."""
_APPS = "/apps"
_DELTA = "/apps/delta"
_NO_DELTA = (403, 404, 405, 501)
"""What servers answer where deltas are turned off."""


class EurekaAdapter:
    """One Eureka cluster. `run()` may be called again after it ended, not while it runs."""

    def __init__(self, config: EurekaConfig, context: AdapterContext) -> None:
        self._config = config
        self._context = context
        self._intake = Intake(config, context)
        self._schedule = Schedule(config.poll_interval, config.full_interval, config.confirm_after)
        self._server = ""
        """The one whose answers our copy is made of."""
        self._delta_seen: tuple[bytes, str | None] = (b"", None)
        """Digest and hash of the newest delta that our copy has in it."""
        self._last_digest = b""
        self._failures: dict[str, Failure] = {}
        """Servers that don't answer, with the newest failure."""
        self._hashes: dict[str, str | None] = {}
        self._compare_at = 0.0
        self._reported: SourceReport | None = None
        self._is_seeded = False

    @property
    def name(self) -> str:
        """The source's configured name."""
        return self._context.source

    async def run(self, emit: Emit) -> None:
        """Watch the cluster until cancelled.

        Raises:
            RegistryUnavailable: no server gives a usable answer to the first read.
            RegistryDenied: all servers refuse us.
        """
        self._reported = None
        if not self._is_seeded:
            self._is_seeded = True
            self._intake.seed()
        try:
            async with open_client(self._config) as client:
                await self._begin(client)
                await self._emit(None, emit)
                while True:
                    await asyncio.sleep(self._schedule.pause * random.uniform(0.9, 1.0))  # noqa: S311 - no secret
                    await self._emit(await self._poll(client), emit)
        except Failure as failure:
            raise self._error(failure) from failure

    async def _begin(self, client: Client) -> None:
        """Read everything from the best server that answers."""
        self._compare_at = 0.0
        await self._compare(client)
        await self._read_any(client)
        registry = self._intake.registry
        if registry.doubted and self._schedule.has_delta:
            # What a server says it has removed is gone, however little else it is to be trusted.
            self._delta_seen = (b"", None)
            try:
                await self._read_delta(client, self._server)
            except Failure as failure:
                _log.debug("no delta at the start", source=self.name, reason=failure.text)

    async def _poll(self, client: Client) -> set[str]:
        """Read what changed, from another server if need be; return the services that differ."""
        try:
            if self._context.clock() >= self._compare_at and len(self._config.servers) > 1:
                await self._compare(client)
                best = servers.rank(self._config.servers, self._hashes, self._server)[0]
                if best != self._server:
                    return await self._read_any(client)
            return await self._read(client, self._server)
        except Failure as failure:
            self._note(self._server, failure)
            # It may be another process when it answers again, which only a full answer shows.
            self._schedule.request_full(self._context.clock())
        try:
            return await self._read_any(client, but=self._server)
        except Failure:
            return set()

    async def _read(self, client: Client, server: str) -> set[str]:
        """Read a server that was read before, the short way if that will do."""
        if self._is_full_due():
            return await self._read_full(client, server)
        try:
            changed = await self._read_delta(client, server)
        except Failure as failure:
            if failure.status not in _NO_DELTA:
                raise
            self._schedule.delta_refused(self._context.clock())
            return await self._read_full(client, server)
        if self._is_full_due():
            changed |= await self._read_full(client, server)
        return changed

    def _is_full_due(self) -> bool:
        now = self._context.clock()
        doubt = self._intake.doubt.until
        return self._schedule.full_due(now) or (doubt is not None and now >= doubt)

    async def _read_any(self, client: Client, but: str = "") -> set[str]:
        """Read everything from the first server that gives it, in the order of preference.

        Raises:
            Failure: none does.
        """
        order = [s for s in servers.rank(self._config.servers, self._hashes, self._server) if s != but]
        first = self._failures.get(but)
        is_read = False
        changed: set[str] = set()
        for server in order:
            try:
                changed |= await self._read_full(client, server)
            except Failure as failure:
                self._note(server, failure)
                first = first or failure
                continue
            is_read = True
            if not self._intake.registry.is_empty:
                break
        if not is_read:
            raise first or Failure("connection", "there is no server to read")
        return changed

    async def _read_full(self, client: Client, server: str) -> set[str]:
        started = self._context.clock()
        self._context.metrics.attempt()
        answer = await client.get(server, _APPS)
        is_new = server != self._server and not self._intake.registry.is_empty
        changed = await self._intake.take_full(answer, is_new=is_new)
        if server != self._server:
            _log.info("reading a server", source=self.name, server=server)
        self._server = server
        self._delta_seen = (b"", None)
        now = self._context.clock()
        self._schedule.full_taken(now, now - started)
        if self._intake.registry.doubted:
            self._compare_at = now  # Another server may know better.
        self._succeed(server)
        return changed

    async def _read_delta(self, client: Client, server: str) -> set[str]:
        self._context.metrics.attempt()
        digest, hash_code = self._delta_seen
        answer = await client.get(server, _DELTA, digest)
        changed: set[str] = set()
        if not answer.is_same:
            changed, hash_code = await self._intake.take_delta(answer)
            self._delta_seen = (answer.digest, hash_code)
        registry = self._intake.registry
        # While instances are in doubt the server is known to lack some, and has its time.
        matches = registry.doubted > 0 or hash_code in (None, registry.hash_code)
        is_news = answer.digest != self._last_digest
        self._last_digest = answer.digest
        self._schedule.delta_taken(self._context.clock(), matches=matches, is_news=is_news)
        self._succeed(server)
        return changed

    async def _compare(self, client: Client) -> None:
        """Ask all servers of the cluster how much they list."""
        self._compare_at = self._context.clock() + self._config.full_interval
        if len(self._config.servers) < 2:
            return
        async with asyncio.TaskGroup() as tasks:
            asked = {
                server: tasks.create_task(self._ask(client, server), name=f"{self.name}: {server}")
                for server in self._config.servers
            }
        answers = {server: task.result() for server, task in asked.items()}
        self._hashes = {server: found for server, found in answers.items() if not isinstance(found, Failure)}
        for server, found in answers.items():
            if isinstance(found, Failure):
                self._note(server, found)
            else:
                self._succeed(server)

    async def _ask(self, client: Client, server: str) -> str | Failure | None:
        """Return the hash of what a server lists, None if it does not say."""
        self._context.metrics.attempt()
        try:
            answer: Answer = await client.get(server, _DELTA)
            return read_outline(answer.body).hash_code
        except PayloadError as error:
            return Failure("parse", str(error))
        except Failure as failure:
            return None if failure.status in _NO_DELTA else failure

    def _note(self, server: str, failure: Failure) -> None:
        self._context.metrics.error(failure.reason)
        known = self._failures.get(server)
        if known is None or known.text != failure.text:
            _log.warning("server not usable", source=self.name, server=server, reason=failure.text)
        self._failures[server] = failure

    def _succeed(self, server: str) -> None:
        self._context.metrics.success()
        if self._failures.pop(server, None) is not None:
            _log.info("server usable again", source=self.name, server=server)

    def _error(self, failure: Failure) -> RegistryError:
        failures = self._failures if failure in self._failures.values() else {"": failure}
        is_denied = all(found.is_denied for found in failures.values())
        error = RegistryDenied if is_denied else RegistryUnavailable
        return error(self.name, "read", _summary(failures))

    async def _emit(self, changed: set[str] | None, emit: Emit) -> None:
        """Tell the services that differ, None for all of them, and how the source fares."""
        registry, now = self._intake.registry, self._context.clock()
        await self._warn(emit)
        if changed is None or len(changed) > _MANY:
            # One event, so that whoever judges losses sees all of them before the first is gone.
            await emit(FullSync(tuple(registry.groups.values()), now))
            self._reported = None  # It said "synced", which may not be the whole truth.
        else:
            for service in sorted(changed):
                await emit(GroupUpdate(registry.group(service), now))
        await self._report(emit)

    async def _warn(self, emit: Emit) -> None:
        """Say first that the registry is suspect, so that the guard knows before it judges the losses."""
        if self._intake.is_suspect and not (self._reported and self._reported.suspect):
            await self._report(emit)

    async def _report(self, emit: Emit) -> None:
        """Say how the source fares, when that is news."""
        report = self._make_report()
        if report != self._reported:
            await emit(report)
            self._reported = report

    def _make_report(self) -> SourceReport:
        doubt = self._intake.doubt
        details = {
            "server": self._server,
            "strategy": "delta" if self._schedule.has_delta else "full",
            "self_preservation": self._intake.leases.text,
            "hash": "differs" if self._schedule.is_mismatched else "agrees",
        }
        others = {server: found for server, found in self._failures.items() if server != self._server}
        if others:
            details["failing"] = _summary(others)
        if differing := servers.disagreement(self._hashes):
            details["peers"] = differing
        if doubt.until is not None:
            details["kept"] = str(self._intake.registry.doubted)
        if failure := self._failures.get(self._server):
            is_denied = all(found.is_denied for found in self._failures.values())
            state = SourceState.DENIED if is_denied else SourceState.STALE
            reason = _summary({self._server: failure})
        elif doubt.until is not None:
            state, reason = SourceState.STALE, f"{self._server}: {doubt.reason}"
        else:
            state, reason = SourceState.SYNCED, ""
        return SourceReport(state, reason, labels(details), suspect=self._intake.is_suspect)


def _summary(failures: dict[str, Failure]) -> str:
    texts = (f"{server}: {found.text}" if server else found.text for server, found in failures.items())
    return "; ".join(sorted(texts)[:3])
