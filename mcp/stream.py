"""One stream of a client: bytes in, bytes out. What to send, and when, is `subscription`'s to decide."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import grpc
import structlog
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest
from google.protobuf.message import DecodeError

from meshbridge.mcp import codec
from meshbridge.mcp.cache import SnapshotReader
from meshbridge.mcp.clients import ClientStatus
from meshbridge.mcp.metrics import McpMetrics, NoMetrics
from meshbridge.mcp.subscription import Meaning, Pacing, Request, Subscription
from meshbridge.mcp.turns import Turns

_LARGE = 64 * 1024
"""Bytes from which a response waits for its turn."""
_MAX_TYPES = 100
"""Types one stream may ask for; istiod asks for 16."""
_MAX_TEXT = 256
"""Characters kept of what a client says of itself."""

_log = structlog.get_logger(__name__)


class StreamEnd(Exception):  # noqa: N818 - it is how a stream ends, and not always an error
    """The stream ends with this status."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


@dataclass(frozen=True)
class Serving:
    """What all streams of a server have in common."""

    cache: SnapshotReader
    pacing: Pacing = field(default_factory=Pacing)
    metrics: McpMetrics = field(default_factory=NoMetrics)
    turns: Turns = field(default_factory=lambda: Turns(at_once=4, longest=1.0))
    clock: Callable[[], float] = time.monotonic
    write_timeout: float = 60.0
    """Seconds a client may take for a small response; a large one has more by `slowest_rate`."""
    slowest_rate: float = 1 << 20
    """Bytes per second."""


class Stream:
    """One client. `write` takes a response, and returns when the client has room for it."""

    def __init__(self, serving: Serving, address: str, write: Callable[[bytes], Awaitable[None]]) -> None:
        self._serving = serving
        self._address = address
        self._write = write
        self._subscription = Subscription(serving.pacing)
        self._wake = asyncio.Event()
        self._is_stopping = False
        self._connected = time.time()
        self._id = ""
        self._revision = ""
        self._generations: dict[str, int] = {}
        self._pending: dict[str, dict[str, float]] = {}

    async def run(self, requests: AsyncIterator[bytes]) -> None:
        """Serve until the client ends its side.

        Raises:
            StreamEnd: the stream has to end for another reason.
        """
        reader = asyncio.create_task(self._read(requests), name=f"mcp-read-{self._address}")
        reader.add_done_callback(lambda _: self._wake.set())
        try:
            with self._serving.cache.wakes(self._wake):
                while not (reader.done() or self._is_stopping):
                    await self._step()
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            _log.info("client disconnected", client=self._id, address=self._address)
        if not reader.cancelled():
            reader.result()
        elif self._is_stopping:
            raise StreamEnd(grpc.StatusCode.UNAVAILABLE, "the server is shutting down")

    def stop(self) -> None:
        """End the stream after what is being written."""
        self._is_stopping = True
        self._wake.set()

    def status(self) -> ClientStatus:
        """Return what there is to say about the client now."""
        types = self._subscription.statuses()
        return ClientStatus(self._id, self._address, self._revision, self._connected, types)

    async def _step(self) -> None:
        """Send what is due or, when nothing is, wait until something may be."""
        self._wake.clear()  # Before looking, so that what happens while we send isn't missed.
        now = self._serving.clock()
        due = self._subscription.due(now, self._serving.cache.versions(self._subscription.type_urls))
        for type_url in due.types:
            if not self._is_stopping:
                await self._send(type_url)
        if not due.types:
            try:
                async with asyncio.timeout(None if due.wake == float("inf") else due.wake - now):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _send(self, type_url: str) -> None:
        answer = self._serving.cache.current(type_url)
        is_large = answer is not None and len(answer.body) > _LARGE
        del answer  # Waiting writers must not keep old answers alive; the newest is taken in its turn.
        if is_large:
            async with self._serving.turns.turn():
                await self._send_now(type_url)
        else:
            await self._send_now(type_url)

    async def _send_now(self, type_url: str) -> None:
        answer = self._serving.cache.current(type_url)
        if answer is None or self._is_stopping:
            return
        body, nonce = answer.body, self._subscription.nonce(type_url, answer.nonce)
        if nonce != answer.nonce:
            body = codec.with_nonce(body, answer.nonce, nonce)
        limit = self._serving.write_timeout + len(body) / self._serving.slowest_rate
        started = self._serving.clock()
        self._note_pending(type_url, answer.generation)
        self._subscription.on_sent(type_url, answer.version, nonce, started)
        try:
            async with asyncio.timeout(limit):
                await self._write(body)
        except TimeoutError:
            raise StreamEnd(grpc.StatusCode.DEADLINE_EXCEEDED, "the client does not read") from None
        now = self._serving.clock()
        self._subscription.on_written(type_url, now)
        self._serving.metrics.push(_label(type_url), len(body), now - started)

    def _note_pending(self, type_url: str, generation: int) -> None:
        """Remember which registry events the response brings; of several for a source the oldest."""
        if type_url in self._generations:
            pending = self._pending.setdefault(type_url, {})
            oldest = self._serving.cache.oldest_since(type_url, self._generations[type_url])
            for source, at in oldest.items():
                pending[source] = min(at, pending.get(source, at))
        self._generations[type_url] = generation

    async def _read(self, requests: AsyncIterator[bytes]) -> None:
        async for raw in requests:
            try:
                message = DiscoveryRequest.FromString(raw)
            except DecodeError:
                raise StreamEnd(grpc.StatusCode.INVALID_ARGUMENT, "not a DiscoveryRequest") from None
            self._meet(message)
            self._on_request(message)
            self._wake.set()

    def _meet(self, message: DiscoveryRequest) -> None:
        """Take the node from the first request that has one; later ones may leave it out."""
        if self._id or not message.HasField("node"):
            return
        self._id = message.node.id[:_MAX_TEXT]
        fields = message.node.metadata.fields
        if "ISTIO_REVISION" in fields:
            self._revision = fields["ISTIO_REVISION"].string_value[:_MAX_TEXT]
        _log.info("client connected", client=self._id, address=self._address, revision=self._revision)

    def _on_request(self, message: DiscoveryRequest) -> None:
        url, now = message.type_url, self._serving.clock()
        error = message.error_detail.message or "no reason" if message.HasField("error_detail") else ""
        names = frozenset(message.resource_names)
        outcome = self._subscription.on_request(Request(url, message.response_nonce, error, names), now)
        match outcome.meaning:
            case Meaning.FIRST:
                if len(self._subscription.type_urls) > _MAX_TYPES or len(url) > _MAX_TEXT:
                    raise StreamEnd(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many types, or too long names")
            case Meaning.ACK:
                pending = self._pending.pop(url, {})
                convergence = {source: now - at for source, at in pending.items()}
                self._serving.metrics.acked(_label(url), outcome.seconds, convergence)
            case Meaning.NACK:
                self._pending.pop(url, None)
                self._serving.metrics.nack(_label(url))
                _log.warning(
                    "client refused a response",
                    client=self._id,
                    type=url,
                    version=outcome.version,
                    error=error[:_MAX_TEXT],
                )


def _label(type_url: str) -> str:
    return codec.kind_of(type_url) or "other"
