"""What the test client says and hears, in each protocol. No I/O."""

import time
from typing import Protocol

import msgspec
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)

from meshbridge.mcp.client_store import MESH_CONFIG, Change, ConfigStore

_ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"


class Understood(msgspec.Struct, frozen=True):
    """A response, taken in."""

    change: Change
    acknowledgement: bytes | None
    """What to answer; None where istiod doesn't."""


class Speech(Protocol):
    """One protocol, on one stream."""

    method: str

    def ask(self, type_url: str, *, is_first: bool) -> bytes:
        """Return the first request for a type; the first of a stream says who we are."""

    def hear(self, raw: bytes, at: float) -> Understood:
        """Take in a response received at `at`, in monotonic seconds."""


class StateOfTheWorldSpeech:
    """As istiod speaks it."""

    method = f"{_ADS}StreamAggregatedResources"

    def __init__(self, node: Node, store: ConfigStore) -> None:
        self._node = node
        self._store = store

    def ask(self, type_url: str, *, is_first: bool) -> bytes:
        """Return the first request for a type: istiod's has a clock reading for a nonce."""
        request = DiscoveryRequest(type_url=type_url, response_nonce=str(time.time_ns()))
        if is_first:
            request.node.CopyFrom(self._node)
        return bytes(request.SerializeToString())

    def hear(self, raw: bytes, at: float) -> Understood:
        """Take in a response."""
        response = DiscoveryResponse.FromString(raw)
        change = self._store.apply(response, len(raw), at)
        if response.type_url == MESH_CONFIG and response.resources:
            return Understood(change, None)
        request = DiscoveryRequest(
            type_url=response.type_url,
            version_info=response.version_info,
            response_nonce=response.nonce,
            node=self._node,
        )
        return Understood(change, bytes(request.SerializeToString()))


class DeltaSpeech:
    """As other consumers speak it; a new stream says what the client has."""

    method = f"{_ADS}DeltaAggregatedResources"

    def __init__(self, node: Node, store: ConfigStore) -> None:
        self._node = node
        self._store = store

    def ask(self, type_url: str, *, is_first: bool) -> bytes:
        """Return the first request for a type."""
        held = self._store.entries.get(type_url, {})
        request = DeltaDiscoveryRequest(
            type_url=type_url,
            initial_resource_versions={name: found.version for name, found in held.items()},
        )
        if is_first:
            request.node.CopyFrom(self._node)
        return bytes(request.SerializeToString())

    def hear(self, raw: bytes, at: float) -> Understood:
        """Take in a response."""
        response = DeltaDiscoveryResponse.FromString(raw)
        change = self._store.apply_delta(response, len(raw), at)
        request = DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
        return Understood(change, bytes(request.SerializeToString()))
