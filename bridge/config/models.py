"""The configuration as typed values: what may be written, what it means, what it is by default.

Rules and defaults are in rules.py, which knows no adapter, and are names of this module too.

The docstring under each field is its description in the JSON Schema and in REFERENCE.md.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from meshbridge.adapters import ADAPTERS
from meshbridge.adapters.base import AdapterConfig
from meshbridge.bridge.config.fields import (
    Count,
    Listen,
    Percent,
    is_loopback,
)
from meshbridge.bridge.config.kubernetes import KubernetesOutput
from meshbridge.bridge.config.rules import Defaults, Hosts, Match, Rule, SetFields
from meshbridge.bridge.pipeline.values import EndpointMode, Output
from meshbridge.schemas.settings import Duration, ServerTls, StrictModel

__all__ = [
    "Admin",
    "Config",
    "Defaults",
    "Hosts",
    "KubernetesOutput",
    "Log",
    "Match",
    "McpClient",
    "McpLimits",
    "McpOutput",
    "Outputs",
    "Peers",
    "Rule",
    "Safety",
    "SetFields",
    "duplicate_source",
    "repeated",
]


CONFIG = "config"
"""What `meshbridge release` calls the configuration, so that no source may have that name."""


class McpClient(StrictModel):
    """Clients that may connect, and what they may see: one of spiffe, san, cn, and what narrows it."""

    spiffe: str = ""
    """SPIFFE id in the client's certificate; `*` stands for any characters but `/`."""
    san: str = ""
    """Another subject alternative name in it (DNS name, address); `*` stands for any characters but `.`."""
    cn: str = ""
    """Common name in it; `*` stands for any characters."""
    kinds: tuple[Literal["ServiceEntry", "WorkloadEntry", "WorkloadGroup"], ...] = ()
    """Kinds they may see. Default: all. Other kinds are answered empty."""
    namespaces: tuple[str, ...] = ()
    """Namespaces of resources they may see. Default: all."""

    @model_validator(mode="after")
    def _one_pattern(self) -> Self:
        if len([pattern for pattern in (self.spiffe, self.san, self.cn) if pattern]) != 1:
            raise ValueError("needs exactly one of spiffe, san, cn")
        return self


class McpLimits(StrictModel):
    """What clients may ask for at most."""

    streams: Count = 1000
    """Streams of all clients together."""
    streams_per_client: Count = 200
    """Streams of one client, which is a certificate's identity or, without one, an IP address."""
    requests_per_second: Count = 100
    """Requests of one stream, on average; more are read later. istiod asks 16 times, then it acknowledges."""
    request_bytes: Annotated[Count, Field(ge=4096, le=1 << 30)] = 4194304
    """Size of a request. Only delta clients that name what they have send large ones."""


class McpOutput(StrictModel):
    """The MCP-over-xDS server that istiod connects to."""

    enabled: bool = True
    """Whether to serve."""
    listen: Listen = "127.0.0.1:16010"
    """Address to listen on, HOST:PORT."""
    tls: ServerTls | None = None
    """TLS of the server. Default: none, which needs a loopback address."""
    plaintext: Literal["loopback", "anywhere"] = "loopback"
    """Where to serve without TLS: `anywhere` is for networks that are protected otherwise."""
    min_push_interval: Duration = 0.15
    """Least time between two pushes to one client. istiod gathers until 100ms of quiet: less starves it."""
    max_push_pause: Duration = 3.0
    """Longest pause between two pushes. It grows with the time a client takes, and in a storm."""
    ack_timeout: Duration = 10.0
    """How long to wait for a client's acknowledgement before the next push of that type."""
    allow: tuple[McpClient, ...] = ()
    """Who may connect; needs `tls.client_ca_file`. A client that several entries fit sees what any of them
    allows. Default: everyone. istiod itself offers no certificate."""
    limits: McpLimits = McpLimits()
    """What clients may ask for at most."""

    @model_validator(mode="after")
    def _known_by_certificate(self) -> Self:
        if self.allow and (self.tls is None or not self.tls.client_ca_file):
            raise PydanticCustomError(
                "allow_without_certificates",
                "clients are told apart by their certificates; set tls.client_ca_file",
                {"at": ("allow",)},
            )
        return self

    @model_validator(mode="after")
    def _not_in_the_clear(self) -> Self:
        if (
            self.enabled
            and self.tls is None
            and self.plaintext == "loopback"
            and not is_loopback(self.listen)
        ):
            raise PydanticCustomError(
                "plaintext",
                '"{listen}" is reachable from elsewhere and has no TLS; '
                "set tls, listen on 127.0.0.1, or write plaintext: anywhere",
                {"listen": self.listen, "at": ("listen",)},
            )
        return self


