"""A TCP proxy that spoils connections: slow, truncated, silent, reset. For any protocol and any test.

async with Proxy(8500) as proxy:
    ...                                   # talk to 127.0.0.1:proxy.port
    proxy.fault = Fault(cut_after=300)    # from now on, also for connections that are open
    proxy.fault = NO_FAULT
"""

import asyncio
import socket
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_PIECE = 64 * 1024
_DRIP = 0.1
"""Seconds between two pieces of a slow connection."""
_LINGER_RESETS = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Fault:
    """What happens to what the server says; `is_silent` goes for the client's words, too."""

    latency: float = 0.0
    """Seconds by which each piece is late."""
    bytes_per_second: int = 0
    """The rate of one connection; 0: unlimited."""
    cut_after: int | None = None
    """Bytes after which a connection is closed as if the server had ended it."""
    is_silent: bool = False
    """Nothing arrives any more, and nobody says so: as when a cable is pulled or a host is gone."""


NO_FAULT = Fault()


class Proxy:
    """Passes on to a port of 127.0.0.1, for as long as `async with` lasts."""

    def __init__(self, target: int) -> None:
        self.fault = NO_FAULT
        self.port = 0
        self._target = target
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._connections):
            task.cancel()
        if self._connections:
            await asyncio.wait(list(self._connections))

    def reset(self) -> None:
        """Break every connection with a TCP reset."""
        for writer in self._connections.values():
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESETS)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        server = None
        try:
            upstream, server = await asyncio.open_connection("127.0.0.1", self._target)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pass_words(reader, server))
                tasks.create_task(self._pass_answers(upstream, writer))
        except (OSError, asyncio.CancelledError, BaseExceptionGroup):
            pass  # Either side is gone, or the proxy ends; the client sees a closed connection.
        finally:
            del self._connections[task]
            for side in (writer, server):
                if side is not None:
                    side.close()

    async def _pass_words(self, reader: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        while piece := await reader.read(_PIECE):
            if not self.fault.is_silent:
                server.write(piece)
                await server.drain()
        raise ConnectionResetError  # Ends the other direction, too.

    async def _pass_answers(self, upstream: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        passed, known = 0, self.fault
        while piece := await upstream.read(_PIECE):
            if self.fault is not known:
                passed, known = 0, self.fault
            await asyncio.sleep(known.latency)
            if known.cut_after is not None and passed + len(piece) > known.cut_after:
                client.write(piece[: known.cut_after - passed])
                await client.drain()
                break
            passed += len(piece)
            if not known.is_silent:
                await self._write(client, piece)
        raise ConnectionResetError

    async def _write(self, client: asyncio.StreamWriter, piece: bytes) -> None:
        """Write at the rate that is allowed, which may change meanwhile."""
        while piece:
            rate = self.fault.bytes_per_second
            size = max(int(rate * _DRIP), 1) if rate else len(piece)
            client.write(piece[:size])
            await client.drain()
            piece = piece[size:]
            if rate and piece:
                await asyncio.sleep(_DRIP)
