"""Who is connected to the MCP server, and what each has acknowledged."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import msgspec

from meshbridge.mcp.metrics import McpMetrics

_MAX_TEXT = 256


def told(text: str) -> str:
    """Return what a client says of itself on one line, fit for a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * _MAX_TEXT]).split())[:_MAX_TEXT]


class TypeStatus(msgspec.Struct, frozen=True, rename="camel"):
    """One subscribed type of one client."""

    type_url: str
    version: str
    """Version of the newest response sent; "" before the first."""
    acked: str
    """Version of the newest response acknowledged; "" before the first."""
    latency_seconds: float | None
    """Time from sending to acknowledging the newest acknowledged response."""
    nacks: int
    nack_text: str = ""
    """Why the client refused the newest response that it refused."""


class ClientStatus(msgspec.Struct, frozen=True, rename="camel"):
    """One connected client, an istiod as a rule."""

    id: str
    """Node id."""
    address: str
    revision: str
    connected: float
    """Unix seconds."""
    types: Sequence[TypeStatus]
    protocol: str = "sotw"
    """`sotw`, `delta` or `legacy`."""
    identity: str = ""
    """Who it is by its certificate; "" without one."""


class Client(Protocol):
    """A stream, as seen by those who ask who is connected."""

    def status(self) -> ClientStatus:
        """Return what there is to say about it now."""


class Clients:
    """The connected clients, in the order in which they came."""

    def __init__(self, metrics: McpMetrics) -> None:
        self._metrics = metrics
        self._clients: dict[Client, None] = {}

    def __len__(self) -> int:
        return len(self._clients)

    def statuses(self) -> list[ClientStatus]:
        """Return the state of every connected client."""
        return [client.status() for client in self._clients]

    @contextmanager
    def joined(self, client: Client) -> Iterator[None]:
        """Count the client as connected for as long as the context lasts."""
        self._clients[client] = None
        self._metrics.connected(len(self._clients))
        try:
            yield
        finally:
            del self._clients[client]
            self._metrics.connected(len(self._clients))
