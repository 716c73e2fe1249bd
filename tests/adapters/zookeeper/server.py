"""A ZooKeeper server of one process and no disk: enough of the protocol for readers, and every fault."""

import asyncio
import struct
from collections.abc import Callable
from dataclasses import dataclass

CREATED, DELETED, CHANGED, CHILDREN = 1, 2, 3, 4
SYNC, GET_DATA, GET_CHILDREN, PING, MULTI_READ, AUTH, ADD_WATCH, CLOSE = 9, 4, 8, 11, 22, 100, 106, -11
NO_NODE, NO_AUTH, AUTH_FAILED, UNIMPLEMENTED = -101, -102, -115, -6
SESSION_TIMEOUT_MS = 4000

_INT = struct.Struct("!i")
_MULTI = struct.Struct("!i?i")


@dataclass
class Znode:
    data: bytes = b""
    ephemeral: bool = False


class Connection(asyncio.Protocol):
    """Answers at once, without a task of its own: what is left behind is the client's."""

    transport: asyncio.Transport

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.trees: set[str] = set()
        self.data: set[str] = set()
        self.children: set[str] = set()
        self.credentials = b""
        self.is_greeted = False
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.server.connections.add(self)

    def connection_lost(self, _error: Exception | None) -> None:
        self.server.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self.work()

    def work(self) -> None:
        """Answer what has arrived, unless the server is frozen."""
        while not self.server.is_frozen and len(self._buffer) >= 4:
            end = 4 + _INT.unpack_from(self._buffer)[0]
            if len(self._buffer) < end:
                return
            frame, self._buffer = self._buffer[4:end], self._buffer[end:]
            self.server.answer(self, frame)

    def send(self, *parts: bytes) -> None:
        body = b"".join(parts)
        self.transport.write(_INT.pack(len(body)) + body)

    def event(self, kind: int, path: str) -> None:
        self.send(struct.pack("!iqi", -1, -1, 0), struct.pack("!ii", kind, 3), text(path))


