"""What istiod makes of the responses of an MCP server: the pure half of the test client.

It follows istiod's own store (istio/istio `pkg/adsc`): a response replaces its type, so that what is
missing or can't be read is deleted; an equal version leaves an entry untouched, an empty one never does.
"""

from collections.abc import Iterable, Mapping

import msgspec
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError

from meshbridge.schemas.errors import PayloadError
from meshbridge.schemas.istio import Spec
from meshbridge.schemas.proto.meshbridge_mcp_pb2 import Resource
from meshbridge.schemas.registry import Labels, labels
from meshbridge.schemas.resource import Kind
from meshbridge.schemas.wire import decode

MESH_CONFIG = "core/v1alpha1/MeshConfig"

_RESOURCE = "type.googleapis.com/istio.mcp.v1alpha1.Resource"
_BODY = "type.googleapis.com/istio.networking.v1alpha3."
_V1_SINCE_1_24 = {
    "security.istio.io": ("v1beta1", ("AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication")),
    "telemetry.istio.io": ("v1alpha1", ("Telemetry",)),
    "networking.istio.io": (
        "v1alpha3",
        (
            "DestinationRule",
            "Gateway",
            "ServiceEntry",
            "Sidecar",
            "VirtualService",
            "WorkloadEntry",
            "WorkloadGroup",
        ),
    ),
}
"""By group: the version up to 1.23, and the kinds."""
_UNCHANGED = ("networking.istio.io/v1alpha3/EnvoyFilter", "networking.istio.io/v1beta1/ProxyConfig")


def istio_types(*, before_1_24: bool = False) -> tuple[str, ...]:
    """Return the type URLs that istiod asks for, in its order: MeshConfig, then sorted by kind."""
    types = {
        f"{group}/{old if before_1_24 else 'v1'}/{kind}"
        for group, (old, kinds) in _V1_SINCE_1_24.items()
        for kind in kinds
    }
    types |= {*_UNCHANGED, "extensions.istio.io/v1alpha1/WasmPlugin"}
    if not before_1_24:
        types.add("extensions.istio.io/v1alpha1/TrafficExtension")
    return (MESH_CONFIG, *sorted(types, key=lambda url: url.rpartition("/")[2]))


class Held(msgspec.Struct, frozen=True, gc=False):
    """An entry as istiod holds it."""

    kind: Kind
    version: str
    labels: Labels
    annotations: Labels
    create_time: int
    """Unix seconds."""
    body: bytes
    """The spec as protobuf."""

    @property
    def spec(self) -> Spec:
        """The spec, decoded."""
        return decode(self.kind, self.body)


class Change(msgspec.Struct, frozen=True):
    """What one response changed. Names are namespace/name."""

    type_url: str
    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    skipped: tuple[str, ...]
    """Resources that could not be read: name and reason."""
    size: int
    """Bytes of the response."""
    at: float
    """Monotonic seconds at which it was received."""


class ConfigStore:
    """Entries by type URL and name. It belongs to one istiod with one revision."""

    def __init__(self, types: tuple[str, ...], revision: str = "") -> None:
        self._revision = revision
        self.entries: dict[str, dict[str, Held]] = {url: {} for url in types if url != MESH_CONFIG}
        self.unsynced = set(self.entries)
        """Types without an answer so far. istiod is ready when there are none."""

    def apply(self, response: DiscoveryResponse, size: int, at: float) -> Change:
        """Take in a response: it is everything there is of its type."""
        url = response.type_url
        if url not in self.entries:  # MeshConfig, or a type not asked for: acknowledged, not stored.
            return Change(url, (), (), (), (), size, at)
        new, skipped = self._read(response.resources, self.entries[url])
        return self._replace(url, new, Change(url, (), (), (), tuple(skipped), size, at))

    def apply_delta(self, response: DeltaDiscoveryResponse, size: int, at: float) -> Change:
        """Take in a response of the delta protocol: what is new, changed, and gone."""
        url = response.type_url
        if url not in self.entries:
            return Change(url, (), (), (), (), size, at)
        old = self.entries[url]
        found, skipped = self._read((item.resource for item in response.resources), old)
        gone = {*response.removed_resources, *(item.name for item in response.resources)} - found.keys()
        new = {name: held for name, held in (old | found).items() if name not in gone}
        return self._replace(url, new, Change(url, (), (), (), tuple(skipped), size, at))

    def _replace(self, url: str, new: dict[str, Held], change: Change) -> Change:
        old, self.entries[url] = self.entries[url], new
        self.unsynced.discard(url)
        return msgspec.structs.replace(
            change,
            added=tuple(name for name in new if name not in old),
            changed=tuple(name for name, held in new.items() if name in old and old[name] is not held),
            removed=tuple(name for name in old if name not in new),
        )

    def _read(self, items: Iterable[Any], old: Mapping[str, Held]) -> tuple[dict[str, Held], list[str]]:
        new: dict[str, Held] = {}
        skipped: list[str] = []
        for item in items:
            try:
                resource = _unwrap(item)
                name, version = resource.metadata.name, resource.metadata.version
                if not self._is_ours(resource.metadata.labels):
                    continue
                stored = new.get(name) or old.get(name)
                is_known = stored is not None and stored.version == version != ""
                new[name] = stored if stored is not None and is_known else _hold(resource)
            except PayloadError as error:
                skipped.append(str(error))
        return new, skipped

    def _is_ours(self, resource_labels: Mapping[str, str]) -> bool:
        wanted = resource_labels.get("istio.io/rev", "")
        return not self._revision or not wanted or wanted == self._revision


def _unwrap(item: Any) -> Resource:
    if item.type_url != _RESOURCE:
        raise PayloadError("?", f"is a {item.type_url}")
    try:
        resource = Resource.FromString(item.value)
    except DecodeError:
        raise PayloadError("?", "is no istio.mcp.v1alpha1.Resource") from None
    if len(resource.metadata.name.split("/")) != 2:
        raise PayloadError(resource.metadata.name, "the name is not namespace/name")
    return resource


def _hold(resource: Resource) -> Held:
    metadata = resource.metadata
    body_type = resource.body.type_url.removeprefix(_BODY)
    if body_type not in set(Kind) or body_type == resource.body.type_url:
        raise PayloadError(metadata.name, f"unknown body {resource.body.type_url}")
    held = Held(
        kind=Kind(body_type),
        version=metadata.version,
        labels=labels(metadata.labels),
        annotations=labels(metadata.annotations),
        create_time=metadata.create_time.seconds,
        body=resource.body.value,
    )
    _ = held.spec  # istiod decodes it now, and skips what it can't.
    return held
