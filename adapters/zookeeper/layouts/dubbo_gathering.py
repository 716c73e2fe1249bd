"""Gathers what is known of one Dubbo service, from all the places where it stands, into one group."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from meshbridge.adapters.zookeeper.layouts import dubbo_rules, dubbo_url, fields
from meshbridge.adapters.zookeeper.layouts.dubbo_app import NO_REVISION, Exported
from meshbridge.adapters.zookeeper.layouts.dubbo_applications import Process
from meshbridge.adapters.zookeeper.layouts.dubbo_book import OpenBook
from meshbridge.adapters.zookeeper.layouts.dubbo_offers import Offer, Terms, instances, terms
from meshbridge.adapters.zookeeper.layouts.dubbo_rules import Provider, Rule
from meshbridge.adapters.zookeeper.layouts.dubbo_url import DubboUrl, Usual
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
        self._known: dict[tuple[str, str, str], Terms] = {}
        """The terms of usual providers."""
        self._taken: set[tuple[str, int]] = set()
        self._applications: set[tuple[str, str]] = set()
        self._placed = 0
        """How many of the offers are in these two sets."""
        self._notes: list[Note] = []
        self._unknown: list[Process] = []
        self._asides: list[Note] = []
        """Worth a word beside providers, but no reason to show a service that has none."""
        self._bystanders: Counter[str] = Counter()

    def provider(self, directory: str, interface: str, name: str, usual: Usual | None) -> None:
        """Take a provider, or note why not.

        Args:
            directory: node of the interface, its name as it is in the tree.
            interface: the interface.
            name: node of the provider, its name as it is in the tree.
            usual: the parts of the name, if it is of the usual form.
        """
        known = self._known.get((directory, usual.protocol, usual.terms)) if usual else None
        try:
            if usual and known:
                host, port = fields.address(usual.host), fields.port(usual.port)
                self._offers.append(Offer(usual.protocol, host, port, known, known.is_dynamic))
            else:
                self._new_provider(directory, interface, name, usual)
        except Refused as error:
            self._notes.append(malformed(dubbo_url.place_of(name), str(error)))

    def _new_provider(self, directory: str, interface: str, name: str, usual: Usual | None) -> None:
        """Take a provider which differs from those before in more than its place."""
        url = dubbo_url.parse(name)
        if other := _no_provider(url):
            self._notes.append(Note(dubbo_url.place_of(name), other))
            return
        parameters = {"interface": interface, **url.parameters}
        place = fields.address(url.host), fields.port(url.port)
        rules = self._book.rules(directory, parameters)
        taken = self._take(rules, url.protocol, place, parameters)
        # With rules, or a ramp, the terms are those of one instance.
        if usual and taken and not rules and "warmup" not in parameters:
            self._known[directory, usual.protocol, usual.terms] = taken

    def bystanders(self, category: str, names: Collection[str]) -> None:
        """Count what is registered with an interface without being a provider."""
        self._bystanders[category] += sum(not name.startswith("empty") for name in names)

    def aside(self, record: str, reason: str) -> None:
        """Note what is worth a word beside providers."""
        self._asides.append(Note(record, reason))

    def exported(self, process: Process, items: Iterable[Exported]) -> None:
        """Take what a process exports, unless its interface says so, too."""
        if process.found is None:
            self.unknown(process, process.problem)
            return
        for item in items:
            parameters = {"application": process.application, **item.parameters, "interface": item.interface}
            place = process.found.address, item.port
            self._note_places()
            if place not in self._taken:
                rules = self._book.rules(dubbo_url.encode(item.interface), parameters)
                self._take(rules, item.protocol, place, parameters, process)
        self._note_places()
        silent = process.keeps_to_itself and process.found.revision != NO_REVISION
        if silent and (process.found.address, process.application) not in self._applications:
            self.aside(process.record, "it tells its interfaces only to those who ask it")

    def process(self, process: Process) -> None:
        """Take a whole process, with the ports that no interface tells of."""
        if process.found is None:
            self.unknown(process, process.problem)
            return
        drained = {"disabled": "true"} if process.found.revision == NO_REVISION else {}
        parameters = {**process.found.metadata, "application": process.application, **drained}
        self._note_places()
        rules = self._book.rules("", parameters)
        for port in process.found.ports:
            place = process.found.address, port.number
            if place not in self._taken:
                self._take(rules, port.protocol, place, parameters, process)

    def unknown(self, process: Process, reason: str) -> None:
        """Note a process that can't be understood; what it was known to offer stays."""
        self._unknown.append(process)
        self._notes.append(malformed(process.record, reason))

    def group(self, source: str, previous: InstanceGroup | None) -> InstanceGroup:
        """Return the group of the service."""
        found = instances(self._offers)
        found += self._kept(found, previous)
        notes = [*self._notes, *self._book.notes]
        if self._offers:
            counts = [Note(what, _BYSTANDERS[what].format(n)) for what, n in self._bystanders.items() if n]
            notes += [*self._asides, *counts]
        return group(ServiceKey(source, self.service), found, self._attributes(), notes)

    def _take(
        self,
        rules: Sequence[Rule],
        protocol: str,
        place: tuple[str, int],
        parameters: Mapping[str, str],
        process: Process | None = None,
    ) -> Terms | None:
        """Take one port of a provider, or of a process, unless its protocol is not wanted."""
        host, port = place
        if self._protocols and protocol not in self._protocols:
            text = f"protocol {fields.shown(protocol)} is not one of those to take"
            self._notes.append(Note(f"{host}:{port}", text))
            return None
        if rules:
            provider = Provider(host, port, parameters.get("interface", ""), parameters)
            parameters = dubbo_rules.apply(rules, provider)
        found = terms(parameters, of_application=self._by_application)
        self._offers.append(
            Offer(protocol, host, port, found, process.is_alive if process else found.is_dynamic)
        )
        return found

    def _note_places(self) -> None:
        """Bring what is known of places up to date: only a tree of applications asks for it."""
        for offer in self._offers[self._placed :]:
            self._taken.add((offer.host, offer.port))
            self._applications.add((offer.host, offer.terms.application))
        self._placed = len(self._offers)

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
        if not self._offers:
            return {}
        first = self._offers[0].terms
        told = {"interface": first.interface, "group": first.group, "version": first.version}
        return {key: value for key, value in told.items() if value}


def _no_provider(url: DubboUrl) -> str:
    """Return what a URL among the providers is, "" for a provider."""
    category = url.get("category") or "providers"
    if url.protocol in _NO_PROVIDERS or "providers" not in category.split(","):
        return f"{fields.shown(url.protocol)} is no provider"
    # Simplified registration leaves the side out.
    return "it is a consumer" if url.get("side").lower() == "consumer" else ""
