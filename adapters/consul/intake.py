"""Takes answers about single services and decides what becomes of them: nothing is removed on doubt.

Everything that must survive a restart of the adapter's `run()` is here.
"""

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

import structlog

from meshbridge.adapters.base import AdapterContext
from meshbridge.adapters.consul import lists
from meshbridge.adapters.consul.client import NODES, SERVICES, Client, Reply
from meshbridge.adapters.consul.confirm import SERVERS, Verdict, is_grave, judge
from meshbridge.adapters.consul.payload import Parsed, parse
from meshbridge.adapters.consul.readings import Readings
from meshbridge.adapters.consul.settings import ConsulConfig
from meshbridge.adapters.consul.transport import Failure
from meshbridge.schemas.errors import PayloadError
from meshbridge.schemas.registry import SourceReport, SourceState, labels

_log = structlog.get_logger(__name__)

_SHOWN = 3
_BLIND = 5.0
"""Seconds for which a catalog that shows nothing is not asked again."""
_DENIED = "instances vanished, and the token can't see everything any more; they are kept"
_DOUBT = "instances vanished from an answer that proves nothing; they are kept"
_NO_TOKEN = "the default policy is deny and there is no token_file: little or nothing can be seen"  # noqa: S105 - no token


class Overview(NamedTuple):
    """What the leader says of the whole cluster."""

    services: lists.Catalog
    has_nodes: bool
    is_filtered: bool
    asked: float
    """Monotonic seconds at which it was asked."""


