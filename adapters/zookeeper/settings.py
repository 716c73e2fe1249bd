"""Configuration of a ZooKeeper source."""

import posixpath
import re
from collections.abc import Callable
from enum import StrEnum
from importlib.util import find_spec
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from typing_extensions import override

from meshbridge.adapters.base import Adapter, AdapterConfig, AdapterContext
from meshbridge.adapters.zookeeper.layouts.curator import Curator
from meshbridge.adapters.zookeeper.layouts.dubbo import Dubbo
from meshbridge.adapters.zookeeper.layouts.dubbo_paths import DubboPaths
from meshbridge.adapters.zookeeper.layouts.json_layout import JsonLayout
from meshbridge.adapters.zookeeper.layouts.layout import Layout, leaf
from meshbridge.adapters.zookeeper.layouts.nerve import Nerve
from meshbridge.adapters.zookeeper.layouts.options import DubboOptions, JsonOptions
from meshbridge.adapters.zookeeper.layouts.serversets import ServerSets
from meshbridge.schemas.errors import ConfigError
from meshbridge.schemas.settings import ClientTls, Duration, StrictModel

ZnodePath = Annotated[str, Field(pattern=r"^/([^/\x00]+(/[^/\x00]+)*)?$")]
"""An absolute path, without a slash at its end."""

_HOSTS = r"^[^\s,/@]+(,[^\s,/@]+)*(/[^\s,]*[^\s,/])?$"


class LayoutName(StrEnum):
    """How services are written below a root."""

    AUTO = "auto"
    DUBBO = "dubbo"
    CURATOR = "curator"
    SERVERSETS = "serversets"
    NERVE = "nerve"
    JSON = "json"


