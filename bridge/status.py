"""A running bridge as the admin interface sees it."""

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from meshbridge.bridge import listings
from meshbridge.bridge.admin.view import (
    ConflictStatus,
    HeldStatus,
    InstanceStatus,
    QuarantineStatus,
    Readiness,
    ResourceStatus,
    ServiceStatus,
    SourceStatus,
)
from meshbridge.bridge.around import with_surroundings
from meshbridge.bridge.config.models import CONFIG
from meshbridge.bridge.kubernetes.sink import KubernetesSink
from meshbridge.bridge.kubernetes.status import OutputStatus
from meshbridge.bridge.peers import PeerClient
from meshbridge.bridge.pipeline.convert import entry_name
from meshbridge.bridge.pipeline.explain import Explanation, Step, explain
from meshbridge.bridge.pipeline.mesh import Built
from meshbridge.bridge.pipeline.publish import Publisher
from meshbridge.bridge.pipeline.sources import Source
from meshbridge.bridge.pipeline.values import MeshKey
from meshbridge.mcp.clients import ClientStatus
from meshbridge.schemas.manifest import to_object
from meshbridge.schemas.resource import Kind, Resource, ResourceKey


class RunningBridge:
    """Implements `bridge.admin.view.BridgeView`."""

    def __init__(
        self,
        publisher: Publisher,
        clients: Callable[[], list[ClientStatus]],
        peers: PeerClient,
        kubernetes: KubernetesSink | None = None,
    ) -> None:
        """Show what the publisher has; what other parts know is set by those who make them."""
        self._publisher = publisher
        self._peers = peers
        self._clients = clients
        self._kubernetes = kubernetes
        self.reload_error = ""
        self.release_config: Callable[[], int] = _nothing_refused
        self.copy_of: Callable[[str], bytes | None] = lambda _source: None

    @property
    def instance(self) -> str:
        """What tells this process from its peers."""
        return self._peers.instance

    @property
    def generation(self) -> int:
        """Number of the newest publication; 0 before the first."""
        return self._publisher.generation

    def readiness(self) -> Readiness:
        """Whether the gate is open."""
        waiting = self._publisher.waiting_for()
        return Readiness(ready=self.generation > 0, waiting_for=waiting)

    def sources(self) -> list[SourceStatus]:
        """All configured sources, by name."""
        return [self._source(self._publisher.sources[name]) for name in sorted(self._publisher.sources)]

    def instances(self) -> Iterator[InstanceStatus]:
        """All instances, by source, service and id; as they are when this is called."""
        evaluated = [
            found for name in self._publisher.sources for found in self._publisher.mesh.evaluated(name)
        ]
        return listings.instances(found.group for found in evaluated)

    def services(self) -> Iterator[ServiceStatus]:
        """All mesh services, by namespace and host; as they are when this is called."""
        services = dict(self._publisher.mesh.services)
        return (self._service(key, services[key]) for key in sorted(services))

    def conflicts(self) -> Iterator[ConflictStatus]:
        """All conflicts between sources, by namespace and host; as they are when this is called."""
        services = dict(self._publisher.mesh.services)
        for key in sorted(services):
            for found in services[key].service.conflicts:
                said = msgspec.structs.asdict(found)
                yield ConflictStatus(key.namespace, key.host, **said, sources=_sources(services[key]))

    def conflict_counts(self) -> Counter[str]:
        """How many conflicts there are of each kind."""
        services = self._publisher.mesh.services.values()
        return Counter(found.kind for built in services for found in built.service.conflicts)

    def resources(self, kind: Kind) -> Iterator[ResourceStatus]:
        """All published resources of a kind, by namespace and name; as they are when this is called."""
        published = self._publisher.snapshot[kind].resources
        owners = self._owners(kind)
        return (self._resource(published[key], owners.get(key)) for key in sorted(published))

    def clients(self) -> list[ClientStatus]:
        """Who is connected to the MCP server."""
        return self._clients()

    def outputs(self) -> list[OutputStatus]:
        """The outputs that write somewhere."""
        return [self._kubernetes.status()] if self._kubernetes else []

    def explain(self, query: str) -> list[Explanation]:
        """Why things that match a host, service name, instance id or address are, or are not, served."""
        found = explain(self._publisher.mesh, query, self._trouble)
        waiting = self._publisher.waiting_for()
        if not waiting:
            sources, clients, now = self._publisher.sources, self._clients(), time.time()
            return [with_surroundings(one, sources, clients, now) for one in found]
        step = Step("publish", "waiting", f"no answers are given before these are read: {', '.join(waiting)}")
        return [Explanation(one.subject, served=False, steps=(*one.steps, step)) for one in found]

    def quarantined(self) -> int:
        """How many mesh services are not served in their newest state."""
        return sum(bool(built.error) for built in self._publisher.mesh.services.values())

    def last_reload_error(self) -> str:
        """Why the newest reload was refused; "" when it was not."""
        return self.reload_error

    def release(self, source: str) -> int:
        """Free what the guard holds of a source and return how many instances that were.

        Raises:
            KeyError: there is no such source, or no refused configuration.
        """
        if self._kubernetes is not None and source == self._kubernetes.name not in self._publisher.sources:
            return self._kubernetes.release()
        if source == CONFIG:
            return self.release_config()
        return self._publisher.release(source)

    async def release_at_peers(self, source: str) -> Mapping[str, str]:
        """Release at the other replicas, too, and return what each answered."""
        return await self._peers.release(source)

    def held(self) -> list[HeldStatus]:
        """Every instance that only the guard keeps, by source, service and id."""
        found: list[HeldStatus] = []
        ahead = self._publisher.ahead
        for source, guard in sorted(self._publisher.mesh.guards.items()):
            if guard.trip is None:
                continue
            until = guard.trip.since + guard.settings.hold + ahead
            addresses = {
                (key, one.id): one.address
                for key, group in guard.effective.items()
                for one in group.instances
            }
            found.extend(
                HeldStatus(source, key.name, one, addresses[key, one], at + ahead, guard.trip.cause, until)
                for key, one, at in sorted(guard.held_since())
            )
        return found

    def quarantine(self) -> Iterator[QuarantineStatus]:
        """Everything that is kept out because istiod would refuse it, by namespace and host."""
        services = dict(self._publisher.mesh.services)
        return (found for key in sorted(services) for found in _kept_out(key, services[key]))

    def kept_sources(self) -> list[str]:
        """The sources of which something is known."""
        return sorted(name for name in self._publisher.sources if self._publisher.kept(name))

    def kept(self, source: str) -> bytes:
        """What is known of a source, for another replica.

        Raises:
            KeyError: nothing is.
        """
        content = self.copy_of(source)
        if content is None:
            raise KeyError(source)
        return content

    async def wait_newer(self, generation: int, within: float) -> int:
        """Return the generation as soon as it is above the given one, or after `within` seconds."""
        return await self._publisher.wait_newer(generation, within)

    def _source(self, source: Source) -> SourceStatus:
        groups = [found.group for found in self._publisher.mesh.evaluated(source.name)]
        return SourceStatus(
            name=source.name,
            kind=source.kind,
            state=source.state.value,
            since=source.since,
            last_success=source.last_success,
            services=sum(bool(group.instances) for group in groups),
            instances=sum(len(group.instances) for group in groups),
            held=sum(len(group.held) for group in groups),
            required=source.required,
            retained=source.is_retained,
            error=source.error,
            details=dict(source.details),
            as_of=source.as_of(time.time()),
        )

    def _service(self, key: MeshKey, built: Built) -> ServiceStatus:
        name = entry_name(built.service)
        entry = ResourceKey(Kind.SERVICE_ENTRY, key.namespace, name)
        groups = [self._publisher.mesh.effective(group) for group in built.service.groups]
        notes = (*itertools.chain.from_iterable(group.notes for group in groups), *built.notes)
        problems = [f"{note.record}: {note.reason}" for note in notes]
        problems += self._troubles(built)
        return ServiceStatus(
            namespace=key.namespace,
            name=name,
            host=key.host,
            ports=[f"{port.number}/{(port.protocol or 'auto').lower()}" for port in built.service.ports],
            ready=built.converted.ready,
            total=built.converted.total,
            held=sum(len(group.held) for group in groups),
            sources=_sources(built),
            services=[str(group) for group in built.service.groups],
            created=self._publisher.created.get(entry, 0.0),
            problems=[built.error.strip(), *problems] if built.error else problems,
            quarantined=bool(built.error),
        )

    def _troubles(self, built: Built) -> list[str]:
        """Return why resources of a service are not at the API server."""
        found = [(one.key, self._trouble(one.key)) for one in built.converted.resources]
        return [f"{key}: kubernetes: {text}" for key, text in found if text]

    def _trouble(self, key: ResourceKey) -> str:
        return self._kubernetes.trouble(key) if self._kubernetes else ""

    def _owners(self, kind: Kind) -> dict[ResourceKey, Built]:
        services: Iterable[Built] = self._publisher.mesh.services.values()
        return {
            found.key: built
            for built in services
            for found in built.converted.resources
            if found.key.kind is kind
        }

    def _resource(self, found: Resource, owner: Built | None) -> ResourceStatus:
        return ResourceStatus(
            object=to_object(found),
            sources=_sources(owner) if owner else [],
            ready=owner.converted.ready if owner else 0,
            total=owner.converted.total if owner else 0,
            created=self._publisher.created.get(found.key, 0.0),
        )


def _nothing_refused() -> int:
    raise KeyError("no configuration was refused for what it would remove")


def _kept_out(key: MeshKey, built: Built) -> Iterator[QuarantineStatus]:
    sources = _sources(built)
    if built.error:
        reason = built.error.strip().splitlines()[-1] if built.is_bug else built.error.strip()
        is_served = bool(built.converted.resources)
        yield QuarantineStatus(key.namespace, key.host, "", "", reason, is_served, sources)
    for endpoint in built.converted.endpoints:
        if endpoint.refusal and endpoint.member.health.is_served:
            member = endpoint.member
            yield QuarantineStatus(
                key.namespace, key.host, member.id, member.address, endpoint.refusal, False, sources
            )


def _sources(built: Built) -> list[str]:
    return list(dict.fromkeys(group.source for group in built.service.groups))
