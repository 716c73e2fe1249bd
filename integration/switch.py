"""One address for several servers, as a Kubernetes Service is: connections go to one of them."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

from integration.processes import free_ports


class Switch:
    """Forwards connections for as long as `async with` lasts."""

    def __init__(self) -> None:
        (self._port,) = free_ports(1)
        self.address = f"127.0.0.1:{self._port}"
        self._target = ""
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", self._port)
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.turn_to("")
        await self._server.wait_closed()

    def turn_to(self, target: str) -> None:
        """Cut all connections, and forward those to come to this address; "" refuses them."""
        self._target = target
        for writer in self._open:
            writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self._target.rpartition(":")
        with suppress(OSError):
            theirs, ours = await asyncio.open_connection(host, int(port or 0))
            both = {writer, ours}
            self._open |= both
            await asyncio.gather(_pass(reader, ours), _pass(theirs, writer))
            self._open -= both
        writer.close()


async def _pass(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(1 << 16):
            target.write(data)
            await target.drain()
    target.close()