class RootSettings(StrictModel):
    """A part of ZooKeeper's tree that holds services; it can fail alone."""

    path: ZnodePath
    """Path of the root, below the chroot if there is one: `/dubbo`, `/services`, ..."""
    name: str = Field(default="", pattern=r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$")
    """Name of this part of the source. Default: made of the path, `/dubbo` is `dubbo`."""
    layout: LayoutName = LayoutName.AUTO
    """How services are written: auto, dubbo, curator (Spring Cloud and Dubbo 3 applications, too),
    serversets, nerve or json. Default: auto, by a sample of the nodes; the status says what was
    found."""
    applications: ZnodePath | None = None
    """Path where Dubbo 3 registers the instances of applications, mostly `/services`. With it, providers that
    register there alone (`register-mode=instance`) are found, too, and nothing is doubled. Layout dubbo only,
    which has to be set. Default: not looked at."""
    dubbo: DubboOptions = DubboOptions()
    """Settings of the layout dubbo."""
    json_records: JsonOptions = JsonOptions()
    """Settings of the layout json."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.applications is not None and self.layout is not LayoutName.DUBBO:
            raise ValueError("`applications` needs `layout: dubbo`")
        if self.applications is not None and _contains(self.applications, self.path):
            raise ValueError("`applications` must be beside `path`, not above it or the same")
        if self.layout is LayoutName.JSON and "{service}" not in self.json_records.path.split("/"):
            raise ValueError("`json_records.path` needs the name {service}")
        return self

    @property
    def part(self) -> str:
        """The name of this part of the source."""
        return self.name or re.sub(r"[^a-z0-9]+", "-", self.path.lower()).strip("-")[:63].strip("-") or "root"

    @property
    def base(self) -> str:
        """The path that a layout's paths are relative to."""
        return posixpath.commonpath([self.path, self.applications]) if self.applications else self.path

    def make_layout(self, chosen: str = "") -> Layout:
        """Return the layout of this root.

        Args:
            chosen: what `recognise` found, where the setting is `auto`.
        """
        name = LayoutName(chosen or self.layout)
        if name is LayoutName.DUBBO:
            above = self.base if self.base != "/" else ""
            applications = self.applications[len(above) + 1 :] if self.applications else None
            paths = DubboPaths(self.path[len(above) + 1 :], applications, self.dubbo.config_group)
            return Dubbo(self.dubbo, paths)
        if name is LayoutName.JSON:
            return JsonLayout(self.json_records)
        return _DIRECTORIES[name](_own_name(self.path))


_DIRECTORIES: dict[LayoutName, Callable[[str], Layout]] = {
    LayoutName.CURATOR: Curator,
    LayoutName.SERVERSETS: ServerSets,
    LayoutName.NERVE: Nerve,
}


class DigestAuth(StrictModel):
    """ZooKeeper's own user and password."""

    file: str
    """File with one line `user:password`, read at every new session, so that it may change."""


class SaslAuth(StrictModel):
    """SASL, for clusters that use Kerberos or DIGEST-MD5. Needs the extra `sasl`."""

    mechanism: Literal["DIGEST-MD5", "GSSAPI"] = "GSSAPI"
    """The mechanism. Default: GSSAPI, which takes the ticket of the process."""
    service: str = "zookeeper"
    """First part of the servers' principal. Default: zookeeper."""
    username: str = ""
    """User of DIGEST-MD5."""
    password_file: str = ""
    """File with the password of DIGEST-MD5."""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.mechanism == "DIGEST-MD5" and not (self.username and self.password_file):
            raise ValueError("DIGEST-MD5 needs username and password_file")
        return self


class ZookeeperConfig(AdapterConfig):
    """Services that are registered in ZooKeeper."""

    unessential = AdapterConfig.unessential | {
        *("digest", "sasl", "tls", "session_timeout", "connect_timeout", "max_node_size", "resync"),
    }
    kind: Literal["zookeeper"] = "zookeeper"
    """Kind of the source: `zookeeper`."""
    hosts: str = Field(pattern=_HOSTS)
    """Servers, with commas, e.g. `zk1:2181,zk2:2181,zk3:2181`; a path after them is the chroot."""
    roots: list[RootSettings] = Field(min_length=1)
    """Parts of the tree that hold services."""
    digest: DigestAuth | None = None
    """User and password (scheme `digest`). Default: none."""
    sasl: SaslAuth | None = None
    """SASL. Default: none."""
    tls: ClientTls | None = None
    """TLS towards the servers; the name in their certificate is checked. Default: no TLS."""
    session_timeout: Duration = Field(default=30.0, ge=1.0, le=300.0)
    """Seconds without contact after which the servers end our session; what is known stays. Default: 30s."""
    connect_timeout: Duration = Field(default=10.0, gt=0.0, le=300.0)
    """Seconds until the first connection must stand. Default: 10s."""
    max_node_size: int = Field(default=1024 * 1024, ge=1024, le=64 * 1024 * 1024)
    """Largest data of one node in bytes; a larger one is skipped and told of. Default: 1 MiB, the servers'
    own limit (jute.maxbuffer)."""
    resync: Duration = Field(default=600.0, ge=10.0)
    """Seconds between two full reads, in case a change was missed. Default: 10m."""

    @model_validator(mode="after")
    def _parts_differ(self) -> Self:
        parts = [root.part for root in self.roots]
        twice = sorted({part for part in parts if parts.count(part) > 1})
        if twice:
            raise ValueError(f"several roots are named {', '.join(twice)}: give them a `name`")
        return self

    @property
    def chroot(self) -> str:
        """The path that all roots are below, "" for none."""
        return "/" + self.hosts.partition("/")[2] if "/" in self.hosts else ""

    @property
    def root(self) -> RootSettings:
        """The root of a source that was expanded."""
        return self.roots[0]

    @override
    def expand(self) -> list[Self]:
        if len(self.roots) == 1:
            return [self]
        # A copy is not validated again, so its name may have the slash that no configured name has.
        return [
            self.model_copy(update={"name": f"{self.name}/{root.part}", "roots": [root]})
            for root in self.roots
        ]

    @override
    def build(self, context: AdapterContext) -> Adapter:
        try:
            from meshbridge.adapters.zookeeper.adapter import ZooKeeperAdapter
        except ModuleNotFoundError as error:
            if error.name is None or not error.name.startswith("kazoo"):
                raise
            text = f"sources {self.name}: kazoo is not installed; run: pip install 'meshbridge[zookeeper]'"
            raise ConfigError([text]) from error
        if self.sasl and find_spec("puresasl") is None:
            text = f"sources {self.name}: SASL needs pure-sasl; run: pip install 'meshbridge[sasl]'"
            raise ConfigError([text])
        return ZooKeeperAdapter(self, context)


def _own_name(path: str) -> str:
    """Return how the service is called whose instances lie in the root itself."""
    names = path.strip("/").removesuffix("/services")
    return leaf(names)


def _contains(above: str, path: str) -> bool:
    return path == above or path.startswith(above.rstrip("/") + "/")
