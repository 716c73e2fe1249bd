"""The server that istiod connects to as one of its `configSources`: xDS and legacy MCP on one port."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from urllib.parse import unquote

import grpc
import structlog

from meshbridge.mcp.access import Identity, identity, scopes_for
from meshbridge.mcp.clients import Clients
from meshbridge.mcp.dialects import Dialect, delta, legacy, state_of_the_world
from meshbridge.mcp.flow import Pacing
from meshbridge.mcp.limits import Admission, Limits, TooMuch
from meshbridge.mcp.security import server_credentials
from meshbridge.mcp.stream import Peer, Serving, Stream, StreamEnd
from meshbridge.mcp.view import View
from meshbridge.schemas.errors import SinkError
from meshbridge.schemas.settings import ServerTls

_SPEAKERS: Mapping[str, Mapping[str, Callable[[View, Pacing, Limits], Dialect]]] = {
    "envoy.service.discovery.v3.AggregatedDiscoveryService": {
        "StreamAggregatedResources": state_of_the_world,
        "DeltaAggregatedResources": delta,
    },
    "istio.mcp.v1alpha1.ResourceSource": {"EstablishResourceStream": legacy},
}
"""By service and method."""

_Context = grpc.aio.ServicerContext[bytes, bytes]

_REFUSAL_LOG_INTERVAL = 1.0
"""Seconds."""

_log = structlog.get_logger(__name__)


class McpServer:
    """Serves what is in `serving.cache`. Make it inside the event loop that runs it."""

    def __init__(
        self, serving: Serving, listen: str, *, tls: ServerTls | None = None, ping_interval: float = 10.0
    ) -> None:
        """Prepare to listen on `listen`, host:port; port 0 takes a free one.

        `ping_interval` is how often, in seconds, a quiet client may ping; istiod does every 30 s.

        Raises:
            ConfigError: a file of `tls` can't be read.
        """
        self.clients = Clients(serving.metrics)
        self._serving = serving
        self._listen = listen
        self._credentials = server_credentials(tls) if tls else None
        self._ping_interval = ping_interval
        self._server: grpc.aio.Server | None = None
        self._streams: set[Stream] = set()
        self._admission = Admission(serving.limits)
        self._next_refusal_log = 0.0

    async def start(self) -> int:
        """Listen, and return the port.

        Raises:
            SinkError: the address can't be had.
        """
        server = grpc.aio.server(options=_options(self._ping_interval, self._serving.limits))
        for service, speakers in _SPEAKERS.items():
            methods = {
                method: grpc.stream_stream_rpc_method_handler(partial(self._serve, speaker))
                for method, speaker in speakers.items()
            }
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
        try:
            if self._credentials:
                port = server.add_secure_port(self._listen, self._credentials)
            else:
                port = server.add_insecure_port(self._listen)
        except RuntimeError as error:
            reason = f"can't listen on {self._listen}: {_explain_bind(self._listen)}"
            raise SinkError("mcp", reason, retryable=False) from error
        await server.start()
        self._server = server
        _log.info("MCP server listens", address=self._listen, port=port, tls=self._credentials is not None)
        return port

    async def stop(self, grace: float) -> None:
        """End all streams, within `grace` seconds; clients keep what they have.

        Nothing else is sent: an empty last answer would delete everything at the clients.
        """
        if self._server is None:
            return
        goodbye = asyncio.create_task(self._server.stop(grace), name="mcp-stop")
        await asyncio.sleep(0)  # First the connections say GOAWAY, so that clients don't come back.
        for stream in self._streams:
            stream.stop()
        await goodbye
        self._server = None

    async def _serve(
        self,
        speaker: Callable[[View, Pacing, Limits], Dialect],
        requests: AsyncIterator[bytes],
        context: _Context,
    ) -> None:
        address, client = clean_peer(context.peer()), identity(context.auth_context())
        try:
            view = self._view_for(client, address)
            with self._admission.admitted(str(client) or address.rpartition(":")[0]):
                await context.send_initial_metadata(())  # So that it sees it is served, also while we hold.
                dialect = speaker(view, self._serving.pacing, self._serving.limits)
                await self._run(
                    Stream(self._serving, dialect, Peer(address, str(client), context.write)), requests
                )
        except TooMuch as error:
            self._log_refusal(address, client, str(error))
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        except StreamEnd as end:
            await context.abort(end.code, end.details)

    def _view_for(self, client: Identity, address: str) -> View:
        scopes = scopes_for(client, self._serving.allow)
        if not scopes:
            self._log_refusal(address, client, "not on the list of allowed clients")
            raise StreamEnd(grpc.StatusCode.PERMISSION_DENIED, "not on the list of allowed clients")
        return self._serving.cache.view(scopes)

    async def _run(self, stream: Stream, requests: AsyncIterator[bytes]) -> None:
        self._streams.add(stream)
        try:
            with self.clients.joined(stream):
                await stream.run(requests)
        finally:
            self._streams.discard(stream)

    def _log_refusal(self, address: str, client: Identity, reason: str) -> None:
        """Log a refused stream, but not each one of a flood."""
        now = self._serving.clock()
        if now >= self._next_refusal_log:
            self._next_refusal_log = now + _REFUSAL_LOG_INTERVAL
            _log.warning("client refused", address=address, identity=str(client), reason=reason)


def clean_peer(peer: str) -> str:
    """Return host:port of a gRPC peer such as `ipv4:127.0.0.1:4321` or `ipv6:%5B::1%5D:4321`."""
    scheme, _, address = peer.partition(":")
    return unquote(address) if scheme in {"ipv4", "ipv6"} else peer


def _options(ping_interval: float, limits: Limits) -> list[tuple[str, int]]:
    return [
        # Without it gRPC allows a ping every 5 minutes and ends istiod's quiet stream after 120 s.
        ("grpc.http2.min_ping_interval_without_data_ms", int(ping_interval * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        # Our own pings find peers that vanished without a word.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.max_receive_message_length", limits.request_bytes),
        # Of one connection. A few more than we serve, so that who asks for more is told why.
        ("grpc.max_concurrent_streams", limits.streams_per_peer + 10),
        ("grpc.max_metadata_size", 8192),
        # Who connects and then says nothing goes.
        ("grpc.server_handshake_timeout_ms", 20_000),
        ("grpc.max_send_message_length", -1),
        # Two servers on one port would share the clients; a taken port must be an error.
        ("grpc.so_reuseport", 0),
    ]


def _explain_bind(listen: str) -> str:
    """Return why the address can't be had, which gRPC doesn't say."""
    host, _, port = listen.rpartition(":")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(address)
    except OSError as error:
        return error.strerror or str(error)
    except ValueError:
        return "it is not host:port"
    return "unknown reason"
