"""One stream of a client: bytes in, bytes out. What to send, and when, is its dialect's to decide."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import grpc
import structlog
from google.protobuf.message import DecodeError

from meshbridge.mcp import codec
from meshbridge.mcp.access import AllowRule
from meshbridge.mcp.cache import SnapshotReader
from meshbridge.mcp.clients import ClientStatus, told
from meshbridge.mcp.delta import TooFarBehind
from meshbridge.mcp.dialects import Dialect, Heard
from meshbridge.mcp.flow import Meaning, Pacing
from meshbridge.mcp.limits import Limits, TokenBucket, TooMuch
from meshbridge.mcp.metrics import McpMetrics, NoMetrics
from meshbridge.mcp.turns import Turns
from meshbridge.mcp.view import Answer

_LARGE = 64 * 1024
"""Bytes from which a response waits for its turn."""
_OLD_PILOTS_TAKE = 4 << 20
"""Bytes of a message that a Pilot of the legacy protocol accepts by default."""

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
    allow: tuple[AllowRule, ...] = ()
    """Who may see what; none given: all may see all."""
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Peer:
    """The other end."""

    address: str
    identity: str
    """Who it is by its certificate, "" without one."""
    write: Callable[[bytes], Awaitable[None]]
    """Takes a response, and returns when the client has room for it."""


class Stream:
    """One client."""

    def __init__(self, serving: Serving, dialect: Dialect, peer: Peer) -> None:
        self._serving = serving
        self._dialect = dialect
        self._peer = peer
        self._wake = asyncio.Event()
        self._is_stopping = False
        self._connected = time.time()
        self._id = ""
        self._revision = ""
        self._generations: dict[str, int] = {}
        self._pending: dict[str, dict[str, float]] = {}
        self._oversized: set[str] = set()

    async def run(self, requests: AsyncIterator[bytes]) -> None:
        """Serve until the client ends its side.

        Raises:
            StreamEnd: the stream has to end for another reason.
        """
        reader = asyncio.create_task(self._read(requests), name=f"mcp-read-{self._peer.address}")
        reader.add_done_callback(lambda _: self._wake.set())
        try:
            with self._serving.cache.wakes(self._wake):
                while not (reader.done() or self._is_stopping):
                    await self._step()
        except TooFarBehind:
            raise StreamEnd(grpc.StatusCode.UNAVAILABLE, "too far behind: come again") from None
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            _log.info("client disconnected", client=self._id, address=self._peer.address)
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
        return ClientStatus(
            id=self._id,
            address=self._peer.address,
            revision=self._revision,
            connected=self._connected,
            types=self._dialect.state.statuses(),
            protocol=self._dialect.form.name,
            identity=self._peer.identity,
        )

    async def _step(self) -> None:
        """Send what is due or, when nothing is, wait until something may be."""
        self._wake.clear()  # Before looking, so that what happens while we send isn't missed.
        now = self._serving.clock()
        due = self._dialect.due(now)
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
        answer = self._dialect.answer(type_url)
        if answer is None or len(answer.body) <= _LARGE:
            await self._write(type_url, answer)
            return
        del answer  # Waiting writers must not keep old answers alive; the newest is taken in its turn.
        async with self._serving.turns.turn():
            await self._write(type_url, self._dialect.answer(type_url))

    async def _write(self, type_url: str, answer: Answer | None) -> None:
        if answer is None or self._is_stopping:
            return
        state, clock = self._dialect.state, self._serving.clock
        body, nonce = answer.body, state.nonce(type_url, answer.nonce)
        if nonce != answer.nonce:
            body = codec.with_nonce(body, answer.nonce, nonce)
        limit = self._serving.write_timeout + len(body) / self._serving.slowest_rate
        started = clock()
        self._note_pending(type_url, answer.generation)
        self._dialect.state.note(type_url, answer)
        state.on_sent(type_url, answer.version, nonce, started)
        self._warn_of_size(type_url, len(body))
        try:
            async with asyncio.timeout(limit):
                await self._peer.write(body)
        except TimeoutError:
            raise StreamEnd(grpc.StatusCode.DEADLINE_EXCEEDED, "the client does not read") from None
        now = clock()
        state.on_written(type_url, now)
        self._serving.metrics.push(self._label(type_url), len(body), now - started)

    def _note_pending(self, type_url: str, generation: int) -> None:
        """Remember which registry events the response brings; of several for a source the oldest."""
        if type_url in self._generations:
            pending = self._pending.setdefault(type_url, {})
            kind = self._dialect.form.kind_of(type_url)
            oldest = self._dialect.view.oldest_since(kind, self._generations[type_url])
            for source, at in oldest.items():
                pending[source] = min(at, pending.get(source, at))
        self._generations[type_url] = generation

    def _warn_of_size(self, type_url: str, size: int) -> None:
        if self._dialect.form is codec.LEGACY and size > _OLD_PILOTS_TAKE and type_url not in self._oversized:
            self._oversized.add(type_url)
            _log.warning(
                "response is larger than a Pilot takes by default: raise its --mcpMaxMsgSize",
                client=self._id,
                address=self._peer.address,
                type=type_url,
                size=size,
            )

    async def _read(self, requests: AsyncIterator[bytes]) -> None:
        limits = self._serving.limits
        bucket = TokenBucket(limits.requests_per_second, limits.request_burst)
        try:
            async with asyncio.timeout(limits.first_request) as waiting:
                async for raw in requests:
                    waiting.reschedule(None)
                    self._on_request(raw)
                    self._wake.set()
                    if wait := bucket.take(self._serving.clock()):
                        await asyncio.sleep(wait)
        except TimeoutError:
            raise StreamEnd(grpc.StatusCode.DEADLINE_EXCEEDED, "no request came") from None

    def _on_request(self, raw: bytes) -> None:
        now = self._serving.clock()
        try:
            heard = self._dialect.hear(raw, now)
        except DecodeError:
            raise StreamEnd(grpc.StatusCode.INVALID_ARGUMENT, "not a request of this protocol") from None
        except TooMuch as error:
            raise StreamEnd(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error)) from None
        if heard.client and not self._id:  # Later requests may leave it out.
            self._id, self._revision = told(heard.client), told(heard.revision)
            _log.info(
                "client connected", client=self._id, address=self._peer.address, revision=self._revision
            )
        self._account(heard, now)

    def _account(self, heard: Heard, now: float) -> None:
        """Tell metrics and the log what became of a response."""
        url, outcome = heard.type_url, heard.outcome
        match outcome.meaning:
            case Meaning.ACK:
                pending = self._pending.pop(url, {})
                convergence = {source: now - at for source, at in pending.items()}
                self._serving.metrics.acked(self._label(url), outcome.seconds, convergence)
            case Meaning.NACK:
                self._pending.pop(url, None)
                self._serving.metrics.nack(self._label(url))
                _log.warning(
                    "client refused a response",
                    client=self._id,
                    type=url,
                    version=outcome.version,
                    error=told(heard.error),
                )

    def _label(self, type_url: str) -> str:
        return self._dialect.form.kind_of(type_url) or "other"
