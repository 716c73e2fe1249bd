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
        self._credentials = identity and _credentials(identity)

    async def __aenter__(self) -> Self:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        service, method = METHOD.strip("/").split("/")
        methods = {method: grpc.unary_unary_rpc_method_handler(self._who)}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
        if self._credentials:
            self.port = self._server.add_secure_port("127.0.0.1:0", self._credentials)
        else:
            self.port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self._server.stop(grace=None)

    async def _who(self, _request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        names = context.auth_context().get("x509_subject_alternative_name", ())
        return json.dumps([self.name, b",".join(names).decode()]).encode()


def _credentials(identity: Identity) -> grpc.ServerCredentials:
    return grpc.ssl_server_credentials(
        [(identity.key.read_bytes(), identity.chain.read_bytes())],
        root_certificates=identity.root.read_bytes(),
        require_client_auth=True,
    )
