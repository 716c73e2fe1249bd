"""Certificates for a stock Envoy, which asks for them as istiod's clusters say, as beside Istio's agent."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from envoy.service.secret.v3.sds_pb2_grpc import (
    SecretDiscoveryServiceServicer,
    add_SecretDiscoveryServiceServicer_to_server,
)
from google.protobuf.any_pb2 import Any as AnyMessage

from integration.mesh.certificates import Identity

_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
_AUTHORITY = "ROOTCA"


@asynccontextmanager
async def serve_secrets(identity: Identity) -> AsyncIterator[int]:
    """Serve this identity for as long as the context lasts; gives the port on 127.0.0.1."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    add_SecretDiscoveryServiceServicer_to_server(_Secrets(identity), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(grace=None)


class _Secrets(SecretDiscoveryServiceServicer):  # type: ignore[misc]
    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    async def StreamSecrets(  # noqa: N802 - the name in the protocol
        self, requests: AsyncIterator[DiscoveryRequest], _context: grpc.aio.ServicerContext
    ) -> AsyncIterator[DiscoveryResponse]:
        """Answer what is asked for; nothing ever changes, so an acknowledgement needs no answer."""
        async for request in requests:
            if not request.response_nonce:
                found = [self._packed(name) for name in request.resource_names]
                yield DiscoveryResponse(type_url=_TYPE, version_info="1", nonce="1", resources=found)

    def _packed(self, name: str) -> AnyMessage:
        secret = Secret(name=name)
        if name == _AUTHORITY:
            secret.validation_context.trusted_ca.inline_bytes = self._identity.root.read_bytes()
        else:
            secret.tls_certificate.certificate_chain.inline_bytes = self._identity.chain.read_bytes()
            secret.tls_certificate.private_key.inline_bytes = self._identity.key.read_bytes()
        packed = AnyMessage()
        packed.Pack(secret)
        return packed
