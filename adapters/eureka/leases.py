"""What the leases in a full answer tell of the server. Pure.

A server whose heartbeats drop below 85 % of what it expects stops evicting ("self-preservation"), and does
not say so in its API: dead instances then stay UP. What can be seen is that leases are long over.
"""

from collections.abc import Iterable

import msgspec

from meshbridge.adapters.eureka.instances import Entry

GRACE = 150_000
"""Milliseconds from the end of a lease until its instance is no longer listed, if the server evicts: a round
of evictions each 60 s, a cache of 30 s, and some for clocks and for evictions in portions."""


class Leases(msgspec.Struct, frozen=True, gc=False):
    """Leases of the instances that are UP."""

    total: int = 0
    overdue: int = 0
    """Those that a server that evicts would have ended."""

    @property
    def is_self_preservation(self) -> bool:
        """Whether the server has stopped to evict, as far as one can see."""
        return self.overdue > 0

    @property
    def text(self) -> str:
        """One line for people."""
        if not self.is_self_preservation:
            return "not noticed"
        return f"suspected: {self.overdue} of {self.total} leases are over, and their instances still UP"


def count_leases(leases: Leases, entries: Iterable[Entry], now: int) -> Leases:
    """Return the count with more entries in it; `now` is the server's clock in milliseconds, 0 if unknown."""
    limit = now - GRACE
    ends = [entry.expires for entry in entries if entry.expires and entry.status == "UP"]
    overdue = sum(end < limit for end in ends) if ends and min(ends) < limit else 0
    return Leases(leases.total + len(ends), leases.overdue + overdue)
