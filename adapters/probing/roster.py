"""Who is checked, and what follows for the groups of a source. No I/O.

One target may stand for several instances: equal address, port and probe are checked once.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from meshbridge.adapters.probing.plan import PROBE_ATTRIBUTE, port_to_probe, workload_probe
from meshbridge.adapters.probing.settings import ProbeSettings
from meshbridge.adapters.probing.verdict import Count, Track, combine, is_panic, judge, restore, tally
from meshbridge.schemas.errors import PayloadError
from meshbridge.schemas.registry import MAX_NOTES, Health, Instance, InstanceGroup, Note, ServiceKey

_MAX_PROBES = 10_000
"""Parsed probes of WorkloadGroups to remember."""

_TargetKey = tuple[str, int, str]
"""Address, port, and the text of the WorkloadGroup's probe ("" for the source's own)."""


@dataclass(slots=True, eq=False)
class Target:
    """One thing to check. Without users it has left."""

    key: _TargetKey
    probe: ProbeSettings
    track: Track = field(default_factory=Track)
    users: dict[ServiceKey, bool] = field(default_factory=dict)
    """Groups it stands for, and whether their registry serves it."""
    failure: str = ""
    """Why the check failed that made the verdict False."""

    @property
    def address(self) -> str:
        """IP address or host name."""
        return self.key[0]

    @property
    def port(self) -> int:
        """Port number."""
        return self.key[1]

    def tally(self) -> Count:
        """Return what this target adds to the source's numbers."""
        return tally(self.track, wanted=any(self.users.values()))


@dataclass(slots=True, eq=False)
class _Entry:
    """A group as the registry has it, the target of each instance, and what was made of both."""

    group: InstanceGroup
    targets: tuple[Target | None, ...]
    notes: tuple[Note, ...]
    effective: InstanceGroup


