"""Which services get a blocking query, each of which takes a connection. Pure; times are given."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

TRIGGERS = 4
READERS = 8
_RESERVED = TRIGGERS + READERS
"""Connections for the triggers and for reads that don't wait."""
_LEAST = 1
_BETWEEN_CUTS = 10.0
"""Seconds: many refusals at once are one sign, not many."""
_QUIET = 300.0
"""Seconds without a refusal after which the budget grows again."""


@dataclass
class Budget:
    """Connections to one agent: halved when it refuses, doubled up to the configured in quiet times."""

    configured: int
    current: int = 0
    changed: float = float("-inf")
    """When it was last cut or raised."""

    def __post_init__(self) -> None:
        self.current = self.configured

    @property
    def slots(self) -> int:
        """How many services can be waited for."""
        return max(self.current - _RESERVED, _LEAST)

    def refuse(self, now: float) -> bool:
        """Note that the agent refused a connection or a request; return whether the budget became smaller."""
        if now - self.changed < _BETWEEN_CUTS:
            return False
        before, self.changed = self.current, now
        self.current = max(self.current // 2, _RESERVED + _LEAST)
        return self.current < before

    def recover(self, now: float) -> bool:
        """Return whether the budget became larger, after a quiet time."""
        if self.current == self.configured or now - self.changed < _QUIET:
            return False
        self.current, self.changed = min(self.current * 2, self.configured), now
        return True


def choose(services: Collection[str], changed: Mapping[str, float], slots: int) -> set[str]:
    """Return the services to wait for: all where there is room, else those that changed last."""
    if len(services) <= slots:
        return set(services)
    ordered = sorted(services, key=lambda name: (-changed.get(name, 0.0), name))
    return set(ordered[:slots])
