"""What is known of the objects at the API server, from lists, watches and answers to our own writes. Pure.

These come in any order, so an older state never replaces a newer one: resource versions are compared.
"""

from collections.abc import Callable, Iterable, Iterator

from meshbridge.bridge.kubernetes.hosts import Hosts
from meshbridge.bridge.kubernetes.objects import Observed
from meshbridge.schemas.resource import Kind, ResourceKey


class Store:
    """Every object of our kinds, ours or not."""

    def __init__(self, is_ours: Callable[[Observed], bool]) -> None:
        self._is_ours = is_ours
        self._objects: dict[ResourceKey, Observed] = {}
        self._own_hosts, self._foreign_hosts = Hosts(), Hosts()
        self._stirred: set[ResourceKey] = set()
        self._ours: set[ResourceKey] = set()

    def get(self, key: ResourceKey) -> Observed | None:
        """Return the object, if there is one."""
        return self._objects.get(key)

    @property
    def ours(self) -> frozenset[ResourceKey]:
        """The objects that are ours, as they are now."""
        return frozenset(self._ours)

    @property
    def owned(self) -> int:
        """How many objects are ours."""
        return len(self._ours)

    def is_ours(self, key: ResourceKey) -> bool:
        """Whether the object is there and ours."""
        return key in self._ours

    def put(self, found: Observed) -> bool:
        """Take the state of an object and return whether it is news."""
        known = self._objects.get(found.key)
        if known is not None:
            if _number(found.resource_version) <= _number(known.resource_version):
                return False
            self._forget(known)
        self._objects[found.key] = found
        if self._is_ours(found):
            self._ours.add(found.key)
            self._own_hosts.add(found)
        else:
            self._foreign_hosts.add(found)
            self._stir(found)
        return True

    def knows(self, key: ResourceKey, resource_version: str) -> bool:
        """Whether this state of an object, or a newer one, is known."""
        known = self._objects.get(key)
        return known is not None and _number(resource_version) <= _number(known.resource_version)

    def remove(self, key: ResourceKey, resource_version: str) -> bool:
        """Take that an object was deleted and return whether it is news."""
        known = self._objects.get(key)
        if known is None or _number(known.resource_version) > _number(resource_version):
            return False
        self._forget(known)
        return True

    def replace(
        self, kind: Kind, namespace: str, found: Iterable[Observed], resource_version: str
    ) -> Iterator[ResourceKey]:
        """Take a whole list, made at this version, and yield the objects about which there is news."""
        listed = set()
        for one in found:
            listed.add(one.key)
            if self.put(one):
                yield one.key
        for key in [key for key in self._objects if _is_within(key, kind, namespace) and key not in listed]:
            if self.remove(key, resource_version):
                yield key

    def rival(self, key: ResourceKey, hosts: Iterable[str]) -> str:
        """Return another object, not ours, that defines one of the hosts in the namespace, "" for none."""
        others = self._foreign_hosts.defining(key.namespace, hosts) - {key}
        return str(min(others)) if others else ""

    def has_foreign_hosts(self, namespace: str) -> bool:
        """Whether somebody else defines hosts in the namespace."""
        return self._foreign_hosts.has_any(namespace)

    def stirred(self) -> set[ResourceKey]:
        """Return our objects whose hosts others have begun or ceased to define since this was asked last."""
        stirred, self._stirred = self._stirred, set()
        return stirred

    def _stir(self, foreign: Observed) -> None:
        self._stirred |= self._own_hosts.defining(foreign.key.namespace, foreign.hosts)

    def _forget(self, known: Observed) -> None:
        del self._objects[known.key]
        if known.key in self._ours:
            self._ours.remove(known.key)
            self._own_hosts.discard(known)
        else:
            self._foreign_hosts.discard(known)
            self._stir(known)


def _is_within(key: ResourceKey, kind: Kind, namespace: str) -> bool:
    return key.kind is kind and namespace in ("", key.namespace)


def _number(resource_version: str) -> int:
    # They count upwards within one server; what is no number is taken as the newest.
    return int(resource_version) if resource_version.isdigit() else 1 << 63
