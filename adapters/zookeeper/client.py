"""kazoo's client, extended by what it lacks: recursive watches, bulk reads, news for an event loop.

kazoo is synchronous, and its connection lives in a thread that it starts. Here requests are put into its
queue and their answers come back as futures, so that no other thread is needed. The names with a leading
underscore are kazoo's own and may change with its next release: nothing outside this file touches them.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from kazoo.client import KazooClient
from kazoo.protocol.connection import ConnectionHandler
from kazoo.protocol.states import KazooState, KeeperState
from kazoo.retry import KazooRetry

from meshbridge.adapters.zookeeper import wire
from meshbridge.adapters.zookeeper.inbox import Inbox
from meshbridge.adapters.zookeeper.session import Change, Link

_MAX_PAUSE = 3.0
"""Seconds between two tries to connect, at most."""
_GRACE = 1.0
"""Seconds a server has to confirm the end of a session; what it knows of us ends by itself if it does not."""
_CHANGES = {change.value: change for change in Change}

_quiet = logging.getLogger("meshbridge.kazoo")
# kazoo logs every try to connect, and below that whole requests, credentials included.
_quiet.setLevel(logging.CRITICAL)


class Request(Protocol):
    """What kazoo can send."""

    type: int

    def serialize(self) -> bytes:
        """Return the request's bytes."""

    def deserialize(self, buffer: bytes, offset: int) -> object:
        """Return what the answer says."""


class Client(KazooClient):  # type: ignore[misc]  # kazoo has no types
    """One session. Everything it is told of goes to the inbox; `request` may be called on the loop only."""

    def __init__(
        self, inbox: Inbox, server_name: str, sasl: Mapping[str, str] | None, **options: Any
    ) -> None:
        retry = KazooRetry(max_tries=-1, delay=0.1, max_delay=_MAX_PAUSE)
        super().__init__(logger=_quiet, connection_retry=retry, **options)
        self.inbox = inbox
        self.server_name = server_name
        self.trouble = ""
        sasl_options = dict(sasl) if sasl else None
        self._connection = _Connection(
            self, self._conn_retry.copy(), logger=self.logger, sasl_options=sasl_options
        )
        self.add_listener(self._tell)

    def request(self, request: Request) -> asyncio.Future[Any]:
        """Queue a request and return its answer to come; kazoo's errors are raised by it."""
        reply = _Reply(asyncio.get_running_loop())
        self._call(request, reply)
        return reply.future

    def absolute(self, path: str) -> str:
        """Return the path as the server knows it."""
        return (self.chroot + path).rstrip("/") or "/"

    def told(self, kind: int, path: str) -> None:
        """Pass on an event; kinds that are about watches, not about nodes, don't matter."""
        change = _CHANGES.get(kind)
        if change is not None and path.startswith(self.chroot):
            self.inbox.put(path[len(self.chroot) :] or "/", change)

    def _tell(self, state: str) -> None:
        if state == KazooState.CONNECTED:
            self.trouble = ""
            is_read_only = self.client_state == KeeperState.CONNECTED_RO
            self.inbox.tell(Link.READ_ONLY if is_read_only else Link.CONNECTED)
        else:
            is_refused = self.client_state == KeeperState.AUTH_FAILED
            self.inbox.tell(Link.DENIED if is_refused else Link.SUSPENDED)

    def begin(self) -> None:
        """Start connecting."""
        self.start_async()

    def end(self) -> None:
        """End the session. It returns at once; a thread waits for a server that does not answer."""
        self.remove_listener(self._tell)
        threading.Thread(target=self._reap, name="zookeeper reaper", daemon=True).start()

    def _reap(self) -> None:
        watchdog = threading.Timer(_GRACE, self._connection.cut)
        watchdog.daemon = True
        watchdog.start()
        try:
            with contextlib.suppress(Exception):  # kazoo raises where the server does not let it end.
                self.stop()
                self.close()
        finally:
            watchdog.cancel()


class _Connection(ConnectionHandler):  # type: ignore[misc]  # kazoo has no types
    """Passes on watch events as they are read, and remembers why connecting failed."""

    client: Client

    def cut(self) -> None:
        """Break the connection, so that the thread which waits for its server goes on."""
        socket = self._socket
        with contextlib.suppress(OSError, AttributeError):
            socket.shutdown(2)

    def _read_watch_event(self, buffer: bytes, offset: int) -> None:
        self.client.told(*wire.read_event(buffer, offset))

    def _expand_client_hosts(self) -> list[tuple[str, str, int]]:
        found = super()._expand_client_hosts()
        if not found:
            self.client.trouble = "no host name could be resolved"
        name = self.client.server_name
        return [(name or host, address, port) for host, address, port in found]

    def _connect(self, host: str, hostip: str, port: int) -> Any:
        try:
            return super()._connect(host, hostip, port)
        except Exception as error:
            self.client.trouble = f"{hostip}:{port}: {str(error) or type(error).__name__}"
            raise


class _Reply:
    """What kazoo's thread reports an answer to."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()

    def set(self, value: object = None) -> None:
        """Take the answer."""
        self._resolve(lambda: self.future.set_result(value))

    def set_exception(self, error: BaseException) -> None:
        """Take that there is none."""
        self._resolve(lambda: self.future.set_exception(error))

    def _resolve(self, how: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits any more.
            self._loop.call_soon_threadsafe(lambda: None if self.future.done() else how())
