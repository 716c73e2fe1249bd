"""Who is connected to the MCP server, and what each has acknowledged."""

from collections.abc import Sequence

import msgspec


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


class ClientStatus(msgspec.Struct, frozen=True, rename="camel"):
    """One connected client, an istiod as a rule."""

    id: str
    """Node id."""
    address: str
    revision: str
    connected: float
    """Unix seconds."""
    types: Sequence[TypeStatus]
