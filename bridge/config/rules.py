"""The part of the configuration that the pipeline applies to instances: rules and defaults."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from meshbridge.bridge.config.fields import (
    AddressRange,
    GroupTemplateText,
    Networks,
    Patterns,
    PortNumber,
    PortPatterns,
    Protocol,
    Revision,
    TemplateText,
    Weight,
)
from meshbridge.bridge.pipeline.hosts import KUBERNETES
from meshbridge.bridge.pipeline.presets import PRESETS
from meshbridge.bridge.pipeline.values import Draining, EndpointMode, MergePolicy, Output, VirtualIps
from meshbridge.bridge.wording import did_you_mean, listing
from meshbridge.schemas.istio import Location, Resolution
from meshbridge.schemas.settings import StrictModel


def _preset(name: str) -> str:
    if name not in PRESETS:
        meant = did_you_mean(name, PRESETS)
        raise ValueError(f'"{name}" is no preset, known are {listing(PRESETS)}{meant}')
    return name


PresetName = Annotated[
    str, AfterValidator(_preset), WithJsonSchema({"type": "string", "enum": sorted(PRESETS)})
]
"""The name of a preset."""


class Match(StrictModel):
    """Which instances a rule is for: all conditions must hold; without any, every instance.

    Each condition is a text or a list of texts, any of which may match the whole value: exact, a glob
    (`*`, `?`), or a regular expression between slashes (`/v[0-9]+/`).
    """

    source: Patterns = ()
    """Name of the source; of one that is split into parts (`name/part`) also that of a part. Default: any."""
    service: Patterns = ()
    """Name of the service in its registry. Default: any."""
    namespace: Patterns = ()
    """The registry's own namespace of the service (its attribute `namespace`). Default: any."""
    id: Patterns = ()
    """Id of the instance. Default: any."""
    address: Networks = ()
    """Address of the instance: an IP address or a CIDR, no glob. Default: any."""
    port: PortPatterns = ()
    """Number or name of one of the instance's ports. Default: any."""
    protocol: Patterns = ()
    """The registry's word for the protocol of one of the instance's ports. Default: any."""
    tag: Patterns = ()
    """One of the instance's tags. Default: any."""
    labels: dict[str, Patterns] = Field(default_factory=dict)
    """Labels of the instance, by key. Default: any."""
    metadata: dict[str, Patterns] = Field(default_factory=dict)
    """Metadata of the instance, by key. Default: any."""
    attributes: dict[str, Patterns] = Field(default_factory=dict)
    """Attributes of the service as a whole, by key. Default: any."""


class SetFields(StrictModel):
    """What a rule decides; what is left out, later rules, the registry and the defaults decide.

    Templates use {service} {source} {part} {namespace} {id} {address} {version} {weight} {zone} {region}
    {metadata.KEY} {labels.KEY} {tags.KEY} {attributes.KEY}; {metadata.zone|eu-1a} has a default,
    {service:lower:replace(_,-)} has filters, and {{ }} are literal braces.
    """

    host: TemplateText | None = None
    """Host of the mesh service, a template."""
    preset: PresetName | None = None
    """Host of the mesh service as another bridge would name it, instead of `host`."""
    hosts: tuple[GroupTemplateText, ...] | None = None
    """More hosts of the mesh service, templates of what its instances share. Need HTTP or TLS ports."""
    namespace: TemplateText | None = None
    """Namespace of the resources, a template."""
    protocol: Protocol | dict[str, Protocol] | None = None
    """Protocol of every port, or of each port by name. By default what metadata, the registry's word or the
    port's name say, else defaults.protocol."""
    ports: dict[str, PortNumber] | None = None
    """Port number of the mesh service, for each port name. By default that of the instances."""
    labels: dict[str, TemplateText | None] | None = None
    """Labels to add to the endpoint, templates; null removes one that the registry gave."""
    service_account: TemplateText | None = None
    """Service account of the endpoint, a template: its identity for mutual TLS. Only for instances with a
    sidecar: clients start to encrypt."""
    tls_mode: Literal["istio", "disabled"] | None = None
    """Whether the endpoint's sidecar takes mutual TLS. `istio` needs a service account or subject_alt_names.
    By default istiod takes it for granted where there is a service account."""
    subject_alt_names: tuple[GroupTemplateText, ...] | None = None
    """More identities that clients accept of the service, templates of what its instances share."""
    network: TemplateText | None = None
    """Istio network of the endpoint, a template."""
    locality: TemplateText | None = None
    """Locality of the endpoint as region/zone/subzone, a template."""
    weight: Weight | None = None
    """Load balancing weight of the endpoint, relative to its neighbours: a number, or a template that gives
    one, such as "{weight:times(0.01)}"; "" leaves it to Istio. By default defaults.weights."""
    draining: Draining | None = None
    """What becomes of the endpoint while its instance leaves. See defaults.draining."""
    location: Location | None = None
    """MESH_INTERNAL for workloads with a sidecar (mutual TLS), MESH_EXTERNAL for those without."""
    resolution: Literal[Resolution.STATIC, Resolution.DNS] | None = None
    """How proxies find the endpoints. By default STATIC, and DNS where addresses are host names."""
    export_to: tuple[str, ...] | None = None
    """Namespaces that see the service: names, `.` for its own, `*` for all. By default all."""
    revision: Revision | None = None
    """Revision of istiod that alone takes the service. By default all do."""
    endpoints: EndpointMode | None = None
    """Endpoints inside the ServiceEntry, or a WorkloadEntry for each. See defaults.endpoints."""
    merge: MergePolicy | None = None
    """What becomes of several sources that have the service. See defaults.merge."""
    virtual_ips: VirtualIps | None = None
    """Whether the service gets a virtual address. See defaults.virtual_ips."""
    output: Output | None = None
    """Where the service's resources go when both outputs are on: mcp or kubernetes. See defaults.output."""

    @model_validator(mode="after")
    def _names_the_host_once(self) -> Self:
        if self.host is not None and self.preset is not None:
            raise PydanticCustomError("preset", "preset gives the host; leave out preset or host")
        return self


