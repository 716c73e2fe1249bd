"""The mesh as it should be: from changed groups to changed resources, one service at a time.

    registry groups -> guard -> effective groups -> rules -> members -> merge -> convert -> resources

Every step works on what changed and on nothing else. Nothing here waits, logs or reads a clock; the
publisher drives it in slices.
"""

import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from meshbridge.bridge.pipeline.bounds import GuardSettings, Held
from meshbridge.bridge.pipeline.catalog import Catalog, Change
from meshbridge.bridge.pipeline.conflicts import Contribution
from meshbridge.bridge.pipeline.convert import Converted, convert
from meshbridge.bridge.pipeline.guard import Overall, SourceGuard, without_held
from meshbridge.bridge.pipeline.identities import Known
from meshbridge.bridge.pipeline.merge import MeshService, merge, unmerged
from meshbridge.bridge.pipeline.rules import Rules
from meshbridge.bridge.pipeline.surplus import Surplus
from meshbridge.bridge.pipeline.values import Dropped, Member, MeshKey
from meshbridge.schemas.errors import ConversionError
from meshbridge.schemas.registry import InstanceGroup, Note, ServiceKey
from meshbridge.schemas.resource import Resource, ResourceKey


class Evaluated(msgspec.Struct, frozen=True, gc=False):
    """A group after the rules, in the order of its instances."""

    group: InstanceGroup
    verdicts: tuple[Member | Dropped, ...]

    def members(self, key: MeshKey) -> tuple[Member, ...]:
        """Return what the group contributes to one mesh service."""
        return tuple(found for found in self.verdicts if isinstance(found, Member) and found.mesh == key)

    def targets(self) -> set[MeshKey]:
        """Return the mesh services the group contributes to."""
        return {found.mesh for found in self.verdicts if isinstance(found, Member)}


class Built(msgspec.Struct, frozen=True):
    """A mesh service and its resources."""

    service: MeshService
    converted: Converted
    error: str = ""
    """Why the newest state of the service is quarantined and `converted` is the last valid one."""
    is_bug: bool = False
    """Whether the error was not foreseen; it is a traceback then."""

    @property
    def notes(self) -> tuple[Note, ...]:
        """Everything that was left out, changed or decided on the way."""
        return self.service.notes + self.converted.notes


class MeshKept(msgspec.Struct, frozen=True):
    """What is retained beside the sources' groups, by `namespace/host`."""

    identities: dict[str, Known]
    """Identities, and until when earlier ones are accepted."""
    last_valid: dict[str, Converted]
    """The last valid forms of services whose newest one istiod would refuse."""


@dataclass
class News:
    """What the mesh met while it settled, for logs and metrics."""

    quarantined: list[tuple[MeshKey, Built]] = field(default_factory=list)
    bugs: list[tuple[ServiceKey, str]] = field(default_factory=list)
    """Groups to which the rules could not be applied, with a traceback."""
    problems: Counter[str] = field(default_factory=Counter)
    """How many new notes the stages `merge` and `convert` made."""


