"""How checks become a verdict, a verdict health, and too many failures a panic. No I/O."""

import msgspec

from meshbridge.schemas.registry import Health

_LOST_CHECKS = 2
"""Checks during which a lost target still counts as lost at the same time as others: checks of equal
intervals reach every target within that many."""


class Track(msgspec.Struct, frozen=True, gc=False):
    """What the checks of one target have shown."""

    verdict: bool | None = None
    """None before the first."""
    streak: int = 0
    """Equal results in a row: passes above zero, failures below."""
    lost: int = 0
    """Further checks for which a verdict that just became False counts as a recent loss."""
    proven: bool = False
    """Whether the verdict was ever True."""


def judge(track: Track, passed: bool, *, rise: int, fall: int, frozen: bool) -> Track:
    """Return the track after one more check. While frozen no verdict changes; a first pass still counts."""
    streak = max(track.streak, 0) + 1 if passed else min(track.streak, 0) - 1
    verdict = track.verdict
    if streak >= rise and (verdict is None or not frozen):
        verdict = True
    elif streak <= -fall and not frozen:
        verdict = False
    if verdict is False and track.verdict is not False:
        return Track(verdict, streak, _LOST_CHECKS, track.proven)
    return Track(verdict, streak, 0 if passed else max(track.lost - 1, 0), track.proven or verdict is True)


def restore(track: Track) -> Track:
    """Return the track with a recent loss taken back; it goes on failing."""
    return Track(True if track.proven else None, track.streak, 0, track.proven) if track.lost else track


def combine(registry: Health, verdict: bool | None) -> Health:
    """Return the worse of what the registry and the checks say; draining stays draining."""
    if verdict is None or not registry.is_served:
        return registry
    return Health.READY if verdict else Health.UNREADY


class Count(msgspec.Struct, frozen=True, gc=False):
    """Targets in numbers."""

    passing: int = 0
    """Targets whose verdict is, or until a moment ago was, True."""
    failing: int = 0
    """Those of them whose newest check failed."""
    unproven: int = 0
    """Targets that never passed and have no verdict, or only just got one."""
    unproven_failing: int = 0
    """Those of them whose newest check failed."""
    lost: int = 0
    """Targets that were lost a moment ago, of either kind."""
    unready: int = 0
    """Targets whose verdict is False."""

    def plus(self, other: "Count", sign: int = 1) -> "Count":
        """Return the sum, or with sign -1 the difference."""
        return Count(
            self.passing + sign * other.passing,
            self.failing + sign * other.failing,
            self.unproven + sign * other.unproven,
            self.unproven_failing + sign * other.unproven_failing,
            self.lost + sign * other.lost,
            self.unready + sign * other.unready,
        )

    @property
    def share(self) -> tuple[int, int]:
        """How many fail, of how many that count: the unproven ones only where nothing ever passed."""
        return (self.failing, self.passing) if self.passing else (self.unproven_failing, self.unproven)


def tally(track: Track, *, wanted: bool) -> Count:
    """Return what one target adds; one that its registry doesn't serve (not wanted) is no loss to anyone."""
    standing = wanted and (track.verdict is not False or track.lost > 0)
    passing, unproven, failing = standing and track.proven, standing and not track.proven, track.streak < 0
    return Count(
        int(passing),
        int(passing and failing),
        int(unproven),
        int(unproven and failing),
        int(standing and track.lost > 0),
        int(track.verdict is False),
    )


def is_panic(count: Count, percent: float, minimum: int, *, frozen: bool) -> bool:
    """Whether so many fail at once that the checks themselves are in doubt.

    It begins when something is lost, not with failures that may pass, and ends with the failures.
    """
    failing, total = count.share
    return failing >= minimum and failing * 100 > percent * total and (frozen or count.lost > 0)
