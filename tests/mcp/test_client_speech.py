"""What the test client answers to a response."""

from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from google.protobuf.any_pb2 import Any

from meshbridge.mcp.client_speech import StateOfTheWorldSpeech
from meshbridge.mcp.client_store import MESH_CONFIG, ConfigStore, istio_types


def speech() -> StateOfTheWorldSpeech:
    return StateOfTheWorldSpeech(Node(id="istiod"), ConfigStore(istio_types()))


def test_response_is_acknowledged_by_nonce_and_version() -> None:
    response = DiscoveryResponse(type_url=istio_types()[1], version_info="v", nonce="n")

    understood = speech().hear(response.SerializeToString(), 0.0)

    assert understood.acknowledgement is not None
    request = DiscoveryRequest.FromString(understood.acknowledgement)
    assert (request.response_nonce, request.version_info, request.node.id) == ("n", "v", "istiod")


def test_mesh_config_with_content_is_not_acknowledged() -> None:
    response = DiscoveryResponse(type_url=MESH_CONFIG, nonce="n", resources=[Any()])

    assert speech().hear(response.SerializeToString(), 0.0).acknowledgement is None