class Mesh:
    """All groups, members and resources, and what has to be looked at again."""

    def __init__(self, rules: Rules, precedence: Sequence[str], guard: GuardSettings) -> None:
        self.catalog = Catalog()
        self.guards: dict[str, SourceGuard] = {}
        self._overall = Overall(guard)
        self.services: dict[MeshKey, Built] = {}
        self._last_valid: dict[MeshKey, Converted] = {}
        """Of an earlier run, for services that were in quarantine."""
        self._index: dict[MeshKey, set[ServiceKey]] = {}
        self._evaluated: dict[str, dict[ServiceKey, Evaluated]] = {}
        """By source, as that is how it is asked for."""
        self._outdated: set[ServiceKey] = set()
        """Groups whose verdicts are of earlier rules."""
        self._dirty: dict[ServiceKey, None] = {}
        self._touched: dict[MeshKey, None] = {}
        self._changes: dict[ResourceKey, Resource | None] = {}
        self._news = News()
        self.surplus = Surplus(rules)
        self.now = 0.0
        """Unix seconds, as the publisher says; only the roll-over of identities looks at it."""
        self.configure(rules, precedence, guard)

    def configure(self, rules: Rules, precedence: Sequence[str], guard: GuardSettings) -> None:
        """Use other rules from now on; everything known is looked at again.

        Groups of sources that are not in `precedence` are about to leave: they stay as they are until then.
        """
        self.rules = rules
        self.surplus.configure(rules)
        self._precedence = {source: rank for rank, source in enumerate(precedence)}
        self._guard_settings = guard
        self._overall.settings = guard
        for known in self.guards.values():
            known.settings = guard
        self._outdated.update(*(self._evaluated.get(source, ()) for source in precedence))
        self._dirty.update(dict.fromkeys(self._outdated))
        self._touched.update(dict.fromkeys(self.services))

    def guard(self, source: str) -> SourceGuard:
        """Return the guard of a source."""
        if source not in self.guards:
            self.guards[source] = SourceGuard(self._guard_settings, self._overall)
        return self.guards[source]

    def effective(self, key: ServiceKey) -> InstanceGroup:
        """Return the group that counts: the registry's, or the one in which the guard holds something."""
        guard = self.guards.get(key.source)
        return (guard and guard.effective.get(key)) or self.catalog.get(key)

    def groups(self, source: str) -> list[InstanceGroup]:
        """Return all groups of a source that count, those included that are still to be worked off."""
        known = {group.key: group for group in self.catalog.groups(source)}
        return list({**known, **self.guard(source).effective}.values())

    def apply(self, source: str, changes: Sequence[Change], now: float, *, emptied: bool = False) -> bool:
        """Take the changes of one event and return whether anything has to be done.

        Args:
            source: the name of the source.
            changes: all that the event changes, as the catalog compared it.
            now: monotonic seconds.
            emptied: whether the event says that the source has nothing any more, and nobody that it is meant.
        """
        counting = self.guard(source).judge(changes, now, emptied=emptied)
        self.catalog.store(changes)
        return self._mark(counting)

    def restore(self, source: str, groups: Sequence[InstanceGroup], held: Held | None, now: float) -> None:
        """Take the groups of a source that counted before, and hold again what was held of them."""
        self.apply(source, self.catalog.compare([without_held(group) for group in groups]), now)
        if held is not None:
            self.guard(source).restore(held, {group.key: group for group in groups}, now)
            self._mark(self.guard(source).effective.values())

    def keep(self) -> MeshKept:
        """Return what no source has and the next start needs."""
        valid = {
            str(key): built.converted
            for key, built in self.services.items()
            if built.error and built.converted.resources
        }
        return MeshKept(dict(self.surplus.identities.dump()), valid)

    def load(self, kept: MeshKept) -> None:
        """Take what an earlier run, or another replica, kept."""
        self.surplus.identities.load(kept.identities)
        for text, converted in kept.last_valid.items():
            namespace, _, host = text.partition("/")
            self._last_valid.setdefault(MeshKey(namespace, host), converted)

    def release(self, source: str, now: float) -> int:
        """Free what the guard holds of a source and return how many instances that were."""
        guard = self.guard(source)
        held = guard.held
        self._mark(guard.release(now))
        return held

    def expire(self, now: float) -> list[str]:
        """Free what has been held long enough and return the sources that it was held of."""
        return [source for source, guard in self.guards.items() if self._mark(guard.expire(now))]

    def turn_to(self, now: float) -> bool:
        """Note the time (Unix seconds) and return whether an identity's roll-over ends now."""
        self.now = now
        due = dict.fromkeys(self.surplus.identities.due(now))
        self._touched.update(due)
        return bool(due)

    def forget(self, source: str, now: float) -> None:
        """Take out a source that is no longer configured."""
        self._mark([InstanceGroup(group.key) for group in self.catalog.groups(source)])
        self._mark([InstanceGroup(key) for key in self.guard(source).leave(now)])
        self.catalog.forget(source)
        del self.guards[source]

    def settle(self) -> Iterator[None]:
        """Do what has to be done, yielding after each small piece of work."""
        while self._dirty or self._touched:
            while self._dirty:
                key, _ = self._dirty.popitem()
                self._touched.update(dict.fromkeys(self._evaluate(key)))
                yield
            while self._touched:
                mesh_key, _ = self._touched.popitem()
                self._rebuild(mesh_key)
                yield

    def take_changes(self) -> Mapping[ResourceKey, Resource | None]:
        """Return, once, the resources that changed since the last call; None stands for removal."""
        changes, self._changes = self._changes, {}
        return changes

    def take_news(self) -> News:
        """Return, once, what there is to report since the last call."""
        found, self._news = self._news, News()
        return found

    def evaluated(self, source: str) -> Iterator[Evaluated]:
        """Yield the groups of a source after the rules."""
        yield from self._evaluated.get(source, {}).values()

    def resources(self) -> Iterator[Resource]:
        """Yield every resource, published or not."""
        for built in self.services.values():
            yield from built.converted.resources

    def _mark(self, groups: Iterable[InstanceGroup]) -> bool:
        keys = dict.fromkeys(group.key for group in groups)
        self._dirty.update(keys)
        return bool(keys)

    def _evaluate(self, key: ServiceKey) -> set[MeshKey]:
        """Apply the rules to a group and return the mesh services it touches, before and after."""
        groups = self._evaluated.setdefault(key.source, {})
        known = groups.get(key)
        try:
            evaluated = evaluate(self.rules, self.effective(key), None if key in self._outdated else known)
        except Exception:  # noqa: BLE001 - one odd group must not stop all others; it stays as it was
            self._news.bugs.append((key, traceback.format_exc()))
            return set()
        self._outdated.discard(key)
        before = known.targets() if known else set()
        after = evaluated.targets()
        for target in before - after:
            self._index[target].discard(key)
        for target in after - before:
            self._index.setdefault(target, set()).add(key)
        if evaluated.group.instances or evaluated.group.notes:
            groups[key] = evaluated
        else:
            groups.pop(key, None)
        return before | after

    def _rebuild(self, key: MeshKey) -> None:
        known = self.services.get(key)
        built = self._build(key, known)
        before = {found.key: found for found in known.converted.resources} if known else {}
        after = {found.key: found for found in built.converted.resources} if built else {}
        self._changes.update(dict.fromkeys(before.keys() - after.keys()))
        self._changes.update(after)
        if built is not None:
            self.services[key] = built
            self._note_news(key, built, known)
        else:
            self.services.pop(key, None)
            self._index.pop(key, None)
            self._touched.update(dict.fromkeys(self.surplus.forget(key)))

    def _note_news(self, key: MeshKey, built: Built, known: Built | None) -> None:
        if built.error and (known is None or known.error != built.error):
            self._news.quarantined.append((key, built))
        merged, converted = built.service.notes, built.converted.notes
        if merged or converted:
            old = set(known.notes) if known else set()
            self._news.problems["merge"] += len(set(merged) - old)
            self._news.problems["convert"] += len(set(converted) - old)

    def _build(self, key: MeshKey, known: Built | None) -> Built | None:
        contributions = self.contributions(key)
        if not contributions:
            return None
        service = known.service if known else unmerged(key, contributions)
        last_valid = known.converted if known else self._last_valid.pop(key, None)
        last_valid = last_valid or Converted((), (), len(service.members))
        try:
            service, moved = self.surplus.complete(merge(key, contributions), self.now)
            self._touched.update(dict.fromkeys(moved))
            return Built(service, convert(service, last_valid))
        except ConversionError as error:
            return Built(service, last_valid, error=str(error))
        except Exception:  # noqa: BLE001 - one odd service must not stop all others; it is shown and logged
            return Built(service, last_valid, error=traceback.format_exc(), is_bug=True)

    def contributions(self, key: MeshKey) -> list[Contribution]:
        """Return what makes up a mesh service, in order of precedence."""
        last = len(self._precedence)
        groups = sorted(
            self._index.get(key, ()), key=lambda group: (self._precedence.get(group.source, last), group)
        )
        return [Contribution(group, self._evaluated[group.source][group].members(key)) for group in groups]


def evaluate(rules: Rules, group: InstanceGroup, known: Evaluated | None) -> Evaluated:
    """Return the group after the rules; verdicts of instances that did not change are kept."""
    kept: dict[int, Member | Dropped] = {}
    if known is not None and known.group.attributes == group.attributes:
        kept = {
            id(instance): verdict
            for instance, verdict in zip(known.group.instances, known.verdicts, strict=False)
        }
    own = rules.for_group(group)
    return Evaluated(group, tuple(kept.get(id(found)) or own.apply(found) for found in group.instances))
