"""Configuration of a Consul source."""

from itertools import product
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator
from typing_extensions import override

from meshbridge.adapters.base import Adapter, AdapterConfig, AdapterContext
from meshbridge.adapters.consul.records import Kind, ParseOptions, Scope
from meshbridge.schemas.errors import ConfigError
from meshbridge.schemas.registry import Health
from meshbridge.schemas.settings import ClientTls, Duration

Address = Annotated[str, Field(pattern=r"^(https?://[^\s@/?#]+/?|unix:///\S+)$")]
"""An agent's address: http://HOST:PORT, https://HOST:PORT or unix:///PATH, without user and password."""

Part = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$")]
"""A datacenter, namespace, partition or peer."""

AddressTag = Literal["", "lan", "lan_ipv4", "lan_ipv6", "wan", "wan_ipv4", "wan_ipv6"]


class ConsulConfig(AdapterConfig):
    """Services registered in Consul."""

    unessential: ClassVar[frozenset[str]] = AdapterConfig.unessential | {
        *("address", "addresses", "tls", "token_file", "stale", "connections", "wait", "timeout"),
        *("sweep_interval", "sweep_rate", "max_lag", "max_size"),
    }
    kind: Literal["consul"] = "consul"
    """Kind of the source: `consul`."""
    address: Address = "http://127.0.0.1:8500"
    """The agent to ask: http://HOST:PORT, https://HOST:PORT or unix:///PATH. Default: the local agent."""
    addresses: list[Address] = Field(default_factory=list)
    """Several agents of one cluster instead of `address`: the next is asked when one fails. Default: none."""
    token_file: str = ""
    """File with the ACL token, read again for every request, so that it may rotate. It needs `service:read`
    and `node:read` for everything that is to be seen. Default: none."""
    tls: ClientTls = ClientTls()
    """TLS towards https:// agents. Default: the system's authorities, no client certificate."""
    datacenters: list[Part] = Field(default_factory=list)
    """Datacenters to watch, each a failure domain of its own. Default: the agent's own."""
    namespaces: list[Part] = Field(default_factory=list)
    """Namespaces to watch, each a failure domain (Consul Enterprise). Default: none is asked for."""
    partition: Part | Literal[""] = ""
    """Admin partition (Consul Enterprise). Default: none is asked for."""
    peers: list[Part] = Field(default_factory=list)
    """Cluster peers whose imported services to watch, each a failure domain. The token needs `peering:read`.
    Default: local services."""
    services: list[str] = Field(default_factory=list)
    """Names of services to watch, with wildcards `*`, `?`, `[...]`. Default: all."""
    exclude_services: list[str] = Field(default_factory=lambda: ["consul"])
    """Names of services to leave out, with wildcards. Default: `consul`, the servers themselves."""
    tags: list[str] = Field(default_factory=list)
    """Instances need one of these tags, with wildcards. Default: none is needed."""
    exclude_tags: list[str] = Field(default_factory=lambda: ["management"])
    """Instances with one of these tags are left out. Default: `management`, as Spring tags its actuators."""
    exclude_external_sources: list[str] = Field(default_factory=lambda: ["kubernetes"])
    """Values of the metadata key `external-source` whose instances are left out. Default: `kubernetes`,
    whose services the mesh has already."""
    filter: str = ""
    """Consul filter expression for instances, evaluated by the servers, e.g. `Service.Meta.env == "prod"`.
    Default: none."""
    kinds: list[Kind] = Field(default_factory=lambda: [Kind.SERVICE], min_length=1)
    """Kinds of services to take. Default: `service`; sidecar proxies and gateways are infrastructure."""
    warning: Literal["ready", "unready", "draining"] = "ready"
    """What instances with a warning check are. Default: ready, with Consul's weight for warnings."""
    address_tag: AddressTag = ""
    """Tagged address to use where an instance or its node has it. Default: the service's address."""
    labels: list[str] = Field(default_factory=lambda: ["version"])
    """Keys of metadata, and of tags written `key=value`, that become labels. Default: version."""
    stale: bool = True
    """Whether any server may answer, not only the leader. Removals are confirmed by the leader anyway."""
    max_lag: Duration = 30.0
    """A server that heard nothing from the leader for so long is not believed when instances vanish."""
    connections: int = Field(default=150, ge=16, le=10_000)
    """Most connections to the agent: one for each service that is waited for, the rest is read in turn.
    Consul allows 200 to one client (`http_max_conns_per_client`). Default: 150."""
    wait: Duration = Field(default=90.0, ge=0.01, le=600)
    """How long a blocking query may stay unanswered, at most 10m. Default: 90s: after a restore of the
    servers, changes can be unseen for that long."""
    timeout: Duration = 10.0
    """Seconds any other read may take. Default: 10s."""
    sweep_interval: Duration = 600.0
    """Time in which every service is read once although nothing told of a change. Default: 10m."""
    sweep_rate: float = Field(default=200.0, gt=0)
    """Most reads a second of services that may have changed and are not waited for; a tenth of it where that
    is only possible. Default: 200."""
    max_size: int = Field(default=64 * 1024 * 1024, gt=0)
    """Largest answer in bytes; a larger one is refused. Default: 64 MiB."""

    @model_validator(mode="after")
    def _has_one_kind_of_address(self) -> Self:
        if self.addresses and "address" in self.model_fields_set:
            raise ValueError("`address` and `addresses` exclude each other")
        return self

    @property
    def agents(self) -> tuple[str, ...]:
        """The agents' addresses, the preferred one first."""
        return tuple(address.rstrip("/") for address in self.addresses or [self.address])

    @property
    def scope(self) -> Scope:
        """The part of the cluster that is watched, once `expand()` has split the lists."""
        datacenter, namespace, peer = ((*found, "")[0] for found in self._lists)
        return Scope(datacenter, namespace, self.partition, peer)

    @property
    def parsing(self) -> ParseOptions:
        """How entries become instances."""
        return ParseOptions(
            scope=self.scope,
            kinds=frozenset(self.kinds),
            tags=tuple(self.tags),
            exclude_tags=tuple(self.exclude_tags),
            exclude_external_sources=frozenset(self.exclude_external_sources),
            warning=Health(self.warning),
            address_tag=self.address_tag,
            labels=tuple(self.labels),
        )

    @property
    def _lists(self) -> tuple[list[str], list[str], list[str]]:
        return self.datacenters, self.namespaces, self.peers

    @override
    def expand(self) -> list[Self]:
        """Return one entry for each combination of datacenter, namespace and peer."""
        several = [index for index, found in enumerate(self._lists) if len(found) > 1]
        if not several:
            return [self]
        parts = []
        for chosen in product(*(found or [""] for found in self._lists)):
            keys = dict(zip(("datacenters", "namespaces", "peers"), chosen, strict=True))
            update: dict[str, object] = {key: [value] if value else [] for key, value in keys.items()}
            # A copy isn't validated, so that its name may have a slash, which no configured one can have.
            update["name"] = f"{self.name}/{'.'.join(chosen[index] for index in several)}"
            parts.append(self.model_copy(update=update))
        return parts

    @override
    def build(self, context: AdapterContext) -> Adapter:
        try:
            from meshbridge.adapters.consul.adapter import ConsulAdapter
        except ImportError as error:
            if (error.name or "").partition(".")[0] not in ("consul", "six", "requests"):
                raise
            problem = "kind consul needs a client library: pip install 'meshbridge[consul]'"
            raise ConfigError([problem]) from error
        return ConsulAdapter(self, context)
