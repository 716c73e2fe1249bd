"""The xDS server that istiod connects to as one of its `configSources`."""

import asyncio
import socket
from collections.abc import AsyncIterator
from urllib.parse import unquote

import grpc
import structlog

from meshbridge.mcp.clients import Clients
from meshbridge.mcp.security import server_credentials
from meshbridge.mcp.stream import Serving, Stream, StreamEnd
from meshbridge.schemas.errors import SinkError
from meshbridge.schemas.settings import ServerTls

_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_MAX_REQUEST = 4 << 20

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

    async def start(self) -> int:
        """Listen, and return the port.

        Raises:
            SinkError: the address can't be had.
        """
        server = grpc.aio.server(options=_options(self._ping_interval))
        method = grpc.stream_stream_rpc_method_handler(self._stream_aggregated_resources)
        methods = {"StreamAggregatedResources": method}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, methods),))
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

    async def _stream_aggregated_resources(
        self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> None:
        await context.send_initial_metadata(())  # The client sees that it is served, also while we hold.
        stream = Stream(self._serving, clean_peer(context.peer()), context.write)
        self._streams.add(stream)
        try:
            with self.clients.joined(stream):
                await stream.run(requests)
        except StreamEnd as end:
            await context.abort(end.code, end.details)
        finally:
            self._streams.discard(stream)


def clean_peer(peer: str) -> str:
    """Return host:port of a gRPC peer such as `ipv4:127.0.0.1:4321` or `ipv6:%5B::1%5D:4321`."""
    scheme, _, address = peer.partition(":")
    return unquote(address) if scheme in {"ipv4", "ipv6"} else peer


def _options(ping_interval: float) -> list[tuple[str, int]]:
    return [
        # Without it gRPC allows a ping every 5 minutes and ends istiod's quiet stream after 120 s.
        ("grpc.http2.min_ping_interval_without_data_ms", int(ping_interval * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        # Our own pings find peers that vanished without a word.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.max_receive_message_length", _MAX_REQUEST),
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
