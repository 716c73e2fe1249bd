"""Our copy of what a Eureka cluster lists, kept by full answers and by deltas. Pure; the caller owns it.

Instances that our copy has and the server does not are of two kinds. If the server has told of their
removal, or is the very process that listed them before, they are gone. Otherwise - it was just restarted, or
is another one of the cluster - they are *doubted*: kept until the server lists them again, tells of their
removal, or has had time enough to learn of them. Servers have no identity to go by, but one that has been
restarted has registered everything anew: a single registration time that is still the same proves that it
was not.

Deltas repeat the last minutes again and again, and a server's full and delta answers come from caches that
are refreshed separately. So everything here may be told twice, late, and in the wrong order.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from meshbridge.adapters.eureka.groups import make_group
from meshbridge.adapters.eureka.instances import DELETED, UNKNOWN, Entry
from meshbridge.schemas.registry import Health, InstanceGroup, ServiceKey, group

RECENT = 90.0
"""Seconds in which a full answer may not know yet what a delta has told."""
REPEATED = 300.0
"""Seconds in which an answer may still tell of what a delta has told to be removed."""
_LATE = 600_000
"""Milliseconds that a delta is late at most. What is older by more comes from a clock that was put back."""

Listing = Mapping[str, Mapping[str, Entry]]
"""What a full answer lists: entries by id by application."""


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """A record that has become unusable."""

    service: str
    id: str
    reason: str


class Registry:
    """The copy of one source. Times are monotonic seconds."""

    def __init__(self, source: str, vip_hosts: str = "") -> None:
        self._source = source
        self._vip_hosts = vip_hosts
        self._apps: dict[str, dict[str, Entry]] = {}
        self._doubted: dict[str, set[str]] = {}
        self._counts: Counter[str] = Counter()
        self._heard: dict[tuple[str, str], float] = {}
        self._gone: dict[tuple[str, str], tuple[int, float]] = {}
        """When removed instances were last changed, by the server's clock, and when we were told."""
        self._unproven: set[tuple[str, str]] = set()
        """Registrations told by deltas since the newest full answer: perhaps already by another process."""
        self._refusals: list[Refusal] = []
        self._outdated: set[str] = set()
        """Services whose entries have changed since their groups were made."""
        self.groups: dict[str, InstanceGroup] = {}
        """All groups by service name."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known."""
        return not self._apps

    @property
    def doubted(self) -> int:
        """How many instances are kept that the server does not list."""
        return sum(map(len, self._doubted.values()))

    @property
    def listed(self) -> int:
        """How many instances the server lists."""
        return self._counts.total()

    @property
    def hash_code(self) -> str:
        """The hash that the server gives for what we believe it lists: `DOWN_1_UP_19_`."""
        return "".join(f"{status}_{count}_" for status, count in sorted(self._counts.items()) if count)

    def group(self, service: str) -> InstanceGroup:
        """Return a service, empty when it is gone."""
        return self.groups.get(service) or group(ServiceKey(self._source, service), ())

    def take_refusals(self) -> list[Refusal]:
        """Return the records that have become unusable since the last call."""
        found, self._refusals = self._refusals, []
        return found

    def seed(self, previous: Mapping[str, InstanceGroup]) -> None:
        """Begin with what an earlier process knew; all of it is doubted."""
        for service, found in previous.items():
            kept = [instance for instance in found.instances if instance.id not in found.held]
            entries = {kind.id: Entry(kind.id, UNKNOWN, instance=kind) for kind in kept}
            if entries:
                self._apps[service] = entries
                self._doubted[service] = set(entries)
                self.groups[service] = group(found.key, kept, found.attributes, found.notes)

    def is_continued_by(self, listing: Listing) -> bool:
        """Whether the answer comes from the very process that listed what we know."""
        if self.is_empty:
            return True
        for service, entries in listing.items():
            known = self._apps.get(service, {})
            doubted = self._doubted.get(service, ())
            for entry in entries.values():
                before = known.get(entry.id)
                is_same = before is not None and 0 < entry.registered == before.registered
                if is_same and entry.id not in doubted and (service, entry.id) not in self._unproven:
                    return True
        return False

    def doubt_all(self) -> None:
        """Doubt everything: another process answers from now on."""
        self._doubted = {service: set(entries) for service, entries in self._apps.items()}
        self._counts.clear()
        self._heard.clear()
        self._gone.clear()

    def apply_full(self, listing: Listing, now: float, *, forget: bool) -> Iterator[str]:
        """Take a full answer, a step for each service; yield the service's name if it differs now, else "".

        Args:
            listing: the whole answer.
            now: when it came.
            forget: whether doubted instances leave that it does not list.
        """
        self._unproven.clear()
        self._heard = {key: at for key, at in self._heard.items() if now - at < RECENT}
        self._gone = {key: gone for key, gone in self._gone.items() if now - gone[1] < REPEATED}
        adopted: list[str] = []
        try:
            for service in (*listing, *(known for known in tuple(self._apps) if known not in listing)):
                entries = listing.get(service, {})
                if service in self._apps or self._gone:
                    self._renew(service, entries, forget=forget)
                elif entries:
                    adopted += self._adopt(service, entries)
                yield self._regroup(service)
        finally:
            self._counts.update(adopted)

    def apply_delta(self, changes: Iterable[tuple[str, Mapping[str, Entry]]], now: float) -> Iterator[str]:
        """Take what changed lately, old news included; yield as `apply_full` does."""
        for service, entries in changes:
            for entry in entries.values():
                known = self._apps.get(service, {}).get(entry.id)
                if entry.action == DELETED:
                    self._gone[service, entry.id] = (entry.updated, now)
                if known is not None and self._is_late(service, entry, known):
                    continue
                if entry.action != DELETED:
                    if known is None or known.registered != entry.registered:
                        self._unproven.add((service, entry.id))
                    if self._put(service, entry):
                        self._heard[service, entry.id] = now
                elif known is not None:
                    self._remove(service, entry.id)
            yield self._regroup(service)

    def _adopt(self, service: str, entries: Mapping[str, Entry]) -> list[str]:
        """Take a service of which nothing is known, the short way; return its statuses, not counted yet."""
        self._apps[service] = dict(entries)
        self._outdated.add(service)
        found = entries.values()
        self._refusals += [Refusal(service, entry.id, entry.refusal) for entry in found if entry.refusal]
        return [entry.status for entry in found]

    def _renew(self, service: str, entries: Mapping[str, Entry], *, forget: bool) -> None:
        known = self._apps.get(service, {})
        for identity in [identity for identity in known if identity not in entries]:
            self._miss(service, identity, forget=forget)
        for entry in entries.values():
            before = known.get(entry.id)
            if before is None or not self._knows_better(service, entry, before, forget=forget):
                self._put(service, entry)

    def _miss(self, service: str, identity: str, *, forget: bool) -> None:
        """Take it that a full answer lacks an instance."""
        is_doubted = identity in self._doubted.get(service, ())
        if not is_doubted and (service, identity) in self._heard:
            self._uncount(service, identity)
            self._doubted.setdefault(service, set()).add(identity)
        elif forget or not is_doubted:
            self._remove(service, identity)

    def _knows_better(self, service: str, entry: Entry, known: Entry, *, forget: bool) -> bool:
        """Whether we know something newer than a full answer says."""
        if entry.id in self._doubted.get(service, ()):
            return not forget and _is_staler(entry, known)
        return (service, entry.id) in self._heard and 0 < entry.updated < known.updated

    def _is_late(self, service: str, entry: Entry, known: Entry) -> bool:
        """Whether a delta tells what was before what we know."""
        if entry.id in self._doubted.get(service, ()):
            return _is_staler(entry, known)
        return entry.updated > 0 and 0 < known.updated - entry.updated < _LATE

    def _put(self, service: str, entry: Entry) -> bool:
        """Take an instance unless it has been removed since; return whether that changed anything."""
        if 0 < entry.updated <= self._gone.get((service, entry.id), (0, 0.0))[0]:
            return False
        known = self._apps.get(service, {}).get(entry.id)
        if entry.refusal and (known is None or known.refusal != entry.refusal):
            self._refusals.append(Refusal(service, entry.id, entry.refusal))
        was_doubted = entry.id in self._doubted.get(service, ())
        if known is not None:
            entry = _with_memory(entry, known)
            self._uncount(service, entry.id)
            self._trust(service, entry.id)
        self._counts[entry.status] += 1
        self._apps.setdefault(service, {})[entry.id] = entry
        if known is None or not _shows_the_same(entry, known):
            self._outdated.add(service)
        return was_doubted or entry != known

    def _remove(self, service: str, identity: str) -> None:
        self._uncount(service, identity)
        self._trust(service, identity)
        self._heard.pop((service, identity), None)
        self._outdated.add(service)
        entries = self._apps[service]
        del entries[identity]
        if not entries:
            del self._apps[service]

    def _uncount(self, service: str, identity: str) -> None:
        if identity not in self._doubted.get(service, ()):
            self._counts[self._apps[service][identity].status] -= 1

    def _trust(self, service: str, identity: str) -> None:
        doubted = self._doubted.get(service)
        if doubted is not None:
            doubted.discard(identity)
            if not doubted:
                del self._doubted[service]

    def _regroup(self, service: str) -> str:
        """Make a service's group anew; return its name if that differs from before, else ""."""
        if service not in self._outdated:
            return ""
        self._outdated.discard(service)
        entries = self._apps.get(service)
        if not entries:
            return service if self.groups.pop(service, None) is not None else ""
        made = make_group(ServiceKey(self._source, service), entries.values(), self._vip_hosts)
        if made == self.groups.get(service):
            return ""
        self.groups[service] = made
        return service


def _is_staler(entry: Entry, known: Entry) -> bool:
    """Whether another server knows less of an instance: their own clocks can't be compared."""
    return 0 < entry.dirty < known.dirty


def _shows_the_same(entry: Entry, known: Entry) -> bool:
    """Whether a group looks the same with either; `_with_memory` has made equal instances one object."""
    return (
        entry.instance is known.instance
        and entry.refusal == known.refusal
        and entry.remarks == known.remarks
        and entry.vips == known.vips
    )


def _with_memory(entry: Entry, known: Entry) -> Entry:
    """Return the entry with what only the earlier one can tell."""
    before = known.instance
    if before is None:
        return entry
    if entry.instance is None:
        return msgspec.structs.replace(
            known, status=entry.status, action=entry.action, refusal=entry.refusal, remarks=()
        )
    if entry.status == UNKNOWN and before.health is Health.DRAINING:
        # An override was taken back: servers say UNKNOWN until the instance's next heartbeat.
        draining = msgspec.structs.replace(entry.instance, health=Health.DRAINING)
        return msgspec.structs.replace(entry, instance=draining)
    if entry.instance == before:  # One object for one state: that is memory, and quick to compare.
        return msgspec.structs.replace(entry, instance=before)
    return entry
