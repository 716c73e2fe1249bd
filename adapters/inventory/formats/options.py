"""What the configuration says about reading the formats that leave something open."""

from pydantic import Field

from meshbridge.schemas.settings import StrictModel


class LabelNames(StrictModel):
    """Which labels of file_sd and http_sd documents mean what; all others become labels of the instance."""

    service: str = "service"
    """Label that names the service. Default: `service`; Prometheus set-ups often have `job`."""
    version: str = "version"
    """Label with the version, for canary releases. Default: `version`."""
    zone: str = "zone"
    """Label with the availability zone. Default: `zone`."""
    protocol: str = "protocol"
    """Label with the protocol of the target's port. Default: `protocol`."""
    weight: str = "weight"
    """Label with the load-balancing weight, 0 for draining. Default: `weight`."""


class AnsibleNames(StrictModel):
    """How the groups and variables of an Ansible inventory are to be read."""

    groups: dict[str, str] = Field(default_factory=dict)
    """Service by Ansible group, hosts of child groups included. Groups not named here are left alone,
    since an inventory also lists machines that serve nobody. Default: none."""
    port_var: str = "mesh_port"
    """Host or group variable with the port. Default: `mesh_port`."""
    protocol_var: str = "mesh_protocol"
    """Variable with the protocol. Default: `mesh_protocol`."""
    address_var: str = "ansible_host"
    """Variable with the address; a host without it is reached by its name. Default: `ansible_host`."""
    version_var: str = "version"
    """Variable with the version. Default: `version`."""
    zone_var: str = "zone"
    """Variable with the availability zone. Default: `zone`."""
    weight_var: str = "mesh_weight"
    """Variable with the load-balancing weight, 0 for draining. Default: `mesh_weight`."""


class FormatOptions(StrictModel):
    """The two above together."""

    labels_map: LabelNames = LabelNames()
    """Names of labels in file_sd and http_sd documents."""
    ansible: AnsibleNames = AnsibleNames()
    """Groups and variables of Ansible inventories."""
