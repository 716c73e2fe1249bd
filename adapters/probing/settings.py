"""The `probe` part of a source's configuration."""

import re
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from meshbridge.schemas.settings import ClientTls, Duration, Secret, StrictModel

_STATUSES = re.compile(r"([1-5]\d\d)(?:-([1-5]\d\d))?")


def parse_statuses(value: object) -> tuple[int, int]:
    """Return the first and last HTTP status that `204` or `200-399` means.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, tuple):  # Already parsed: a model's default, or a copy of a model.
        return value
    match = _STATUSES.fullmatch(str(value))
    if not match:
        raise ValueError(f"{value!r} is neither a status such as 204 nor a range such as 200-399")
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first:
        raise ValueError(f"{value!r} ends before it begins")
    return first, last


Statuses = Annotated[
    tuple[int, int],
    BeforeValidator(parse_statuses),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 100, "maximum": 599},
                {"type": "string", "pattern": "^[1-5][0-9][0-9](-[1-5][0-9][0-9])?$"},
            ]
        }
    ),
]
"""HTTP statuses, written as `204` or `200-399`."""

ProbePort = Annotated[int, Field(ge=1, le=65535)] | Annotated[str, Field(pattern="[A-Za-z]")]
"""A port number, or the name of one of the instance's ports."""


class TcpProbe(StrictModel):
    """Passes when a connection is accepted; it is reset at once, without a byte sent."""

    port: ProbePort | None = None
    """Port number, or name of a port of the instance. Default: the instance's first port."""


class HttpProbe(StrictModel):
    """Passes when a GET is answered with an expected status. Redirects are not followed."""

    path: str = Field(default="/", pattern=r"^/[^\s#]*$")
    """Path to ask for, with its query if it has one."""
    port: ProbePort | None = None
    """Port number, or name of a port of the instance. Default: the instance's first port."""
    scheme: Literal["http", "https"] = "http"
    """Whether to speak TLS."""
    host: str = Field(default="", pattern=r"^[^\s/]*$")
    """Host header to send; the connection always goes to the instance. Default: its address and port."""
    headers: dict[str, Secret] = Field(default_factory=dict)
    """Further headers to send."""
    statuses: tuple[Statuses, ...] = Field(default=((200, 399),), min_length=1)
    """Statuses that pass: numbers and ranges. Default: 200-399, as in Kubernetes."""
    tls: ClientTls | None = None
    """TLS of an https probe. Default: the system's authorities, no certificate of ours."""
    insecure_skip_verify: bool = False
    """Take any certificate. A probe asks whether a server answers, not who it is, but it then tells
    anyone who answers the headers set above."""

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if self.scheme == "http" and (self.tls or self.insecure_skip_verify):
            raise ValueError("tls and insecure_skip_verify need scheme: https")
        if self.insecure_skip_verify and self.tls and self.tls.ca_file:
            raise ValueError("insecure_skip_verify makes tls.ca_file useless; leave one of them out")
        return self

    def expects(self, status: int) -> bool:
        """Whether this status passes."""
        return any(first <= status <= last for first, last in self.statuses)


class GrpcProbe(StrictModel):
    """Passes when `grpc.health.v1.Health/Check` answers SERVING."""

    service: str = ""
    """Service to ask about. Default: "", the server as a whole."""
    port: ProbePort | None = None
    """Port number, or name of a port of the instance. Default: the instance's first port."""
    tls: ClientTls | None = None
    """TLS towards the server; `tls: {}` trusts the system's authorities. Default: plaintext."""


class ProbeSettings(StrictModel):
    """Active checks of a source's instances, by the rules of an Istio WorkloadGroup's probe.

    Before its first verdict an instance has the health its registry gives it; after that the worse of
    both. Exactly one of `tcp`, `http` and `grpc` says what to do.
    """

    tcp: TcpProbe | None = None
    """Connect; `tcp: {}` connects to the instance's first port."""
    http: HttpProbe | None = None
    """Send an HTTP GET."""
    grpc: GrpcProbe | None = None
    """Ask the gRPC health service."""
    interval: Duration = 10.0
    """Time from one check of an instance to the next."""
    timeout: Duration = 1.0
    """Time after which a check has failed; at most the interval."""
    initial_delay: Duration = 0.0
    """Time from the first sight of an instance to its first check, which comes within an interval after."""
    rise: int = Field(default=1, ge=1)
    """Passes in a row that make an instance ready."""
    fall: int = Field(default=3, ge=1)
    """Failures in a row that make an instance unready. With 1, a panic is seen only after a part of the
    instances has been unready for a moment."""
    jitter: float = Field(default=0.1, ge=0.0, le=0.5)
    """Share of the interval by which checks come earlier or later at random."""
    concurrency: int = Field(default=512, ge=1, le=20_000)
    """Checks of the source that may be under way at once; each holds a socket. Further ones wait."""
    panic_percent: float = Field(default=50.0, gt=0.0, le=100.0)
    """Freeze all verdicts while more than this share of the instances that were passing fail at once: then
    our own network is the likelier culprit. 100 never freezes."""
    panic_min: int = Field(default=3, ge=1)
    """Fewer failing instances than this never freeze."""

    @model_validator(mode="after")
    def _check_actions(self) -> Self:
        if sum(action is not None for action in (self.tcp, self.http, self.grpc)) != 1:
            raise ValueError("set exactly one of tcp, http and grpc, for instance `tcp: {}`")
        if self.interval <= 0 or self.timeout <= 0 or self.initial_delay < 0:
            raise ValueError("interval and timeout must be above 0s, and initial_delay not below")
        if self.timeout > self.interval and "timeout" in self.model_fields_set:
            raise ValueError("timeout must not be longer than interval")
        return self

    @property
    def action(self) -> TcpProbe | HttpProbe | GrpcProbe:
        """What to do."""
        action = self.tcp or self.http or self.grpc
        assert action  # noqa: S101 - the validator above has seen to it
        return action

    @property
    def time_limit(self) -> float:
        """Seconds after which a check has failed."""
        return min(self.timeout, self.interval)
