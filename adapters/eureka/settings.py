"""Configuration of a Eureka source."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator
from typing_extensions import override

from meshbridge.adapters.base import Adapter, AdapterConfig, AdapterContext
from meshbridge.schemas.settings import ClientTls, Duration, Secret

Url = Annotated[str, Field(pattern=r"^https?://[^\s@?#]+$")]
"""An http:// or https:// address without user, password and query in it."""


class EurekaConfig(AdapterConfig):
    """One Eureka cluster. Several clusters are several sources."""

    unessential = AdapterConfig.unessential | {
        *("username", "password", "password_file", "token_file", "tls", "zone", "poll_interval"),
        *("full_interval", "confirm_after", "settle", "timeout", "max_size"),
    }
    kind: Literal["eureka"] = "eureka"
    """Kind of the source: `eureka`."""
    urls: list[Url] = Field(default_factory=list)
    """Base addresses of the cluster's servers, e.g. `http://eureka-1:8761/eureka` (Spring) or
    `http://eureka-1:8080/eureka/v2` (Netflix). One is read at a time, in this order of preference. Default:
    none; then `zones` lists them."""
    zones: dict[str, list[Url]] = Field(default_factory=dict)
    """Base addresses by zone, as in `eureka.client.service-url`. Default: none."""
    zone: str = ""
    """Our own zone: its servers are preferred. Default: none."""
    regions: list[str] = Field(default_factory=list)
    """Remote regions whose instances the servers shall add to their answers. Default: none."""
    username: str = ""
    """User for basic authentication. Default: none."""
    password: Secret = Secret("")
    """Password for basic authentication; better in `password_file`, or as `${VAR}`."""
    password_file: str = ""
    """File with the password, read again for every request. Default: none."""
    token_file: str = ""
    """File with a bearer token, read again for every request, so that it may rotate. Default: none."""
    tls: ClientTls = ClientTls()
    """TLS towards the servers. Default: the system's authorities, no client certificate."""
    poll_interval: Duration = 5.0
    """Seconds between two reads of what changed. Default: 5s; the servers' own cache adds up to 30 s unless
    its `response-cache-update-interval-ms` is lowered."""
    full_interval: Duration = 300.0
    """Seconds between two reads of everything, for changes that the servers' hash of statuses does not show.
    Default: 5m."""
    confirm_after: Duration = 30.0
    """Seconds after a change until everything is read once more, since a server's cache can miss a change
    that comes while it is made. Default: 30s."""
    settle: Duration = 90.0
    """Seconds that instances are kept which a new or restarted server does not list: its clients need a
    heartbeat, 30 s by default, to register again, and its cache another 30 s to show it. Default: 90s."""
    timeout: Duration = 10.0
    """Seconds an answer may take. Default: 10s."""
    max_size: int = Field(default=64 * 1024 * 1024, gt=0)
    """Largest answer in bytes, unpacked; a larger one is refused. Default: 64 MiB, about 65,000 instances."""
    labels: list[str] = Field(default_factory=lambda: ["version"])
    """Keys of the metadata that become labels; rules can make more of the rest. Default: version."""
    vip_hosts: str = ""
    """Further hosts of a service, one for each VIP name of its instances, e.g. `{vip}.spring.mesh`.
    Default: none."""

    @field_validator("vip_hosts")
    @classmethod
    def _names_the_vip(cls, value: str) -> str:
        if value and "{vip}" not in value:
            raise ValueError("it has to contain {vip}, or all VIP names would be the same host")
        return value

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if not self.servers:
            raise ValueError("a eureka source needs at least one address, in urls or zones")
        if self.zone and self.zone not in self.zones:
            raise ValueError(f"zone {self.zone!r} has no servers under zones")
        if self.token_file and self.username:
            raise ValueError("token_file and username exclude each other")
        return self

    @property
    def servers(self) -> dict[str, int]:
        """The servers in order of preference, with their rank: 0 is as good as it gets."""
        by_zone = [(url, name) for name, urls in sorted(self.zones.items()) for url in urls]
        own = [url for url, name in by_zone if name == self.zone]
        other = [url for url, name in by_zone if name != self.zone]
        ranked: dict[str, int] = {}
        for rank, urls in enumerate((own, self.urls, other)):
            for url in urls:
                ranked.setdefault(url.rstrip("/"), rank)
        return dict(sorted(ranked.items(), key=lambda item: item[1]))

    @override
    def build(self, context: AdapterContext) -> Adapter:
        from meshbridge.adapters.eureka.adapter import EurekaAdapter

        return EurekaAdapter(self, context)