class Outputs(StrictModel):
    """Where the resources go."""

    mcp: McpOutput = McpOutput()
    """The MCP-over-xDS server that istiod connects to."""
    kubernetes: KubernetesOutput = KubernetesOutput()
    """Writing the resources to the Kubernetes API."""


class Admin(StrictModel):
    """The HTTP interface for health, metrics, and the commands `get` and `explain`."""

    listen: Listen = "127.0.0.1:16080"
    """Address to listen on, HOST:PORT."""
    socket: str = ""
    """Path of a unix socket to listen on as well; who may open it may change things. Default: none."""
    token_file: str = ""
    """File with the bearer token that requests need. Default: none, which needs a loopback address."""
    tls: ServerTls | None = None
    """TLS of the interface. Default: none."""

    @model_validator(mode="after")
    def _not_open_to_all(self) -> Self:
        if not self.token_file and not is_loopback(self.listen):
            raise PydanticCustomError(
                "open_admin",
                '"{listen}" is reachable from elsewhere; set token_file, or listen on 127.0.0.1',
                {"listen": self.listen, "at": ("listen",)},
            )
        return self


class Peers(StrictModel):
    """Other replicas of this bridge, by their admin interfaces."""

    urls: tuple[Annotated[str, Field(pattern=r"^https?://[^\s/@]+$")], ...] = ()
    """Addresses such as `http://meshbridge-peers:16080`. A name stands for all its addresses; our own is
    found out and left alone. Default: none."""
    token_file: str = ""
    """File with the bearer token of their admin interfaces; releasing needs it. Default: none."""
    ca_file: str = ""
    """PEM file with the authorities to trust. Default: the system's."""
    timeout: Duration = 5.0
    """How long a peer may take to answer."""


class Safety(StrictModel):
    """What keeps a faulty registry from emptying the mesh."""

    min_removed: Count = 10
    """The guard never holds fewer lost instances than this: small losses are ordinary."""
    max_removed_percent: Percent = 20.0
    """The guard holds when more than this share of a source's instances is lost within the window."""
    window: Duration = 60.0
    """Time over which losses are added up."""
    hold: Duration = 600.0
    """How long held instances stay unless they recover or are released; a source's last ready one stays."""
    startup: Literal["hold", "serve"] = "hold"
    """Whether answers wait for required sources without a limit; `serve` waits `grace` and then may make
    istiod delete what lacks."""
    grace: Duration = 60.0
    """How long answers wait at start for sources that are not required (with startup: serve, for all), and
    how long a source that is taken out stays for those that come with the same edit."""
    refill: Duration = 30.0
    """How long no instance may have come to a source that was found empty, and of which nothing was known,
    until it counts as read: registrations come back to a restarted registry one by one."""
    max_age: Duration = 86400.0
    """Age up to which the retained copy of an unread source is served at start."""
    hosts: Hosts = Hosts()
    """Which hosts registries may bring into the mesh."""
    identity_rollover: Duration = 60.0
    """How long clients go on accepting an identity that a service no longer has, so that certificates can
    change while connections are made; 0s: not at all."""
    max_outage: Duration | None = None
    """How long what is known of a source stays in the mesh while the source can't be read; then it leaves.
    Default: without a limit, since old endpoints are better than none."""
    state_dir: str = ""
    """Directory for retained copies. Default: none, nothing survives a restart."""
    peers: Peers = Peers()
    """Other replicas: a cold one learns from them before it gives answers, and `release` reaches all."""


class Log(StrictModel):
    """What is logged, to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity that is logged."""
    format: Literal["console", "json"] = "console"
    """For people, or one JSON object a line."""


