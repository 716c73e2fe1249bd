"""The guard's settings, and what it says about a trip."""

import dataclasses
from dataclasses import dataclass
from enum import StrEnum

import msgspec


@dataclass(frozen=True)
class GuardSettings:
    """Bounds of what counts as a mass removal."""

    min_removed: int = 10
    """Fewer losses than this never trip the guard. Instances."""
    max_removed_percent: float = 20
    """At most this share of the peak may be lost. Percent of instances."""
    window: float = 60.0
    """How long ago the peak may be. Seconds."""
    hold: float = 600.0
    """After this time held instances are freed. Seconds."""

    def are_exceeded(self, peak: int, served: int, *, at_least: int | None = None) -> bool:
        """Whether falling from the peak to this count is too much; `at_least` stands for `min_removed`."""
        lost = peak - served
        least = self.min_removed if at_least is None else at_least
        return lost >= least and lost * 100 > peak * self.max_removed_percent

    @property
    def tightened(self) -> "GuardSettings":
        """The bounds for a registry whose own word is in doubt: half as much is too much."""
        return dataclasses.replace(
            self, min_removed=(self.min_removed + 1) // 2, max_removed_percent=self.max_removed_percent / 2
        )


class Cause(StrEnum):
    """Why the guard holds."""

    SOURCE = "source"
    """The source lost too many at once."""
    EMPTIED = "emptied"
    """A full read of the source found nothing at all."""
    OVERALL = "overall"
    """All sources together lost too many at once."""


class Trip(msgspec.Struct, frozen=True, gc=False):
    """That the guard is holding, since when, and how many instances were served before.

    Those that the registry has taken out on purpose meanwhile no longer count.
    """

    since: float
    """Monotonic seconds."""
    peak: int
    cause: Cause = Cause.SOURCE


class Held(msgspec.Struct, frozen=True, gc=False):
    """What a guard holds, as it is kept for the next start and for other replicas."""

    trip: Trip
    since: dict[str, dict[str, float]]
    """Monotonic seconds since which an instance is held, by service name and id."""

    def moved(self, by: float) -> "Held":
        """Return the same on a clock that is so many seconds ahead."""
        trip = msgspec.structs.replace(self.trip, since=self.trip.since + by)
        since = {
            service: {found: at + by for found, at in held.items()} for service, held in self.since.items()
        }
        return Held(trip, since)
