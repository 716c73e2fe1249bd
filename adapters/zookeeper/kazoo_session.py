"""A `Session` on a real ensemble: requests of bounded size, and the ways of servers older than 3.6."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import structlog
from kazoo.exceptions import KazooException, NoAuthError, NoNodeError, UnimplementedError
from kazoo.protocol.serialization import Sync

from meshbridge.adapters.zookeeper import wire
from meshbridge.adapters.zookeeper.client import Client
from meshbridge.adapters.zookeeper.endpoint import Endpoint
from meshbridge.adapters.zookeeper.inbox import Inbox
from meshbridge.adapters.zookeeper.session import Content, Interrupted, Link, News, Refusal
from meshbridge.schemas.errors import RegistryDenied, RegistryUnavailable

_log = structlog.get_logger(__name__)

_T = TypeVar("_T")

_FIRST_BATCH = 64
"""Operations of the first request; later ones follow the size of the answers."""
_MAX_ANSWER = 4 * 1024 * 1024
"""Bytes wanted in one answer, roughly: the sizes of nodes are not known before they are read."""
_IN_FLIGHT = 2
"""Bulk requests under way at once: the server reads the next while we take the last."""
_SINGLES_IN_FLIGHT = 200
_DROPS = 3
"""Connections that must end at the first bulk read before the server counts as old."""


class KazooSession:
    """May be opened again after it was closed; what was learnt of the server stays."""

    def __init__(self, source: str, endpoint: Callable[[], Endpoint], clock: Callable[[], float]) -> None:
        """Make it; `endpoint` is asked each time it is opened, since credentials may change."""
        self._source = source
        self._describe = endpoint
        self._endpoint: Endpoint
        self._clock = clock
        self._inbox: Inbox
        self._client: Client | None = None
        self._batch = _FIRST_BATCH
        self.is_recursive = True

    async def open(self) -> None:
        """Connect.

        Raises:
            RegistryUnavailable: no server answers.
            RegistryDenied: the credentials are refused.
        """
        self._inbox = Inbox(self._clock)
        try:
            endpoint = self._endpoint = await asyncio.to_thread(self._describe)
        except OSError as error:
            raise RegistryUnavailable(self._source, "read credentials", str(error)) from error
        self._client = Client(self._inbox, endpoint.server_name, endpoint.sasl, **endpoint.options)
        self._client.begin()
        try:
            async with asyncio.timeout(endpoint.connect_timeout):
                await self._connected_again(0)
                await self._learn()
        except TimeoutError:
            reason = self.trouble or "no server answers"
            raise RegistryUnavailable(self._source, "connect", reason) from None
        self._inbox.tell_again()

    async def _connected_again(self, generation: int) -> None:
        """Return once there is a connection later than that one."""
        while self.generation <= generation or self.link is Link.SUSPENDED:
            await self._inbox.take()
            if self.link is Link.DENIED:
                raise RegistryDenied(self._source, "connect", "the credentials are refused")

    async def _learn(self) -> None:
        """Find out whether the server is older than 3.6: it refuses what it does not know, and hangs up."""
        generation = self.generation
        for _ in range(_DROPS if self.is_recursive else 0):
            generation = self.generation
            try:
                await self._answer(self._connected().request(wire.MultiRead(wire.GET_DATA, ["/"])))
            except UnimplementedError:
                break
            except Interrupted:
                await self._connected_again(generation)
            else:
                return
        if self.is_recursive:
            self._fall_back()
            await self._connected_again(generation)

    def close(self) -> None:
        """End the connection without waiting for it."""
        if self._client is not None:
            self._client.end()
            self._client = None

    @property
    def link(self) -> Link:
        """How the connection is now."""
        return self._inbox.link

    @property
    def generation(self) -> int:
        """The number of the present connection."""
        return self._inbox.generation

    @property
    def trouble(self) -> str:
        """Why the connection is down, "" while it is not known."""
        return self._client.trouble if self._client else ""

    async def news(self) -> News:
        """Return what happened since the last call; wait until something has."""
        return await self._inbox.take()

    async def watch(self, path: str) -> None:
        """Set a recursive watch, where the server knows them.

        Raises:
            Interrupted: the connection broke.
        """
        if not self.is_recursive:
            return
        client = self._connected()
        try:
            await self._answer(client.request(wire.AddWatch(client.absolute(path))))
        except UnimplementedError as error:
            self._fall_back()
            raise Interrupted("the server is older than the last one") from error

    async def sync(self, path: str) -> None:
        """Return when the server knows all that its quorum knew at the call.

        Raises:
            Interrupted: the connection broke, or the server has no quorum.
        """
        client = self._connected()
        await self._answer(client.request(Sync(client.absolute(path))))

    async def contents(self, paths: Sequence[str]) -> list[Content | Refusal]:
        """Read the nodes, in order.

        Raises:
            Interrupted: the connection broke.
        """
        return cast("list[Content | Refusal]", await self._read(wire.GET_DATA, paths))

    async def children(self, paths: Sequence[str]) -> list[tuple[str, ...] | Refusal]:
        """List the nodes' children, in order.

        Raises:
            Interrupted: the connection broke.
        """
        return cast("list[tuple[str, ...] | Refusal]", await self._read(wire.GET_CHILDREN, paths))

    async def _read(self, operation: int, paths: Sequence[str]) -> list[wire.Answer]:
        client = self._connected()
        left = [client.absolute(path) for path in paths] if client.chroot else paths
        if not self.is_recursive:
            return await self._read_singly(client, operation, left)
        found: list[wire.Answer] = []
        pending: deque[asyncio.Future[list[wire.Answer]]] = deque()
        try:
            while left or pending:
                while left and len(pending) < _IN_FLIGHT:
                    batch = next(wire.batches(left, self._batch))
                    pending.append(client.request(wire.MultiRead(operation, batch)))
                    left = left[len(batch) :]
                answers = await self._answer(pending.popleft())
                found += answers
                self._batch = _next_batch(answers)
        finally:
            for future in pending:  # None, unless one of them failed.
                _abandon(future)
        return found

    async def _read_singly(self, client: Client, operation: int, paths: Sequence[str]) -> list[wire.Answer]:
        found: list[wire.Answer] = []
        for start in range(0, len(paths), _SINGLES_IN_FLIGHT):
            part = paths[start : start + _SINGLES_IN_FLIGHT]
            futures = [client.request(wire.ReadOne(operation, path)) for path in part]
            found += await self._answers([asyncio.ensure_future(_or_refusal(future)) for future in futures])
        return found

    async def _answers(self, futures: Sequence[asyncio.Future[_T]]) -> list[_T]:
        """Return all answers, or raise what the first failure says once none is under way."""
        try:
            async with asyncio.timeout(2 * self._endpoint.session_timeout):
                done = await asyncio.gather(*futures, return_exceptions=True)
        except TimeoutError:
            raise Interrupted("the server does not answer") from None
        for outcome in done:
            if isinstance(outcome, BaseException):
                raise _translated(outcome)
        return cast("list[_T]", done)

    async def _answer(self, future: asyncio.Future[_T]) -> _T:
        return (await self._answers([future]))[0]

    def _connected(self) -> Client:
        if self._client is None or self.link not in (Link.CONNECTED, Link.READ_ONLY):
            raise Interrupted("not connected")
        return self._client

    def _fall_back(self) -> None:
        _log.warning("the server has no recursive watches; one is set on every node", source=self._source)
        self.is_recursive = False


async def _or_refusal(future: asyncio.Future[wire.Answer]) -> wire.Answer:
    """Return the answer; errors of the node itself are answers, too."""
    try:
        return await future
    except NoNodeError:
        return Refusal.MISSING
    except NoAuthError:
        return Refusal.DENIED


def _translated(error: BaseException) -> BaseException:
    """Return the error as the adapter knows it: whatever kazoo raises leaves the answer unknown."""
    if isinstance(error, KazooException | ValueError) and not isinstance(error, UnimplementedError):
        return Interrupted(f"{type(error).__name__} {error}".strip())
    return error


def _abandon(future: asyncio.Future[_T]) -> None:
    """Have nobody wait for an answer that is on its way, nor complain that nobody does."""
    if not future.cancel() and not future.cancelled():
        future.exception()


def _next_batch(answers: Sequence[wire.Answer]) -> int:
    """Return how many operations the next request may have, going by the size of the last answers."""
    size = sum(_size(answer) for answer in answers) // len(answers) + 1
    return max(1, min(wire.MAX_OPERATIONS, _MAX_ANSWER // size))


def _size(answer: wire.Answer) -> int:
    if isinstance(answer, Content):
        return len(answer.data)
    return 0 if isinstance(answer, Refusal) else sum(map(len, answer))
