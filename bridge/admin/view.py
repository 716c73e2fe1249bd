"""What the admin interface shows of a running bridge: the JSON other programs script against.

`BridgeView` is what the admin server needs; `bridge/app.py` implements it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from meshbridge.bridge.kubernetes.status import OutputStatus
from meshbridge.bridge.pipeline.explain import Explanation
from meshbridge.mcp.clients import ClientStatus
from meshbridge.schemas.resource import Kind


class SourceStatus(msgspec.Struct, frozen=True, rename="camel"):
    """One configured source."""

    name: str
    kind: str
    state: str
    """connecting, synced, stale, denied or empty."""
    since: float
    """Unix seconds at which the state began."""
    last_success: float | None
    """Unix seconds of the newest data, None before the first."""
    services: int
    instances: int
    held: int
    """Instances that only the guard keeps."""
    required: bool
    retained: bool
    """Whether what is served of this source comes from an earlier run of the bridge."""
    error: str
    details: Mapping[str, str]
    as_of: float | None = None
    """Unix seconds as of which what is served of it is true: now when synced, None when nothing is."""


class HeldStatus(msgspec.Struct, frozen=True, rename="camel"):
    """One instance that only the guard keeps."""

    source: str
    service: str
    """Name of the service in its registry."""
    id: str
    address: str
    since: float
    """Unix seconds since which it is held."""
    cause: str
    """source, emptied or overall: what lost too much at once."""
    until: float
    """Unix seconds at which time frees it, unless it is among the last ones of its source."""


class QuarantineStatus(msgspec.Struct, frozen=True, rename="camel"):
    """A service, or one endpoint of it, that istiod would refuse and that is kept out."""

    namespace: str
    host: str
    endpoint: str
    """Id of the instance; "" for the service as a whole."""
    address: str
    reason: str
    last_valid: bool
    """Whether its last valid form is served."""
    sources: Sequence[str]


class InstanceStatus(msgspec.Struct, frozen=True, rename="camel"):
    """One instance, as its registry tells it and the guard lets it be."""

    source: str
    service: str
    """Name of the service in its registry."""
    id: str
    address: str
    ports: Sequence[str]
    """`8080/http`, number and the registry's word for the protocol, else the port's name."""
    health: str
    """ready, unready, draining or unknown."""
    weight: int | None
    locality: str
    labels: Mapping[str, str]
    held: bool
    """Whether only the guard keeps it."""


class ServiceStatus(msgspec.Struct, frozen=True, rename="camel"):
    """One mesh service: a host in a namespace, and what it is made of."""

    namespace: str
    name: str
    """Name of its ServiceEntry."""
    host: str
    ports: Sequence[str]
    """`80/http`, service port and protocol."""
    ready: int
    total: int
    held: int
    sources: Sequence[str]
    services: Sequence[str]
    """The registry services behind it, `source/name`."""
    created: float
    """Unix seconds at which this bridge first published it, 0 when it has not yet."""
    problems: Sequence[str]
    quarantined: bool


class ResourceStatus(msgspec.Struct, frozen=True, rename="camel"):
    """One published resource."""

    object: Mapping[str, Any]
    """The Kubernetes form, as `kubectl apply` takes it."""
    sources: Sequence[str]
    ready: int
    total: int
    created: float
    """Unix seconds at which this bridge first published it."""


class ConflictStatus(msgspec.Struct, frozen=True, rename="camel"):
    """One thing that sources say differently of a mesh service: who wins, and why."""

    namespace: str
    host: str
    kind: str
    """port, protocol, identity, or settings."""
    field: str
    winner: str
    """Who decides: `source/service`, with the instance where it is about one."""
    value: str
    loser: str
    other: str
    """What the loser wants instead."""
    why: str
    sources: Sequence[str]
    """Of the whole mesh service."""


class Readiness(msgspec.Struct, frozen=True, rename="camel"):
    """Whether answers are given, and what they wait for."""

    ready: bool
    waiting_for: Sequence[str]


class BridgeView(Protocol):
    """A running bridge, as the admin interface sees it."""

    @property
    def generation(self) -> int:
        """Number of the newest publication; 0 before the first."""

    def readiness(self) -> Readiness:
        """Whether the gate is open."""

    def sources(self) -> list[SourceStatus]:
        """All configured sources, by name."""

    def instances(self) -> Iterable[InstanceStatus]:
        """All instances, by source, service and id; made one by one, as they are taken."""

    def services(self) -> Iterable[ServiceStatus]:
        """All mesh services, by namespace and host; made one by one, as they are taken."""

    def conflicts(self) -> Iterable[ConflictStatus]:
        """All conflicts between sources, by namespace and host; made one by one, as they are taken."""

    def resources(self, kind: Kind) -> Iterable[ResourceStatus]:
        """All published resources of a kind, by namespace and name; made one by one, as they are taken."""

    def clients(self) -> list[ClientStatus]:
        """Who is connected to the MCP server."""

    def outputs(self) -> list[OutputStatus]:
        """The outputs that write somewhere."""

    def explain(self, query: str) -> list[Explanation]:
        """Why things that match a host, service name, instance id or address are, or are not, served."""

    def last_reload_error(self) -> str:
        """Why the newest reload was refused; "" when it was not."""

    def held(self) -> list[HeldStatus]:
        """Every instance that only the guard keeps, by source, service and id."""

    def quarantine(self) -> Iterable[QuarantineStatus]:
        """Everything that is kept out because istiod would refuse it, by namespace and host."""

    def release(self, source: str) -> int:
        """Free what the guard holds and return how many instances that were.

        `config` puts the configuration into force that was refused for what it would remove; it counts hosts.

        Raises:
            KeyError: there is no such source, or no such configuration.
        """

    async def release_at_peers(self, source: str) -> Mapping[str, str]:
        """Release at the other replicas, too, and return what each answered."""

    @property
    def instance(self) -> str:
        """What tells this process from its peers."""

    def kept_sources(self) -> list[str]:
        """The sources of which something is known."""

    def kept(self, source: str) -> bytes:
        """What is known of a source, for another replica.

        Raises:
            KeyError: nothing is.
        """

    async def wait_newer(self, generation: int, within: float) -> int:
        """Return the generation as soon as it is above the given one, or after `within` seconds."""
