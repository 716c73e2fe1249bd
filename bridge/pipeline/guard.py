"""Keeps a mass removal out of the mesh until it is known to be meant.

A loss is an instance that was served and is now absent or unready; draining is deliberate and no
loss. Per source, the guard trips when the losses since the peak of the last `window` seconds are at
least `min_removed` and more than `max_removed_percent` of that peak; and, however few they are, when
a full read finds nothing at all, which nobody said is meant. A source that loses anything also trips
its guard when the losses that all sources together pass on would be out of the same bounds: many
small sources may lose everything without any of them losing much.

From then on every lost instance stays as it was, marked as held, until the registry's own count is
back within the bounds (recovery), an operator says `release`, or `hold` seconds have passed. The
time-out never removes the last ready instance of a source. While a source calls its own registry
suspect (Eureka that has stopped to evict, say) half of both bounds is enough.

The guard looks at instances, not at resources: an inline endpoint vanishes as a change of its
ServiceEntry, which looks harmless.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from meshbridge.bridge.pipeline.bounds import Cause, GuardSettings, Held, Trip
from meshbridge.bridge.pipeline.catalog import Change
from meshbridge.bridge.pipeline.tally import Tally
from meshbridge.schemas.registry import Health, Instance, InstanceGroup, ServiceKey


class Overall:
    """The losses that the guards of all sources together have let through."""

    def __init__(self, settings: GuardSettings) -> None:
        self.settings = settings
        self.sources = 0
        """How many there are; one alone is judged by its own bounds."""
        self._tally = Tally()

    def pass_on(self, gained: int, drained: int, now: float) -> None:
        """Note that so many more instances are served now, held ones included."""
        if gained or drained:
            self._tally.note(gained, drained, now, self.settings.window)

    def can_bear(self, lost: int, now: float) -> bool:
        """Whether so many may be lost now, beside what was lost lately."""
        if self.sources < 2:
            return True
        peak = self._tally.note(0, 0, now, self.settings.window)
        return not self.settings.are_exceeded(peak, self._tally.served - lost)


class SourceGuard:
    """The guard of one source. It keeps counts and held groups, never reads a clock and does no I/O."""

    def __init__(self, settings: GuardSettings, overall: Overall | None = None) -> None:
        self.settings = settings
        self.is_suspect = False
        """Whether the source says that its registry is not to be trusted; the bounds are tighter then."""
        self._overall = overall or Overall(settings)
        self._overall.sources += 1
        self._tally = Tally()
        self._registry: dict[ServiceKey, InstanceGroup] = {}
        self._since: dict[ServiceKey, dict[str, float]] = {}
        self.effective: dict[ServiceKey, InstanceGroup] = {}
        """What counts instead of the registry's groups, for groups in which something is held."""
        self.trip: Trip | None = None

    @property
    def held(self) -> int:
        """How many instances only the guard keeps."""
        return sum(len(group.held) for group in self.effective.values())

    def held_since(self) -> Iterator[tuple[ServiceKey, str, float]]:
        """Yield each held instance with the monotonic seconds since which it is held."""
        for key, since in self._since.items():
            for found, at in since.items():
                yield key, found, at

    def judge(self, changes: Sequence[Change], now: float, *, emptied: bool = False) -> list[InstanceGroup]:
        """Return the groups that count from now on, for all that changes and all that is freed.

        Args:
            changes: registry groups before and after one event; all of a full sync at once.
            now: monotonic seconds.
            emptied: whether the event says that there is nothing any more, and nobody that it is meant.
        """
        before = self._tally.served + self.held
        drained = sum(_drained(self._before(change), change.new) for change in changes)
        gained = sum(_served(change.new) - _served(change.old) for change in changes)
        peak = self._tally.note(gained, drained, now, self.settings.window)
        if self.trip is not None:
            self.trip = msgspec.structs.replace(self.trip, peak=self.trip.peak - drained)
        else:
            self.trip = self._trip(peak, -gained - drained, now, emptied=emptied)
        if self.trip is None:
            counting = [change.new for change in changes]
        elif self._is_over(self.trip, now):
            counting = self._free_and(changes, now)
            drained = max(drained, before - self._tally.served)  # What is freed now is known to be meant.
        else:
            counting = [self._hold(change, now) for change in changes]
        self._overall.pass_on(self._tally.served + self.held - before, drained, now)
        return counting

    def expire(self, now: float) -> list[InstanceGroup]:
        """Return the groups freed as they were held long enough, or as all together can bear it now."""
        if self.trip is None:
            return []
        is_due = now - self.trip.since >= self.settings.hold and self._tally.served > 0
        if is_due or (self.trip.cause is Cause.OVERALL and self._is_over(self.trip, now)):
            return self.release(now)
        return []

    def release(self, now: float) -> list[InstanceGroup]:
        """Free everything that is held and return the groups as the registry has them."""
        held = self.held
        freed = self._free(now)
        self._overall.pass_on(-held, held, now)
        return freed

    def leave(self, now: float) -> list[ServiceKey]:
        """Stop counting a source that is taken out, and return the keys of what was held of it."""
        keys = list(self.effective)
        count = self._tally.served + self.held
        self._overall.pass_on(-count, count, now)
        self._overall.sources -= 1
        return keys

    def keep(self) -> Held | None:
        """Return what is held, None when nothing is."""
        if self.trip is None:
            return None
        return Held(self.trip, {key.name: dict(since) for key, since in self._since.items()})

    def restore(self, held: Held, groups: Mapping[ServiceKey, InstanceGroup], now: float) -> None:
        """Hold again what was held of these groups, whose registry's form is known already."""
        # A clock that was set back while nothing ran must not make holds begin in the future.
        self.trip = trip = msgspec.structs.replace(held.trip, since=min(held.trip.since, now))
        for key, group in groups.items():
            if group.held:
                since = held.since.get(key.name, {})
                self._registry[key] = without_held(group)
                self.effective[key] = group
                self._since[key] = {found: min(since.get(found, trip.since), now) for found in group.held}
        self._overall.pass_on(self.held, 0, now)

    def _trip(self, peak: int, lost: int, now: float, *, emptied: bool) -> Trip | None:
        served = self._tally.served
        if emptied and served < peak:
            return Trip(now, peak, Cause.EMPTIED)
        if self._bounds.are_exceeded(peak, served):
            return Trip(now, peak)
        if lost > 0 and not self._overall.can_bear(lost, now):
            return Trip(now, peak, Cause.OVERALL)
        return None

    def _is_over(self, trip: Trip, now: float) -> bool:
        """Whether what is still lost may go."""
        bounds, served = self._bounds, self._tally.served
        if trip.cause is Cause.SOURCE:
            return not bounds.are_exceeded(trip.peak, served)
        if bounds.are_exceeded(trip.peak, served, at_least=1):
            return False
        return trip.cause is Cause.EMPTIED or self._overall.can_bear(trip.peak - served, now)

    @property
    def _bounds(self) -> GuardSettings:
        return self.settings.tightened if self.is_suspect else self.settings

    def _before(self, change: Change) -> InstanceGroup:
        return self.effective.get(change.new.key, change.old)

    def _free(self, now: float) -> list[InstanceGroup]:
        freed = list(self._registry.values())
        self.trip = None
        for kept in (self._registry, self.effective, self._since):
            kept.clear()
        self._tally.forget_peak(now)
        return freed

    def _free_and(self, changes: Iterable[Change], now: float) -> list[InstanceGroup]:
        groups = {group.key: group for group in self._free(now)}
        groups.update({change.new.key: change.new for change in changes})
        return list(groups.values())

    def _hold(self, change: Change, now: float) -> InstanceGroup:
        effective = hold(self._before(change), change.new)
        key = effective.key
        if effective.held:
            self.effective[key] = effective
            self._registry[key] = change.new
            known = self._since.get(key, {})
            self._since[key] = {found: known.get(found, now) for found in effective.held}
        else:
            for kept in (self.effective, self._registry, self._since):
                kept.pop(key, None)
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


def without_held(group: InstanceGroup) -> InstanceGroup:
    """Return the group without what only the guard keeps: the registry's own, as far as it is known."""
    held = set(group.held)
    instances = tuple(instance for instance in group.instances if instance.id not in held)
    return msgspec.structs.replace(group, instances=instances, held=())


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
