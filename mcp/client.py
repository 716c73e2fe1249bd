"""A client that behaves as istiod does towards an MCP server (istio/istio `pkg/adsc`, release 1.30).

The tests, the demo, the benchmark and `meshbridge client` use it; a bridge does not.
"""

import asyncio
import random
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import grpc
import msgspec
import structlog
from envoy.config.core.v3.base_pb2 import Node

from meshbridge.mcp.client_speech import DeltaSpeech, StateOfTheWorldSpeech
from meshbridge.mcp.client_store import Change, ConfigStore, Held, istio_types

_WINDOW = 1 << 20

_log = structlog.get_logger(__name__)


class ClientSettings(msgspec.Struct, frozen=True):
    """Who the client says it is, and how it connects. Times are seconds."""

    pod: str = "istiod-0"
    namespace: str = "istio-system"
    ip: str = "127.0.0.1"
    revision: str = ""
    types: tuple[str, ...] = istio_types()
    ca_pem: bytes = b""
    """Authorities of the server; set, it makes the connection use TLS."""
    server_name: str = ""
    """Name to expect in the server's certificate; "" means the host of the address."""
    delta: bool = False
    """Whether to speak delta, which istiod doesn't."""
    acknowledges: bool = True
    keepalive: float = 30.0
    first_retry: float = 0.5
    max_retry: float = 60.0

    def node(self) -> Node:
        """Return what the client says of itself."""
        workload = f"{self.pod}.{self.namespace}"
        node = Node(id=f"sidecar~{self.ip}~{workload}~{self.namespace}.svc.cluster.local")
        node.metadata.update({"GENERATOR": "api", "ISTIO_VERSION": "65536.65536.65536"})
        if self.revision:
            node.metadata.update({"ISTIO_REVISION": self.revision})
        return node


class Counters(msgspec.Struct):
    """What the client has seen so far."""

    streams: int = 0
    responses: int = 0
    bytes: int = 0
    skipped: int = 0


class IstiodClient:
    """Connected for as long as `async with` lasts; it reconnects by itself."""

    def __init__(
        self,
        target: str,
        settings: ClientSettings = ClientSettings(),  # noqa: B008 - it is immutable
        on_change: Callable[[Change], None] | None = None,
    ) -> None:
        """Prepare to connect to `target`, host:port. `on_change` is called for every response."""
        self._target = target
        self._settings = settings
        self._on_change = on_change
        self._store = ConfigStore(settings.types, settings.revision)
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.counters = Counters()
        self.is_connected = False
        self.synced = asyncio.Event()
        """Set when every type has been answered once: istiod is ready."""

    @property
    def entries(self) -> dict[str, dict[str, Held]]:
        """What the client holds, by type URL and namespace/name."""
        return self._store.entries

    @property
    def unsynced(self) -> set[str]:
        """Types without an answer so far."""
        return self._store.unsynced

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.run(), name=f"istiod-client-{self._target}")
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            if not self._task.cancelled():
                self._task.result()

    async def wait_for(self, predicate: Callable[[Self], bool], within: float) -> None:
        """Return as soon as the predicate holds.

        Raises:
            TimeoutError: it does not hold within so many seconds.
        """
        async with asyncio.timeout(within):
            while not predicate(self):
                self._moved.clear()
                await self._moved.wait()

    async def run(self) -> None:
        """Follow the server until cancelled. What is held survives every end of a stream."""
        async with self._channel() as channel:
            retries = 0
            while True:
                opened = self.counters.streams
                try:
                    await self._follow(channel)
                    reason = "the server ended the stream"
                except grpc.aio.AioRpcError as error:
                    reason = f"{error.code().name}: {error.details()}"
                except asyncio.InvalidStateError:  # gRPC's word for writing to an ended stream.
                    reason = "the stream ended"
                self.is_connected = False
                self._moved.set()
                retries = 1 if self.counters.streams > opened else retries + 1
                delay = min(self._settings.first_retry * 1.5 ** (retries - 1), self._settings.max_retry)
                _log.info("stream ended", server=self._target, reason=reason, retry_in=round(delay, 1))
                await asyncio.sleep(delay * random.uniform(0.5, 1.5))  # noqa: S311 - spreads, no secret

    def _channel(self) -> grpc.aio.Channel:
        options = _options(self._settings)
        if not self._settings.ca_pem:
            return grpc.aio.insecure_channel(self._target, options)
        credentials = grpc.ssl_channel_credentials(root_certificates=self._settings.ca_pem)
        return grpc.aio.secure_channel(self._target, credentials, options)

    async def _follow(self, channel: grpc.aio.Channel) -> None:
        """Ask for every type and acknowledge what comes until the stream ends."""
        speaker = DeltaSpeech if self._settings.delta else StateOfTheWorldSpeech
        speech = speaker(self._settings.node(), self._store)
        call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(speech.method, None, None)(
            request_iterator=None
        )
        for index, type_url in enumerate(self._settings.types):
            await call.write(speech.ask(type_url, is_first=index == 0))
        self.is_connected = True
        self.counters.streams += 1
        self._moved.set()
        async for raw in call:
            understood = speech.hear(raw, time.monotonic())
            self._note(understood.change)
            if self._settings.acknowledges and understood.acknowledgement:
                await call.write(understood.acknowledgement)

    def _note(self, change: Change) -> None:
        self.counters.responses += 1
        self.counters.bytes += change.size
        self.counters.skipped += len(change.skipped)
        for skipped in change.skipped:
            _log.warning("resource skipped", type=change.type_url, reason=skipped)
        if not self._store.unsynced:
            self.synced.set()
        if self._on_change is not None:
            self._on_change(change)
        self._moved.set()


def _options(settings: ClientSettings) -> list[tuple[str, int | str]]:
    options: list[tuple[str, int | str]] = [
        ("grpc.max_receive_message_length", (1 << 31) - 1),
        ("grpc.http2.lookahead_bytes", _WINDOW),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.keepalive_time_ms", int(settings.keepalive * 1000)),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", int(settings.first_retry * 2000)),
        ("grpc.min_reconnect_backoff_ms", int(settings.first_retry * 2000)),
        ("grpc.max_reconnect_backoff_ms", int(settings.max_retry * 2000)),
        ("grpc.use_local_subchannel_pool", 1),  # Each client its own connection, also to one server.
    ]
    if settings.server_name:
        options.append(("grpc.ssl_target_name_override", settings.server_name))
    return options