class _ByKind:
    """Picks the model of a source by its `kind`; a plain union needs at least two kinds."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {kind: handler.generate_schema(model) for kind, model in ADAPTERS.items()}
        return core_schema.tagged_union_schema(choices, discriminator="kind")


def _at_least_one(sources: tuple[AdapterConfig, ...]) -> tuple[AdapterConfig, ...]:
    """Return the sources; unlike `min_length`, a malformed source is no missing one."""
    if not sources:
        raise ValueError("needs at least one source")
    return sources


def repeated(names: Sequence[str]) -> dict[int, int]:
    """Return the position of each name that an earlier one equals, with the position of that one."""
    first: dict[str, int] = {}
    found = {index: first.setdefault(name, index) for index, name in enumerate(names)}
    return {index: earlier for index, earlier in found.items() if index != earlier}


class Config(StrictModel):
    """The whole configuration file."""

    sources: Annotated[tuple[Annotated[AdapterConfig, _ByKind()], ...], AfterValidator(_at_least_one)]
    """The registries to watch."""
    rules: tuple[Rule, ...] = ()
    """Decisions about instances, in order of precedence."""
    defaults: Defaults = Defaults()
    """What holds where neither a rule nor the registry says anything."""
    outputs: Outputs = Outputs()
    """Where the resources go."""
    admin: Admin = Admin()
    """The HTTP interface for health, metrics, and the commands `get` and `explain`."""
    safety: Safety = Safety()
    """What keeps a faulty registry from emptying the mesh."""
    log: Log = Log()
    """What is logged, to standard error."""

    @model_validator(mode="after")
    def _each_resource_goes_to_one_output(self) -> Self:
        enabled = [name for name in Output if getattr(self.outputs, name).enabled]
        if len(enabled) > 1 and self.defaults.output is None:
            raise PydanticCustomError(
                "two_outputs",
                "mcp and kubernetes are both on, and istiod would get every resource twice; "
                "set defaults.output, and output in rules for what goes elsewhere",
                {"at": ("outputs", "kubernetes", "enabled")},
            )
        places: list[tuple[Output | None, tuple[str | int, ...]]] = [
            (self.defaults.output, ("defaults", "output")),
            *((rule.set.output, ("rules", at, "set", "output")) for at, rule in enumerate(self.rules)),
        ]
        for wanted, at in places:
            if wanted is not None and wanted not in enabled:
                text = 'the output "{wanted}" is off; set outputs.{wanted}.enabled, or leave this out'
                raise PydanticCustomError("output_off", text, {"wanted": wanted.value, "at": at})
        return self

    @model_validator(mode="after")
    def _workload_groups_go_to_kubernetes(self) -> Self:
        places: list[tuple[Defaults | SetFields, tuple[str | int, ...]]] = [
            (self.defaults, ("defaults", "endpoints")),
            *((rule.set, ("rules", at, "set", "endpoints")) for at, rule in enumerate(self.rules)),
        ]
        for fields, at in places:
            if fields.endpoints is not EndpointMode.WORKLOAD_GROUP:
                continue
            output = fields.output or self.defaults.output
            if not self.outputs.kubernetes.enabled or output is Output.MCP:
                raise PydanticCustomError(
                    "workload_group",
                    "istiod reads WorkloadGroups from Kubernetes alone; "
                    "set outputs.kubernetes.enabled and output: kubernetes, or use workload_entries",
                    {"at": at},
                )
        return self

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        for index, source in enumerate(self.sources):
            if source.name == CONFIG:
                text = "`meshbridge release config` is about the configuration; choose another name"
                raise PydanticCustomError("reserved_name", text, {"at": ("sources", index, "name")})
        for index, earlier in repeated([source.name for source in self.sources]).items():
            raise duplicate_source(self.sources[index].name, index, earlier)
        return self


def duplicate_source(name: str, index: int, earlier: int) -> PydanticCustomError:
    """Return the error that says that two sources have one name."""
    return PydanticCustomError(
        "duplicate_source",
        'the name "{name}" is taken by sources[{earlier}]; names of sources must differ',
        {"name": name, "earlier": earlier, "at": ("sources", index, "name")},
    )