class Roster:
    """The groups and targets of one source."""

    def __init__(self, settings: ProbeSettings, rejected: Callable[[str], None]) -> None:
        self._settings = settings
        self._rejected = rejected
        self._entries: dict[ServiceKey, _Entry] = {}
        self._targets: dict[_TargetKey, Target] = {}
        self._probes: dict[str, ProbeSettings | Note] = {}
        self._earlier: frozenset[tuple[ServiceKey, str]] = frozenset()
        self.count = Count()
        self.frozen = False

    def targets(self) -> Iterator[Target]:
        """Return everything there is to check."""
        return iter(self._targets.values())

    def remember(self, groups: Iterable[InstanceGroup]) -> None:
        """Take what an earlier process or configuration served as ready for proven, for the first full sync.

        Else a restart would make the panic blind: targets that never passed hardly count.
        """
        self._earlier = frozenset(
            (group.key, found.id)
            for group in groups
            for found in group.instances
            if found.health is Health.READY
        )

    def replace(self, group: InstanceGroup) -> list[Target]:
        """Take the registry's newest word on a service and return the targets that are new."""
        old = self._entries.pop(group.key, None)
        targets, notes, new = self._plan(group)
        self._use(group, targets)
        if old:
            kept = {target.key for target in targets if target}
            self._release(group.key, (target for target in old.targets if target and target.key not in kept))
        if group.instances:
            self._entries[group.key] = entry = _Entry(group, targets, notes, group)
            entry.effective = _effective(entry)
        return new

    def keep_only(self, keys: set[ServiceKey]) -> None:
        """Forget the services that are not among the keys."""
        for key in self._entries.keys() - keys:
            entry = self._entries.pop(key)
            self._release(key, (target for target in entry.targets if target))
        self._earlier = frozenset()

    def effective(self, group: InstanceGroup) -> InstanceGroup:
        """Return the newest group with the checks' verdicts applied; a group without instances as it is."""
        entry = self._entries.get(group.key)
        return entry.effective if entry else group

    def refresh(self, key: ServiceKey) -> InstanceGroup | None:
        """Return a group that verdicts have changed since it was last returned, else None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        before, entry.effective = entry.effective, _effective(entry)
        return entry.effective if entry.effective != before else None

    def judge(self, target: Target, failure: str) -> list[ServiceKey]:
        """Take the outcome of a check ("" when it passed); return the groups whose verdicts changed."""
        before, probe = target.track, target.probe
        after = judge(before, not failure, rise=probe.rise, fall=probe.fall, frozen=self.frozen)
        self._set(target, after)
        if after.verdict is before.verdict:
            return []
        target.failure = failure
        return list(target.users)

    def review(self) -> list[ServiceKey]:
        """Freeze or thaw by the numbers; return the groups whose recent losses a freeze has undone."""
        percent, minimum = self._settings.panic_percent, self._settings.panic_min
        frozen = is_panic(self.count, percent, minimum, frozen=self.frozen)
        starts, self.frozen = frozen and not self.frozen, frozen
        changed: dict[ServiceKey, None] = {}
        for target in self._targets.values() if starts else ():
            if target.track.lost:
                self._set(target, restore(target.track))
                changed.update(dict.fromkeys(target.users))
        return list(changed)

    def summary(self) -> str:
        """Return the state of the checks in a few words."""
        if self.frozen:
            failing, total = self.count.share
            return f"frozen: {failing} of {total} failing"
        return f"{len(self._targets)} targets, {self.count.unready} unready"

    def _plan(self, group: InstanceGroup) -> tuple[tuple[Target | None, ...], tuple[Note, ...], list[Target]]:
        """Return each instance's target, notes on what can't be checked, and the targets that are new."""
        text = dict(group.attributes).get(PROBE_ATTRIBUTE, "")
        probe = self._probe(text)
        if isinstance(probe, Note):
            return (None,) * len(group.instances), (probe,), []
        targets: list[Target | None] = []
        notes: list[Note] = []
        new: list[Target] = []
        for instance in group.instances:
            try:
                key = (instance.address, port_to_probe(instance, probe), text)
            except PayloadError as error:
                notes.append(Note(error.record, error.reason))
                targets.append(None)
                continue
            target = self._targets.get(key)
            if target is None:
                target = self._targets[key] = Target(
                    key, probe, Track(proven=(group.key, instance.id) in self._earlier)
                )
                new.append(target)
            targets.append(target)
        return tuple(targets), tuple(notes), new

    def _probe(self, text: str) -> ProbeSettings | Note:
        """Return what a WorkloadGroup's probe means, or why it can't be used."""
        if not text:
            return self._settings
        if text not in self._probes:
            if len(self._probes) >= _MAX_PROBES:
                self._probes.clear()
            try:
                self._probes[text] = workload_probe(text)
            except PayloadError as error:
                self._rejected("probe")
                self._probes[text] = Note(error.record, error.reason)
        return self._probes[text]

    def _use(self, group: InstanceGroup, targets: tuple[Target | None, ...]) -> None:
        served: dict[_TargetKey, bool] = {}
        for instance, target in zip(group.instances, targets, strict=True):
            if target:
                served[target.key] = served.get(target.key, False) or instance.health.is_served
        for key, is_served in served.items():
            target = self._targets[key]
            before = target.tally()
            target.users[group.key] = is_served
            self.count = self.count.plus(before, -1).plus(target.tally())

    def _release(self, key: ServiceKey, targets: Iterable[Target]) -> None:
        for target in set(targets):
            self.count = self.count.plus(target.tally(), -1)
            del target.users[key]
            if target.users:
                self.count = self.count.plus(target.tally())
            else:
                del self._targets[target.key]

    def _set(self, target: Target, track: Track) -> None:
        self.count = self.count.plus(target.tally(), -1)
        target.track = track
        self.count = self.count.plus(target.tally())


def unjudged(group: InstanceGroup) -> InstanceGroup:
    """Return an earlier group without what checks may have made of it, as they will judge it anew.

    An instance that was down when the group was kept must not stay out for as long as its registry can't
    be read.
    """
    instances = tuple(
        msgspec.structs.replace(found, health=Health.UNKNOWN) if found.health is Health.UNREADY else found
        for found in group.instances
    )
    return msgspec.structs.replace(group, instances=instances)


def _effective(entry: _Entry) -> InstanceGroup:
    """Return the group with verdicts applied: the very same object where they change nothing."""
    notes = list(entry.notes)
    instances: list[Instance] = []
    for instance, target in zip(entry.group.instances, entry.targets, strict=True):
        health = combine(instance.health, target.track.verdict) if target else instance.health
        if target and health is not instance.health and not health.is_served:
            notes.append(Note(instance.id, f"probe of port {target.port} failed: {target.failure}"))
        same = health is instance.health
        instances.append(instance if same else msgspec.structs.replace(instance, health=health))
    group = entry.group
    if notes:
        group = msgspec.structs.replace(group, notes=tuple(sorted({*group.notes, *notes}))[:MAX_NOTES])
    if all(new is old for new, old in zip(instances, group.instances, strict=True)):
        return group
    return msgspec.structs.replace(group, instances=tuple(instances))
