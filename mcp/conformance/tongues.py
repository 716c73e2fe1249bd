"""What a conformance script says and hears, in each protocol's messages. No I/O."""

from collections.abc import Callable, Mapping

import msgspec
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError

from meshbridge.mcp.conformance.rules import DELTA, LEGACY, SOTW
from meshbridge.schemas.proto.meshbridge_mcp_pb2 import RequestResources, Resource, Resources

_ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
_RESOURCE = "type.googleapis.com/istio.mcp.v1alpha1.Resource"
_NODE = Node(id="sidecar~127.0.0.1~conformance.default~default.svc.cluster.local")


class Saying(msgspec.Struct, frozen=True):
    """What the client says."""

    type_url: str
    nonce: str = ""
    version: str = ""
    error: str = ""
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial: Mapping[str, str] = {}
    incremental: bool = False


class Hearing(msgspec.Struct, frozen=True):
    """What the server said."""

    type_url: str
    nonce: str
    version: str
    resources: Mapping[str, str]
    """Versions by namespace/name."""
    removed: tuple[str, ...] = ()
    is_whole: bool = True
    """Whether what it lacks doesn't exist."""
    faults: tuple[str, ...] = ()
    """What no response may be like."""


class Tongue(msgspec.Struct, frozen=True):
    """A protocol's method, and its messages."""

    method: str
    say: Callable[[Saying], bytes]
    hear: Callable[[bytes], Hearing]
    """Raises DecodeError: it is no response of this protocol."""


def _say_sotw(saying: Saying) -> bytes:
    message = DiscoveryRequest(
        type_url=saying.type_url, response_nonce=saying.nonce, version_info=saying.version, node=_NODE
    )
    if saying.error:
        message.error_detail.message = saying.error
    return bytes(message.SerializeToString())


def _hear_sotw(raw: bytes) -> Hearing:
    message = DiscoveryResponse.FromString(raw)
    found = [_read(item) for item in message.resources]
    return _heard(message.type_url, message.nonce, message.version_info, found)


def _say_delta(saying: Saying) -> bytes:
    message = DeltaDiscoveryRequest(
        type_url=saying.type_url,
        response_nonce=saying.nonce,
        resource_names_subscribe=saying.subscribe,
        resource_names_unsubscribe=saying.unsubscribe,
        initial_resource_versions=saying.initial,
        node=_NODE,
    )
    if saying.error:
        message.error_detail.message = saying.error
    return bytes(message.SerializeToString())


def _hear_delta(raw: bytes) -> Hearing:
    message = DeltaDiscoveryResponse.FromString(raw)
    found = [_read(item.resource) for item in message.resources]
    heard = _heard(message.type_url, message.nonce, message.system_version_info, found)
    faults = [
        f"{item.name} wraps a resource named {name or 'nothing'} of version {version}"
        for item, (name, version) in zip(message.resources, found, strict=True)
        if (item.name, item.version) != (name, version)
    ]
    return msgspec.structs.replace(
        heard, removed=tuple(message.removed_resources), is_whole=False, faults=(*heard.faults, *faults)
    )


def _say_legacy(saying: Saying) -> bytes:
    message = RequestResources(
        collection=saying.type_url,
        response_nonce=saying.nonce,
        initial_resource_versions=saying.initial,
        incremental=saying.incremental,
    )
    message.sink_node.id = "conformance"
    if saying.error:
        message.error_detail.code, message.error_detail.message = 3, saying.error
    return message.SerializeToString()


def _hear_legacy(raw: bytes) -> Hearing:
    message = Resources.FromString(raw)
    found = [(item.metadata.name, item.metadata.version) for item in message.resources]
    heard = _heard(message.collection, message.nonce, message.system_version_info, found)
    return msgspec.structs.replace(
        heard, removed=tuple(message.removed_resources), is_whole=not message.incremental
    )


def _read(item: Any) -> tuple[str, str]:
    try:
        metadata = Resource.FromString(item.value).metadata
    except DecodeError:
        return "", ""
    return (metadata.name, metadata.version) if item.type_url == _RESOURCE else ("", "")


def _heard(type_url: str, nonce: str, version: str, found: list[tuple[str, str]]) -> Hearing:
    names = [name for name, _ in found]
    faults = [
        *(["the response has no nonce"] if not nonce else []),
        *(f'the name "{name}" is not namespace/name' for name in names if len(name.split("/")) != 2),
        *(f"{name} has no version" for name, of in found if name and not of),
        *(["names occur more than once"] if len(set(names)) < len(names) else []),
    ]
    return Hearing(type_url, nonce, version, dict(found), faults=tuple(faults))


TONGUES = {
    SOTW: Tongue(_ADS + "StreamAggregatedResources", _say_sotw, _hear_sotw),
    DELTA: Tongue(_ADS + "DeltaAggregatedResources", _say_delta, _hear_delta),
    LEGACY: Tongue("/istio.mcp.v1alpha1.ResourceSource/EstablishResourceStream", _say_legacy, _hear_legacy),
}
