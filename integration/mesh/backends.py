"""Servers of the mesh: each answers with its name and with who the caller proved to be."""

import json
from types import TracebackType
from typing import Self

import grpc

from integration.mesh.certificates import Identity

METHOD = "/mesh.Echo/Who"


class Backend:
    """A gRPC server on 127.0.0.1 for as long as `async with` lasts, by mTLS alone if it has an identity."""

    def __init__(self, name: str, identity: Identity | None = None) -> None:
        self.name = name
        self.port = 0
        self.identity = identity
        """May be replaced: connections made from then on see the new one."""

    async def __aenter__(self) -> Self:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        service, method = METHOD.strip("/").split("/")
        methods = {method: grpc.unary_unary_rpc_method_handler(self._who)}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
        if self.identity:
            credentials = grpc.dynamic_ssl_server_credentials(
                _certificates(self.identity), self._shown, require_client_authentication=True
            )
            self.port = self._server.add_secure_port("127.0.0.1:0", credentials)
        else:
            self.port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self._server.stop(grace=None)

    def _shown(self) -> grpc.ServerCertificateConfiguration:
        assert self.identity is not None
        return _certificates(self.identity)

    async def _who(self, _request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        names = context.auth_context().get("x509_subject_alternative_name", ())
        return json.dumps([self.name, b",".join(names).decode()]).encode()


def _certificates(identity: Identity) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(identity.key.read_bytes(), identity.chain.read_bytes())],
        root_certificates=identity.root.read_bytes(),
    )
