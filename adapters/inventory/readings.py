"""The last good reading of every document, and the groups they make together.

Pure. A reading replaces the earlier one of its document and tells which services differ, so that one changed
line among 100,000 is one group to send.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol, TypeVar

import msgspec

from meshbridge.adapters.inventory.formats.istio_join import join
from meshbridge.adapters.inventory.formats.record import Configured, Parsed, Problem, Record
from meshbridge.schemas.registry import InstanceGroup, Labels, Note, ServiceKey, group


class _Marked(Protocol):
    @property
    def marks(self) -> tuple[str, ...]: ...


_Item = TypeVar("_Item", bound=_Marked)


class Part(msgspec.Struct, frozen=True, gc=False):
    """What one unit says of one service."""

    records: tuple[Record, ...] = ()
    attributes: Labels = ()
    problems: tuple[Problem, ...] = ()


class Combined(msgspec.Struct, frozen=True, gc=False):
    """A group, and how many records were left out of it because another one has their id."""

    group: InstanceGroup
    duplicates: int


class Readings:
    """Owned by one adapter; never shared between tasks without its lock.

    A *unit* is what is replaced as a whole: a document, or for Istio's resources a namespace, because a
    WorkloadEntry and its ServiceEntry may stand in different documents.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._documents: dict[str, Parsed] = {}
        self._units: dict[str, dict[str, Part]] = {}
        self._users: dict[str, set[str]] = {}
        self._joined: dict[str, tuple[Problem, ...]] = {}
        self._unheard: list[Problem] = []

    @property
    def documents(self) -> Iterable[str]:
        """Names of the documents that have a reading."""
        return tuple(self._documents)

    @property
    def services(self) -> list[str]:
        """Names of all services, sorted."""
        return sorted(self._users)

    def has_content(self, document: str) -> bool:
        """Whether the document's last good reading lists anything."""
        return document in self._documents and self._documents[document].has_content

    def keeping(self, document: str, parsed: Parsed) -> Parsed:
        """Return a reading in which records that turned bad have their last good reading."""
        old = self._documents.get(document, Parsed())
        return msgspec.structs.replace(
            parsed,
            records=keep_last_good(old.records, parsed.records, parsed.problems),
            resources=keep_last_good(old.resources, parsed.resources, parsed.problems),
        )

    def problems(self, document: str) -> tuple[Problem, ...]:
        """Return what was wrong in the document's last good reading."""
        return self._documents.get(document, Parsed()).problems

    def all_problems(self) -> Iterator[Problem]:
        """Yield what is wrong in any document, or with the resources of any namespace together."""
        for parsed in self._documents.values():
            yield from parsed.problems
        for problems in self._joined.values():
            yield from problems

    def take_joint_problems(self) -> list[Problem]:
        """Return what the newest joining of resources found wrong, once."""
        unheard, self._unheard = self._unheard, []
        return unheard

    def put(self, document: str, parsed: Parsed) -> set[str]:
        """Replace a document's reading and return the services that differ."""
        old = self._documents.get(document, Parsed())
        self._documents[document] = parsed
        return self._replace_unit(document, parsed) | self._join_namespaces(old, parsed)

    def drop(self, document: str) -> set[str]:
        """Forget a document that is gone and return the services that differ."""
        old = self._documents.pop(document, Parsed())
        return self._replace_unit(document, Parsed()) | self._join_namespaces(old, Parsed())

    def combined(self, service: str) -> Combined:
        """Return a service as all documents together tell it; empty when none does."""
        units = sorted(self._users.get(service, ()))
        return combine(
            ServiceKey(self._source, service), {unit: self._units[unit][service] for unit in units}
        )

    def _join_namespaces(self, old: Parsed, new: Parsed) -> set[str]:
        """Resolve the Istio resources of every namespace in which the two readings differ."""
        touched = {found.namespace for found in _differing(old.resources, new.resources)}
        changed: set[str] = set()
        for namespace in sorted(touched):
            resources = [
                found
                for document in sorted(self._documents)
                for found in self._documents[document].resources
                if found.namespace == namespace
            ]
            unit = f"namespace {namespace}"
            before = tuple(record for part in self._units.get(unit, {}).values() for record in part.records)
            joined = join(resources)
            kept = keep_last_good(before, joined.records, joined.problems)
            self._joined[namespace] = joined.problems
            self._unheard.extend(joined.problems)
            changed |= self._replace_unit(unit, msgspec.structs.replace(joined, records=kept))
        return changed

    def _replace_unit(self, unit: str, parsed: Parsed) -> set[str]:
        old = self._units.get(unit, {})
        new = split(parsed)
        self._units[unit] = new
        if not new:
            del self._units[unit]
        for service in old.keys() - new.keys():
            self._users[service].discard(unit)
            if not self._users[service]:
                del self._users[service]
        for service in new.keys() - old.keys():
            self._users.setdefault(service, set()).add(unit)
        return {name for name in old.keys() | new.keys() if not _says_the_same(old.get(name), new.get(name))}


