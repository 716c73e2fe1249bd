"""Settings of layouts that have some."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from meshbridge.schemas.settings import StrictModel

Pointer = Annotated[str, Field(pattern=r"^(/([^~/]|~[01])*)*$")]
"""A JSON pointer (RFC 6901): "/endpoint/host"; "" is the whole document."""


class Grouping(StrEnum):
    """What one mesh service is made of."""

    INTERFACE = "interface"
    APPLICATION = "application"


class DubboOptions(StrictModel):
    """Settings of the layout `dubbo`."""

    grouping: Grouping = Grouping.INTERFACE
    """What becomes one mesh service: each `interface`, named `{interface}[.{group}][.{version}]`, or each
    `application`. Default: interface."""
    protocols: list[str] = Field(default_factory=list)
    """Protocols to take (dubbo, tri, rest, ...). Others are left out with a note. Default: all. Set it where
    not every provider of an interface offers the same ones: Istio takes any endpoint for any port."""
    split_protocols: bool = False
    """Whether each protocol of an interface is a service of its own, named `{interface}...{protocol}`.
    Default: no."""
    consumers: bool = False
    """Whether consumers are read, too, to show how many an interface has. Default: no, they can be many;
    that there are some is noted."""
    config_group: str = Field(default="dubbo", pattern=r"^[^/]+$")
    """Node below `config` that holds the rules of the config center. Default: dubbo."""


class JsonOptions(StrictModel):
    """Settings of the layout `json`: where things are in paths and documents."""

    path: str = Field(default="{service}/{id}", pattern=r"^[^/]+(/[^/]+){0,7}$")
    """Path of a record below the root. A name in braces takes one name of the path; `{service}` is needed,
    the others become metadata; `*` takes any name. Default: {service}/{id}."""
    address: Pointer = "/address"
    """Where the address is in the document. Default: /address."""
    port: Pointer = "/port"
    """Where the port is. Default: /port."""
    ports: dict[str, Pointer] = Field(default_factory=dict)
    """Where further ports are, by their names. One that a document lacks is left out. Default: none."""
    protocol: Pointer | None = None
    """Where the protocol is. Default: nowhere."""
    weight: Pointer | None = None
    """Where the weight is, a whole number. Default: nowhere."""
    version: Pointer | None = None
    """Where the version is. Default: nowhere."""
    region: Pointer | None = None
    """Where the region is. Default: nowhere."""
    zone: Pointer | None = None
    """Where the zone is. Default: nowhere."""
    status: Pointer | None = None
    """Where the status is. Default: nowhere, every record is ready."""
    ready: list[str] = Field(default=["up", "alive", "ready", "passing", "true"])
    """Statuses that take traffic, in any case of letters; a document without one does, too. Default: up,
    alive, ready, passing, true."""
    draining: list[str] = Field(default=["out_of_service", "draining", "stopping"])
    """Statuses of instances that leave on purpose. Default: out_of_service, draining, stopping."""
    metadata: Pointer | None = None
    """Where an object with further metadata is. Default: nowhere."""
