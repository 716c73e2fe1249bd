"""What the MCP server tells the outside about its work; the bridge implements it."""

from collections.abc import Mapping
from typing import Protocol


class McpMetrics(Protocol):
    """The server's counters. `kind` is ServiceEntry, WorkloadEntry, WorkloadGroup or other."""

    def push(self, kind: str, size: int, seconds: float) -> None:
        """A response of this many bytes was written, which took so long."""

    def acked(self, kind: str, seconds: float, convergence: Mapping[str, float]) -> None:
        """A response was acknowledged so long after it was sent.

        `convergence` has, per source, the seconds since the oldest registry event in it; it is
        empty for the first answers of a stream.
        """

    def nack(self, kind: str) -> None:
        """A client refused a response."""

    def connected(self, clients: int) -> None:
        """So many clients are connected now."""


class NoMetrics:
    """Counts nothing."""

    def push(self, kind: str, size: int, seconds: float) -> None:
        """Do nothing."""

    def acked(self, kind: str, seconds: float, convergence: Mapping[str, float]) -> None:
        """Do nothing."""

    def nack(self, kind: str) -> None:
        """Do nothing."""

    def connected(self, clients: int) -> None:
        """Do nothing."""