def _differing(old: Iterable[Configured], new: Iterable[Configured]) -> Iterable[Configured]:
    """Return the resources that only one of the two readings has like this."""
    before, after = _by_mark(old), _by_mark(new)
    for mark in before.keys() | after.keys():
        if before.get(mark) != after.get(mark):
            yield from (*before.get(mark, ()), *after.get(mark, ()))


def _by_mark(resources: Iterable[Configured]) -> dict[str, list[Configured]]:
    found: dict[str, list[Configured]] = {}
    for resource in resources:
        found.setdefault(resource.marks[0], []).append(resource)
    return found


def _says_the_same(old: Part | None, new: Part | None) -> bool:
    """Whether two parts make the same group; the lines their records stand on don't matter."""
    if old is None or new is None:
        return old is new
    return (
        old.attributes == new.attributes
        and old.problems == new.problems
        and [record.instance for record in old.records] == [record.instance for record in new.records]
    )


def split(parsed: Parsed) -> dict[str, Part]:
    """Return what a reading says of each service; problems of unknown services are left out."""
    records: dict[str, list[Record]] = {service: [] for service in parsed.services}
    problems: dict[str, list[Problem]] = {}
    for record in parsed.records:
        records.setdefault(record.service, []).append(record)
    for problem in parsed.problems:
        if problem.service:
            problems.setdefault(problem.service, []).append(problem)
    return {
        service: Part(
            tuple(records.get(service, ())),
            parsed.services.get(service, ()),
            tuple(problems.get(service, ())),
        )
        for service in records.keys() | problems.keys()
    }


def combine(key: ServiceKey, parts: Mapping[str, Part]) -> Combined:
    """Return the group that parts by unit make: of equal ids and of different settings the first counts."""
    first: dict[str, Record] = {}
    attributes: dict[str, str] = {}
    notes: list[Note] = []
    duplicates = 0
    for unit, part in parts.items():
        notes.extend(Note(problem.place, problem.text) for problem in part.problems)
        for name, value in part.attributes:
            if attributes.setdefault(name, value) != value:
                notes.append(
                    Note(unit, f"{name} {value!r} is not used, since {attributes[name]!r} came first")
                )
        for record in part.records:
            known = first.setdefault(record.instance.id, record)
            if known is not record:
                duplicates += 1
                notes.append(
                    Note(record.place, f"{record.instance.id} is at {known.place} too, which counts")
                )
    return Combined(group(key, (found.instance for found in first.values()), attributes, notes), duplicates)


def keep_last_good(
    old: tuple[_Item, ...], new: tuple[_Item, ...], problems: Iterable[Problem]
) -> tuple[_Item, ...]:
    """Return the new items, and the old reading of each refused one that can be recognised among the old."""
    refused = [problem for problem in problems if problem.marks]
    if not refused or not old:
        return new
    present = {item.marks[0] for item in new}
    lost = [item for item in old if item.marks[0] not in present]
    by_mark: dict[str, _Item] = {}
    for item in lost:
        for mark in item.marks:
            by_mark.setdefault(mark, item)
    kept: dict[str, _Item] = {}
    for problem in refused:
        found = next((by_mark[mark] for mark in problem.marks if mark in by_mark), None)
        if found is not None:
            kept.setdefault(found.marks[0], found)
    return (*new, *kept.values())


def seeds(previous: Mapping[str, InstanceGroup]) -> dict[str, Parsed]:
    """Return readings by document from the groups of an earlier run, which remember their documents."""
    records: dict[str, list[Record]] = {}
    services: dict[str, dict[str, Labels]] = {}
    for name, found in previous.items():
        for instance in found.instances:
            document = dict(instance.metadata).get("document", "")
            records.setdefault(document, []).append(Record(name, instance, document))
            services.setdefault(document, {})[name] = found.attributes
    return {
        document: Parsed(records=tuple(items), services=services[document])
        for document, items in records.items()
    }