class Rule(StrictModel):
    """A decision about instances. For each field, the first rule that matches and sets it decides."""

    name: str = ""
    """Name shown by `meshbridge explain`. Default: the rule's number."""
    match: Match = Match()
    """Which instances the rule is for. Default: all."""
    set: SetFields = SetFields()
    """What they get."""
    drop: bool = False
    """Leave the instances out of the mesh. The first matching rule with drop or keep decides."""
    keep: bool = False
    """Protect the instances from later rules with drop."""

    @model_validator(mode="after")
    def _decides_one_thing(self) -> Self:
        if self.drop and self.keep:
            raise PydanticCustomError("rule", "drop and keep exclude each other; leave one out")
        if self.drop and self.set.model_fields_set:
            raise PydanticCustomError("rule", "a rule with drop can't set anything; leave out drop or set")
        if not (self.drop or self.keep or self.set.model_fields_set):
            raise PydanticCustomError("rule", "the rule decides nothing; add set, drop or keep")
        return self


class Defaults(StrictModel):
    """What holds where neither a rule nor the registry says anything."""

    host: TemplateText = "{service}.{source}.mesh"
    """Host of a mesh service, a template. The source is part of it so that registries don't collide."""
    preset: PresetName | None = None
    """Hosts as another bridge would name them, instead of `host`. Default: none."""
    namespace: TemplateText = "meshbridge"
    """Namespace of the resources, a template."""
    region: str = ""
    """Region of endpoints whose registry knows only a zone. Default: none."""
    zones: dict[str, str] = Field(default_factory=dict)
    """Region of each zone, for endpoints whose registry knows only a zone; goes before `region`."""
    version: TemplateText = "{version}"
    """What the label `version` says, for subsets of DestinationRules, a template; a rule's own label goes
    before. {version} is a label, metadata or a tag `version=...` of that name."""
    protocol: Protocol = "tcp"
    """Protocol of ports. tcp is right for everything, though http routes need http."""
    weights: Literal["keep", "drop"] = "keep"
    """Whether the registry's weights are taken: registries of one service may count differently."""
    draining: Draining = Draining.REMOVE
    """What becomes of an endpoint whose instance leaves on purpose (maintenance, OUT_OF_SERVICE, weight 0):
    `remove` takes it out, `label` marks it as draining for services with persistent sessions, `serve` leaves
    it as it is."""
    merge: MergePolicy = MergePolicy.MERGE
    """What becomes of several sources that have one service: `merge` joins their endpoints, `prefer` takes
    those of the first source that has ready ones, `failover` takes all and labels each with its source."""
    virtual_ips: VirtualIps = VirtualIps.NONE
    """Which services get a virtual address (istiod gives none to what comes over MCP): none, those with a
    tcp port, or all. Needs clients with Istio's DNS proxy."""
    virtual_ip_range: AddressRange = "241.0.0.0/8"
    """Network that virtual addresses are taken from, by a hash of namespace and host. istiod's own is
    240.240.0.0/16."""
    trust_domain: str = "cluster.local"
    """Trust domain of the mesh, for showing the identities that clients demand."""
    location: Location = Location.MESH_INTERNAL
    """MESH_INTERNAL for workloads with a sidecar (mutual TLS), MESH_EXTERNAL for those without."""
    endpoints: EndpointMode = EndpointMode.INLINE
    """Endpoints inside the ServiceEntry, or a WorkloadEntry for each; istiod takes inline ones faster.
    workload_group is for VMs whose proxies register themselves: a WorkloadGroup with what they have in
    common, which istiod reads from Kubernetes alone."""
    output: Output | None = None
    """Where resources go when both outputs are on, unless a rule says otherwise; required then, since istiod
    reads both and must not get a resource twice. Default: the only output that is on."""

    @model_validator(mode="after")
    def _names_the_host_once(self) -> Self:
        if self.preset is not None and "host" in self.model_fields_set:
            raise PydanticCustomError("preset", "preset gives the host; leave out preset or host")
        return self


class Hosts(StrictModel):
    """Which hosts registries may bring into the mesh: exact, globs, or /regular expressions/."""

    allow: Patterns = ("*",)
    """Hosts that may be used. Default: all."""
    deny: Patterns = KUBERNETES
    """Hosts that may not, even if allowed. By default those of Kubernetes' own services."""