class Intake:
    """What is known of one source, and what is wrong with it."""

    def __init__(self, config: ConsulConfig, context: AdapterContext) -> None:
        self._config = config
        self._context = context
        self._options = config.parsing
        self.readings = Readings(context.source, context.previous())
        self.problems: dict[str, Failure] = {}
        """Why services can't be read, or are not believed, by name."""
        self.had_servers = False
        """Whether the catalog ever listed the servers themselves."""
        self._told: set[str] = set()
        """Services whose bad records or problems were logged."""
        self._warned = False
        self._overview: Overview | None = None
        self._turn = asyncio.Lock()

    def begin(self) -> None:
        """Prepare another run."""
        self.problems.clear()
        self._overview = None
        self._turn = asyncio.Lock()

    async def take(self, name: str, reply: Reply, client: Client) -> bool:
        """Take an answer about a service and return whether its group differs now.

        Raises:
            Failure: it can't be used, or is not believed; what is known stays.
        """
        parsed = self._parse(name, reply)
        verdict = self._judge(name, parsed, reply)
        if verdict is Verdict.CONFIRM:
            reply = await client.service(name, is_plain=True)
            parsed = self._parse(name, reply)
            verdict = self._judge(name, parsed, reply)
        if verdict is Verdict.TAKE:
            verdict = await self._ask_catalog(name, parsed, client)
        if verdict is not Verdict.TAKE:
            self._context.metrics.error(verdict.value)
            raise Failure("denied", _DENIED) if verdict is Verdict.DENIED else Failure("doubt", _DOUBT)
        self._settle(name)
        self._note_bad_records(name, parsed)
        return self.readings.put(name, parsed, reply.standing.index)

    def fail(self, name: str, failure: Failure) -> None:
        """Note that a service can't be read, or not be believed."""
        known = self.problems.get(name)
        self.problems[name] = failure
        if known is None and len(self.problems) <= _SHOWN:  # A flood says no more than its beginning.
            _log.warning(
                "service not usable, keeping what is known of it",
                source=self._context.source,
                service=name,
                reason=failure.text,
            )

    def note_refused(self, name: str, failure: Failure) -> None:
        """Note a service that the agent refuses to speak of, although it lists it."""
        self._context.metrics.rejected("refused")
        self.fail(name, failure)

    async def overview(self, client: Client, since: float) -> Overview:
        """Return the leader's catalog as it was at or after a time; those who ask together share one.

        Raises:
            Failure: it can't be read.
        """
        async with self._turn:
            known = self._overview
            if known is None or not self._is_current(known, since):
                known = self._overview = await self._look_over(client)
            return known

    async def _look_over(self, client: Client) -> Overview:
        asked = self._context.clock()
        services = await client.read_list(SERVICES, is_plain=True)
        nodes = await client.read_list(NODES, is_plain=True)
        try:
            has_nodes = bool(lists.parse_nodes(nodes.body))
            return Overview(
                self.parse_catalog(services.body), has_nodes, services.standing.is_filtered, asked
            )
        except PayloadError as error:
            self._context.metrics.error("payload")
            raise Failure("payload", str(error)) from error

    def parse_catalog(self, body: bytes) -> lists.Catalog:
        """Return the services that there are.

        Raises:
            PayloadError: the answer doesn't tell.
        """
        return (lists.parse_imported if self._config.scope.peer else lists.parse_catalog)(body)

    def _is_current(self, known: Overview, since: float) -> bool:
        # That nothing can be seen may be a little old: believing it too long removes nothing.
        is_blind = self._is_blind(known) and self._context.clock() - known.asked < _BLIND
        return known.asked >= since or is_blind

    def _is_blind(self, overview: Overview) -> bool:
        """Return whether what every cluster has is missing from its catalog."""
        lacks_servers = self.had_servers and SERVERS not in overview.services
        return self._config.scope.has_servers and (lacks_servers or not overview.has_nodes)

    def note_default_policy(self, client: Client) -> None:
        """Say once, loudly, that nothing may be visible."""
        if client.denies_by_default and not self._config.token_file and not self._warned:
            self._warned = True
            _log.warning(_NO_TOKEN, source=self._context.source)

    def report(self, details: Iterable[tuple[str, str]]) -> SourceReport:
        """Return how the source fares; `details` are further facts."""
        found = dict(details)
        if self._warned:
            found["acl"] = _NO_TOKEN
        failures = list(self.problems.items())
        if not failures:
            return SourceReport(SourceState.SYNCED, details=labels(found))
        is_denied = any(failure.is_denied for _, failure in failures)
        texts = [f"{name}: {failure.text}" for name, failure in sorted(failures)]
        more = len(texts) - _SHOWN
        reason = "; ".join(texts[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
        state = SourceState.DENIED if is_denied else SourceState.STALE
        return SourceReport(state, reason, labels(found | {"problems": str(len(failures))}))

    def _parse(self, name: str, reply: Reply) -> Parsed:
        try:
            return parse(reply.body, self._options)
        except PayloadError as error:
            self._context.metrics.error("payload")
            raise Failure("payload", f"{name}: {error.reason}") from error

    def _judge(self, name: str, parsed: Parsed, reply: Reply) -> Verdict:
        known = self.readings.of(name)
        return judge(
            known.instances, parsed.seen, reply.standing, last=known.index, max_lag=self._config.max_lag
        )

    async def _ask_catalog(self, name: str, parsed: Parsed, client: Client) -> Verdict:
        """Return whether the catalog agrees with a grave loss."""
        known = self.readings.of(name).instances
        lost = len(known.keys() - parsed.seen)
        if not is_grave(len(known), lost):
            return Verdict.TAKE
        overview = await self.overview(client, self._context.clock())
        if self._is_blind(overview):
            return Verdict.DENIED
        # A service that has instances left, or of which a filter sees none, is listed all the same.
        if parsed.seen or self._config.filter or name not in overview.services:
            return Verdict.TAKE
        return Verdict.DENIED if overview.is_filtered else Verdict.DOUBT

    def note_catalog(self, catalog: lists.Catalog) -> None:
        """Remember whether this token may see the servers."""
        self.had_servers = self.had_servers or SERVERS in catalog

    def _settle(self, name: str) -> None:
        if self.problems.pop(name, None) is not None:
            _log.info("service usable again", source=self._context.source, service=name)

    def _note_bad_records(self, name: str, parsed: Parsed) -> None:
        for refusal in parsed.refusals:
            self._context.metrics.rejected(refusal.reason)
        if not parsed.refusals:
            self._told.discard(name)
        elif name not in self._told:
            self._told.add(name)
            first = parsed.refusals[0]
            _log.warning(
                "records not usable",
                source=self._context.source,
                service=name,
                record=first.id,
                reason=first.text,
                count=len(parsed.refusals),
            )