class Server:
    """Change its nodes and flags at will. Changes are told to whom they matter, at once."""

    def __init__(self) -> None:
        self.nodes: dict[str, Znode] = {"/": Znode()}
        self.denied: set[str] = set()
        self.secret = b""
        """`user:password` that opens the denied nodes."""
        self.knows_watches = True
        """Whether recursive watches and bulk reads are known, as from 3.6 on."""
        self.hangs_up_on_the_unknown = False
        self.refuses_credentials = False
        self.is_read_only = False
        self.reverses = False
        self.before: Callable[[int, str], None] = lambda _operation, _path: None
        """Called before each operation is answered."""
        self.asked: list[tuple[int, int]] = []
        """Operation and size of each request."""
        self.port = 0
        self.is_frozen = False
        self.connections: set[Connection] = set()
        self._serving: asyncio.Server | None = None
        self._sessions: set[int] = set()
        self._count = 0

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._serving = await loop.create_server(lambda: Connection(self), "127.0.0.1", self.port)
        self.port = self._serving.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._serving is not None:
            self._serving.close()
            self.drop()
            await asyncio.sleep(0)  # Transports end in the loop's next round.
            await self._serving.wait_closed()
            self._serving = None

    def drop(self) -> None:
        """Break all connections; their sessions go on."""
        for connection in self.connections:
            connection.transport.abort()

    def expire(self) -> None:
        """End all sessions."""
        self._sessions.clear()
        self.drop()

    def freeze(self) -> None:
        self.is_frozen = True

    def thaw(self) -> None:
        self.is_frozen = False
        for connection in list(self.connections):
            connection.work()

    def create(self, path: str, data: bytes = b"", *, ephemeral: bool = True) -> None:
        """Make a node, and persistent ones above it where they are missing."""
        above = path.rpartition("/")[0] or "/"
        if above not in self.nodes:
            self.create(above, ephemeral=False)
        self.nodes[path] = Znode(data, ephemeral)
        self._tell(CREATED, path)
        self._tell_above(path)

    def set(self, path: str, data: bytes) -> None:
        self.nodes[path].data = data
        self._tell(CHANGED, path)

    def delete(self, path: str) -> None:
        """Remove a node and what is below it, the lowest first."""
        for gone in sorted((node for node in self.nodes if _is_below(node, path)), reverse=True):
            del self.nodes[gone]
            self._tell(DELETED, gone)
            self._tell_above(gone)

    def _tell(self, kind: int, path: str) -> None:
        for connection in self.connections:
            fired = path in connection.data or (kind == DELETED and path in connection.children)
            if fired or any(_is_below(path, tree) for tree in connection.trees):
                connection.data.discard(path)
                connection.event(kind, path)

    def _tell_above(self, path: str) -> None:
        above = path.rpartition("/")[0] or "/"
        for connection in self.connections:
            if above in connection.children:
                connection.children.discard(above)
                connection.event(CHILDREN, above)

    def answer(self, connection: Connection, frame: bytes) -> None:
        if not connection.is_greeted:
            connection.is_greeted = True
            self._greet(connection, frame)
            return
        xid, operation = struct.unpack_from("!ii", frame)
        self.asked.append((operation, len(frame)))
        if not self.knows_watches and operation in (ADD_WATCH, MULTI_READ):
            if not self.hangs_up_on_the_unknown:
                connection.send(struct.pack("!iqi", xid, 1, UNIMPLEMENTED))
            connection.transport.close()
            return
        code, body = self._answer(connection, operation, frame, 8)
        connection.send(struct.pack("!iqi", xid, 1, code), body)
        if operation == CLOSE:
            connection.transport.close()

    def _greet(self, connection: Connection, frame: bytes) -> None:
        _, _, _, session = struct.unpack_from("!iqiq", frame)
        if self.is_read_only and not frame[-1]:
            connection.transport.close()
            return
        is_known = not session or session in self._sessions
        if not session:
            self._count += 1
            session = self._count
            self._sessions.add(session)
        timeout = SESSION_TIMEOUT_MS if is_known else 0
        passwd = _INT.pack(16) + bytes(16)
        read_only = struct.pack("?", self.is_read_only)
        connection.send(struct.pack("!iiq", 0, timeout, session), passwd, read_only)
        if not is_known:
            connection.transport.close()

    def _answer(self, connection: Connection, operation: int, frame: bytes, offset: int) -> tuple[int, bytes]:
        if operation in (PING, CLOSE):
            return 0, b""
        if operation == AUTH:
            _, offset = read_text(frame, offset + 4)
            connection.credentials = read_text(frame, offset)[0].encode()
            return AUTH_FAILED if self.refuses_credentials else 0, b""
        if operation == MULTI_READ:
            return 0, self._multi(connection, frame, offset)
        path, offset = read_text(frame, offset)
        self.before(operation, path)
        if operation == ADD_WATCH:
            connection.trees.add(path)
            return 0, _INT.pack(0)
        if operation == SYNC:
            return 0, text(path)
        code, body = self._read(connection, operation, path)
        if frame[offset] and not code:
            (connection.data if operation == GET_DATA else connection.children).add(path)
        return code, body

    def _multi(self, connection: Connection, frame: bytes, offset: int) -> bytes:
        answers = []
        while True:
            operation, done, _ = _MULTI.unpack_from(frame, offset)
            if done:
                return b"".join([*answers, _MULTI.pack(-1, True, -1)])
            path, offset = read_text(frame, offset + _MULTI.size)
            offset += 1
            self.before(operation, path)
            code, body = self._read(connection, operation, path)
            answers.append(
                _MULTI.pack(-1 if code else operation, False, code) + (_INT.pack(code) if code else body)
            )

    def _read(self, connection: Connection, operation: int, path: str) -> tuple[int, bytes]:
        if path not in self.nodes:
            return NO_NODE, b""
        if path in self.denied and not (self.secret and connection.credentials == self.secret):
            return NO_AUTH, b""
        node = self.nodes[path]
        names = [] if node.ephemeral else self._names(path)
        if operation == GET_CHILDREN:
            return 0, _INT.pack(len(names)) + b"".join(map(text, names))
        stat = struct.pack(
            "!qqqqiiiqiiq", 1, 1, 0, 0, 0, 0, 0, int(node.ephemeral), len(node.data), len(names), 1
        )
        return 0, _INT.pack(len(node.data)) + node.data + stat

    def _names(self, path: str) -> list[str]:
        prefix = path.rstrip("/") + "/"
        names = [node[len(prefix) :] for node in self.nodes if node.startswith(prefix) and node != "/"]
        direct = [name for name in names if "/" not in name]
        return direct[::-1] if self.reverses else direct


def text(value: str) -> bytes:
    encoded = value.encode()
    return _INT.pack(len(encoded)) + encoded


def read_text(buffer: bytes, offset: int) -> tuple[str, int]:
    (length,) = _INT.unpack_from(buffer, offset)
    offset += _INT.size
    return buffer[offset : offset + max(length, 0)].decode(), offset + max(length, 0)


def _is_below(path: str, tree: str) -> bool:
    return path == tree or path.startswith(tree.rstrip("/") + "/")
