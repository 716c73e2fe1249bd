"""Which objects define a host, by namespace: there a second definition is a conflict. Pure."""

from collections.abc import Iterable

from meshbridge.bridge.kubernetes.objects import Observed
from meshbridge.schemas.resource import ResourceKey

_Places = dict[str, tuple[ResourceKey, ...]]


class Hosts:
    """The hosts of some objects; looking one up costs the same however many there are."""

    def __init__(self) -> None:
        self._namespaces: dict[str, _Places] = {}

    def add(self, found: Observed) -> None:
        """Take an object's hosts."""
        for host in found.hosts:
            places = self._namespaces.setdefault(found.key.namespace, {})
            places[host] = (*places.get(host, ()), found.key)

    def discard(self, found: Observed) -> None:
        """Forget an object's hosts, if they were taken."""
        places = self._namespaces.get(found.key.namespace, {})
        for host in found.hosts:
            rest = tuple(key for key in places.get(host, ()) if key != found.key)
            if rest:
                places[host] = rest
            else:
                places.pop(host, None)
        if not places:
            self._namespaces.pop(found.key.namespace, None)

    def has_any(self, namespace: str) -> bool:
        """Whether there are hosts in a namespace."""
        return namespace in self._namespaces

    def defining(self, namespace: str, hosts: Iterable[str]) -> set[ResourceKey]:
        """Return the objects that define one of the hosts there."""
        places = self._namespaces.get(namespace, {})
        return {key for host in hosts for key in places.get(host, ())}
