"""The part of the configuration that the pipeline applies to instances: rules and defaults."""

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from meshbridge.bridge.config.fields import (
    Networks,
    Patterns,
    PortNumber,
    PortPatterns,
    Protocol,
    TemplateText,
    Weight,
)
from meshbridge.bridge.pipeline.values import EndpointMode
from meshbridge.schemas.istio import Location, Resolution
from meshbridge.schemas.settings import StrictModel


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

    Templates use {service} {source} {part} {namespace} {id} {address} {version} {zone} {region}
    {metadata.KEY} {labels.KEY} {attributes.KEY}; {metadata.zone|eu-1a} has a default, and {{ }} are
    literal braces.
    """

    host: TemplateText | None = None
    """Host of the mesh service, a template."""
    namespace: TemplateText | None = None
    """Namespace of the resources, a template."""
    protocol: Protocol | None = None
    """Protocol of every port. By default the registry's word for it, else defaults.protocol."""
    ports: dict[str, PortNumber] | None = None
    """Port number of the mesh service, for each port name. By default that of the instances."""
    labels: dict[str, TemplateText | None] | None = None
    """Labels to add to the endpoint, templates; null removes one that the registry gave."""
    service_account: TemplateText | None = None
    """Service account of the endpoint, a template: its identity for mutual TLS."""
    network: TemplateText | None = None
    """Istio network of the endpoint, a template."""
    locality: TemplateText | None = None
    """Locality of the endpoint as region/zone/subzone, a template."""
    weight: Weight | None = None
    """Load balancing weight of the endpoint, relative to its neighbours."""
    location: Location | None = None
    """MESH_INTERNAL for workloads with a sidecar (mutual TLS), MESH_EXTERNAL for those without."""
    resolution: Literal[Resolution.STATIC, Resolution.DNS] | None = None
    """How proxies find the endpoints. By default STATIC, and DNS where addresses are host names."""
    export_to: tuple[str, ...] | None = None
    """Namespaces that see the service: names, `.` for its own, `*` for all. By default all."""
    endpoints: EndpointMode | None = None
    """Endpoints inside the ServiceEntry, or a WorkloadEntry for each. See defaults.endpoints."""


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
    namespace: TemplateText = "meshbridge"
    """Namespace of the resources, a template."""
    region: str = ""
    """Region of endpoints whose registry knows only a zone. Default: none."""
    protocol: Protocol = "tcp"
    """Protocol of ports. tcp is right for everything, though http routes need http."""
    location: Location = Location.MESH_INTERNAL
    """MESH_INTERNAL for workloads with a sidecar (mutual TLS), MESH_EXTERNAL for those without."""
    endpoints: EndpointMode = EndpointMode.INLINE
    """Endpoints inside the ServiceEntry, or a WorkloadEntry for each; istiod takes inline ones faster."""
