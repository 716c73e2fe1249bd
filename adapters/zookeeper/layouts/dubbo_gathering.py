"""Gathers what is known of one Dubbo service, from all the places where it stands, into one group."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from meshbridge.adapters.zookeeper.layouts import dubbo_url, fields
from meshbridge.adapters.zookeeper.layouts.dubbo_app import NO_REVISION, Exported
from meshbridge.adapters.zookeeper.layouts.dubbo_applications import Process
from meshbridge.adapters.zookeeper.layouts.dubbo_book import OpenBook
from meshbridge.adapters.zookeeper.layouts.dubbo_offers import Offer, instances
from meshbridge.adapters.zookeeper.layouts.dubbo_rules import Provider
from meshbridge.adapters.zookeeper.layouts.dubbo_url import DubboUrl
from meshbridge.adapters.zookeeper.layouts.fields import Refused
from meshbridge.adapters.zookeeper.layouts.layout import malformed
from meshbridge.adapters.zookeeper.layouts.options import DubboOptions, Grouping
from meshbridge.schemas.registry import Instance, InstanceGroup, Note, ServiceKey, group

_NO_PROVIDERS = ("empty", "consumer", "override", "absent", "condition", "script", "tag", "route", "admin")
_BYSTANDERS = {
    "routers": "routing rules of Dubbo ({}) are left to its consumers",
    "consumers": "consumers ({}) are no providers",
}


class Gathering:
    """What has been found of one service so far."""

    def __init__(self, service: str, options: DubboOptions, book: OpenBook) -> None:
        self.service = service
        self._book = book
        self._protocols = frozenset(protocol.lower() for protocol in options.protocols)
        self._by_application = options.grouping is Grouping.APPLICATION
        self._offers: list[Offer] = []
        self._taken: set[tuple[str, int]] = set()
        self._applications: set[tuple[str, str]] = set()
        self._notes: list[Note] = []
        self._unknown: list[Process] = []
        self._asides: list[Note] = []
        """Worth a word beside providers, but no reason to show a service that has none."""
        self._bystanders: Counter[str] = Counter()

    def provider(self, directory: str, interface: str, name: str, *, is_alive: bool) -> None:
        """Take a provider, or note why not.

        Args:
            directory: node of the interface, its name as it is in the tree.
            interface: the interface.
            name: node of the provider, its name as it is in the tree.
            is_alive: whether the node is ephemeral.
        """
        try:
            url = dubbo_url.parse(name)
            if other := _no_provider(url):
                self._notes.append(Note(dubbo_url.place_of(name), other))
                return
            parameters = {"interface": interface, **url.parameters}
            place = fields.address(url.host), fields.port(url.port)
        except Refused as error:
            self._notes.append(malformed(dubbo_url.place_of(name), str(error)))
            return
        self._take(directory, url.protocol, place, parameters, is_alive=is_alive)

    def bystanders(self, category: str, names: Collection[str]) -> None:
        """Count what is registered with an interface without being a provider."""
        self._bystanders[category] += sum(not name.startswith("empty") for name in names)

    def exported(self, process: Process, items: Iterable[Exported]) -> None:
        """Take what a process exports, unless its interface says so, too."""
        if process.found is None:
            self.unknown(process, process.problem)
            return
        for item in items:
            parameters = {"application": process.application, **item.parameters, "interface": item.interface}
            place = process.found.address, item.port
            if place not in self._taken:
                directory = dubbo_url.encode(item.interface)
                self._take(directory, item.protocol, place, parameters, is_alive=process.is_alive)
        silent = process.keeps_to_itself and process.found.revision != NO_REVISION
        if silent and (process.found.address, process.application) not in self._applications:
            self._asides.append(Note(process.record, "it tells its interfaces only to those who ask it"))

    def process(self, process: Process) -> None:
        """Take a whole process, with the ports that no interface tells of."""
        if process.found is None:
            self.unknown(process, process.problem)
            return
        drained = {"disabled": "true"} if process.found.revision == NO_REVISION else {}
        parameters = {**process.found.metadata, "application": process.application, **drained}
        for port in process.found.ports:
            place = process.found.address, port.number
            if place not in self._taken:
                self._take("", port.protocol, place, parameters, is_alive=process.is_alive)

    def unknown(self, process: Process, reason: str) -> None:
        """Note a process that can't be understood; what it was known to offer stays."""
        self._unknown.append(process)
        self._notes.append(malformed(process.record, reason))

    def group(self, source: str, previous: InstanceGroup | None) -> InstanceGroup:
        """Return the group of the service."""
        found = instances(self._offers, of_application=self._by_application)
        found += self._kept(found, previous)
        notes = [*self._notes, *self._book.notes]
        if self._offers:
            counts = [Note(what, _BYSTANDERS[what].format(n)) for what, n in self._bystanders.items() if n]
            notes += [*self._asides, *counts]
        return group(ServiceKey(source, self.service), found, self._attributes(), notes)

    def _take(
        self,
        directory: str,
        protocol: str,
        place: tuple[str, int],
        parameters: Mapping[str, str],
        *,
        is_alive: bool,
    ) -> None:
        host, port = place
        if self._protocols and protocol not in self._protocols:
            text = f"protocol {fields.shown(protocol)} is not one of those to take"
            self._notes.append(Note(f"{host}:{port}", text))
            return
        provider = Provider(host, port, parameters.get("interface", ""), parameters)
        after = self._book.parameters(directory, provider)
        self._offers.append(Offer(protocol, host, port, provider.application, after, is_alive))
        self._taken.add((host, port))
        self._applications.add((host, provider.application))

    def _kept(self, found: Iterable[Instance], previous: InstanceGroup | None) -> list[Instance]:
        """Return earlier instances of processes that are there, but can't be understood now."""
        if previous is None or not self._unknown:
            return []
        places = {(process.name.rpartition(":")[0], process.application) for process in self._unknown}
        ports = {(instance.address, port.number) for instance in found for port in instance.ports}
        return [
            instance
            for instance in previous.instances
            if (instance.address, dict(instance.metadata).get("application", "")) in places
            and not any((instance.address, port.number) in ports for port in instance.ports)
        ]

    def _attributes(self) -> dict[str, str]:
        if self._by_application:
            return {"application": self.service}
        first = self._offers[0].parameters if self._offers else {}
        return {key: first[key] for key in ("interface", "group", "version") if first.get(key)}


def _no_provider(url: DubboUrl) -> str:
    """Return what a URL among the providers is, "" for a provider."""
    category = url.get("category") or "providers"
    if url.protocol in _NO_PROVIDERS or "providers" not in category.split(","):
        return f"{fields.shown(url.protocol)} is no provider"
    # Simplified registration leaves the side out.
    return "it is a consumer" if url.get("side").lower() == "consumer" else ""
