"""Host names as other bridges make them, so that VirtualServices and DestinationRules written for them go on.

The names come from reading those programs' sources. Where a name is none that Istio takes (Dubbo's colons),
the colon becomes a hyphen and the host has to be changed in what refers to it; all letters become small.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Preset(NamedTuple):
    """How one program names the services of one kind of registry."""

    host: str
    """A template."""
    needs: tuple[str, ...] = ()
    """Variables without which the name would be no name: the instance stays out then, and says so."""
    like: str = ""
    """The same name in that program's words."""


_INTERFACE = ("attributes.interface",)

PRESETS: Mapping[str, Preset] = {
    "consul2istio": Preset("{service}", like="SERVICE"),
    "dubbo2istio": Preset(
        "{attributes.interface:lower}{attributes.group:lower:prefix(-)}"
        "{attributes.version:lower:replace(.,-):prefix(-)}",
        _INTERFACE,
        "INTERFACE[-GROUP][-VERSION], dots of the version as hyphens",
    ),
    "higress-consul": Preset(
        "{service:replace(_,-)}.{metadata.consul-datacenter:replace(_,-)}.consul",
        ("metadata.consul-datacenter",),
        "SERVICE.DATACENTER.consul",
    ),
    "higress-dubbo": Preset(
        "providers-{attributes.interface}-{attributes.version|0.0.0}{attributes.group:prefix(-)}.zookeeper",
        _INTERFACE,
        "providers:INTERFACE:VERSION:GROUP.zookeeper",
    ),
    "higress-eureka": Preset("{service}.eureka", like="APP.eureka"),
    "higress-spring-zookeeper": Preset("{service}.services.zookeeper", like="SERVICE.services.zookeeper"),
    "meshregistry-dubbo": Preset(
        "{attributes.interface}{attributes.group:prefix(-)}{attributes.version:prefix(-)}.dubbo",
        _INTERFACE,
        "INTERFACE[:GROUP][:VERSION].dubbo",
    ),
    "meshregistry-eureka": Preset(
        "{service:lower:replace(_,-)}.{metadata.k8sNs|eureka}", like="APP.NAMESPACE, eureka by default"
    ),
}
"""By name."""
