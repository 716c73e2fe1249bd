"""Keeps a mass removal out of the mesh until it is known to be meant.

A loss is an instance that was served and is now absent or unready; draining is deliberate and no
loss. Per source, the guard trips when the losses since the peak of the last `window` seconds are at
least `min_removed` and more than `max_removed_percent` of that peak; and, however few they are, when
a full read finds nothing at all, which nobody said is meant. From then on every lost
instance stays as it was, marked as held, until the registry's own count is back within the bounds
(recovery), an operator says `release`, or `hold` seconds have passed. The time-out never removes the
last ready instance of a source. While a source calls its own registry suspect (Eureka that has stopped
to evict, say) half of both bounds is enough.

The guard looks at instances, not at resources: an inline endpoint vanishes as a change of its
ServiceEntry, which looks harmless.
"""

import dataclasses
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from meshbridge.bridge.pipeline.catalog import Change
from meshbridge.schemas.registry import Health, Instance, InstanceGroup, ServiceKey


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

    @property
    def tightened(self) -> "GuardSettings":
        """The bounds for a registry whose own word is in doubt: half as much is too much."""
        return dataclasses.replace(
            self, min_removed=(self.min_removed + 1) // 2, max_removed_percent=self.max_removed_percent / 2
        )


class Trip(msgspec.Struct, frozen=True, gc=False):
    """That the guard is holding, since when, and how many instances were served before.

    Those that the registry has taken out on purpose meanwhile no longer count.
    """

    since: float
    peak: int
    is_total: bool = False
    """Whether a full read found nothing at all; then `min_removed` is no excuse for what is still lost."""


class SourceGuard:
    """The guard of one source. It keeps counts and held groups, never reads a clock and does no I/O."""

    def __init__(self, settings: GuardSettings) -> None:
        self.settings = settings
        self.is_suspect = False
        """Whether the source says that its registry is not to be trusted; the bounds are tighter then."""
        self._served = 0
        self._peaks: deque[tuple[float, int]] = deque()
        self._registry: dict[ServiceKey, InstanceGroup] = {}
        self.effective: dict[ServiceKey, InstanceGroup] = {}
        """What counts instead of the registry's groups, for groups in which something is held."""
        self.trip: Trip | None = None

    @property
    def held(self) -> int:
        """How many instances only the guard keeps."""
        return sum(len(group.held) for group in self.effective.values())

    def judge(self, changes: Sequence[Change], now: float, *, emptied: bool = False) -> list[InstanceGroup]:
        """Return the groups that count from now on, for all that changes and all that is freed.

        Args:
            changes: registry groups before and after one event; all of a full sync at once.
            now: monotonic seconds.
            emptied: whether the event says that there is nothing any more, and nobody that it is meant.
        """
        drained = sum(_drained(self._before(change), change.new) for change in changes)
        self._served += sum(_served(change.new) - _served(change.old) for change in changes)
        peak = self._peak(now, drained)
        if self.trip is not None:
            self.trip = msgspec.structs.replace(self.trip, peak=self.trip.peak - drained)
        elif self._is_excessive(peak, is_total=emptied):
            self.trip = Trip(now, peak, is_total=emptied)
        if self.trip is None:
            return [change.new for change in changes]
        if not self._is_excessive(self.trip.peak, is_total=self.trip.is_total):
            return self._free_and(changes, now)
        return [self._hold(change) for change in changes]

    def expire(self, now: float) -> list[InstanceGroup]:
        """Return the groups freed because they have been held long enough."""
        if self.trip is None or now - self.trip.since < self.settings.hold or self._served == 0:
            return []
        return self.release(now)

    def release(self, now: float) -> list[InstanceGroup]:
        """Free everything that is held and return the groups as the registry has them."""
        freed = list(self._registry.values())
        self.trip = None
        self._registry.clear()
        self.effective.clear()
        self._peaks.clear()
        self._peaks.append((now, self._served))
        return freed

    def _before(self, change: Change) -> InstanceGroup:
        return self.effective.get(change.new.key, change.old)

    def _peak(self, now: float, drained: int) -> int:
        """Note the present count and return the highest one within the window, less what was drained.

        The counts in the queue fall; each says the highest count from its time on.
        """
        peaks = self._peaks
        if drained:
            peaks = self._peaks = deque((at, count - drained) for at, count in peaks)
        since = now
        while peaks and peaks[-1][1] <= self._served:
            since, _ = peaks.pop()
        peaks.append((since, self._served))
        while len(peaks) > 1 and peaks[1][0] <= now - self.settings.window:
            peaks.popleft()
        return peaks[0][1]

    def _is_excessive(self, peak: int, *, is_total: bool) -> bool:
        lost = peak - self._served
        bounds = self.settings.tightened if self.is_suspect else self.settings
        at_least = 1 if is_total else bounds.min_removed
        return lost >= at_least and lost * 100 > peak * bounds.max_removed_percent

    def _free_and(self, changes: Iterable[Change], now: float) -> list[InstanceGroup]:
        groups = {group.key: group for group in self.release(now)}
        groups.update({change.new.key: change.new for change in changes})
        return list(groups.values())

    def _hold(self, change: Change) -> InstanceGroup:
        effective = hold(self._before(change), change.new)
        if effective.held:
            self.effective[effective.key] = effective
            self._registry[effective.key] = change.new
        else:
            self.effective.pop(effective.key, None)
            self._registry.pop(effective.key, None)
        return effective


def hold(old: InstanceGroup, new: InstanceGroup) -> InstanceGroup:
    """Return `new` with every lost instance of `old` put back and marked as held."""
    present = {instance.id: instance for instance in new.instances}
    lost = {
        instance.id: instance
        for instance in old.instances
        if _is_served(instance) and _is_lost(present.get(instance.id))
    }
    if not lost:
        return new
    instances = tuple(sorted({**present, **lost}.values(), key=lambda instance: instance.id))
    attributes = new.attributes or old.attributes
    return msgspec.structs.replace(new, instances=instances, attributes=attributes, held=tuple(sorted(lost)))


def _is_lost(now: Instance | None) -> bool:
    return now is None or not (_is_served(now) or _is_draining(now))


def _is_served(instance: Instance) -> bool:
    return instance.health.is_served and instance.weight != 0


def _is_draining(instance: Instance) -> bool:
    return instance.health is Health.DRAINING or instance.weight == 0


def _served(group: InstanceGroup) -> int:
    return sum(map(_is_served, group.instances))


def _drained(old: InstanceGroup, new: InstanceGroup) -> int:
    """Return how many served instances of `old` the registry now takes out on purpose."""
    draining = {instance.id for instance in new.instances if _is_draining(instance)}
    if not draining:
        return 0
    return sum(instance.id in draining for instance in old.instances if _is_served(instance))
