"""Dubbo 2 and 3: interfaces with their providers, and the applications behind them.

`{interface}/providers/{url}` is a provider (2.7 and 3.3 write it alike), `configurators` and the config
center change it. With a tree of applications, processes that are registered there alone are found through
`mapping` and `metadata`; what is registered in both is one instance.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from operator import itemgetter

from typing_extensions import override

from meshbridge.adapters.zookeeper.layouts import dubbo_url
from meshbridge.adapters.zookeeper.layouts.dubbo_app import Exported
from meshbridge.adapters.zookeeper.layouts.dubbo_applications import Applications, Process
from meshbridge.adapters.zookeeper.layouts.dubbo_book import RuleBook
from meshbridge.adapters.zookeeper.layouts.dubbo_gathering import Gathering
from meshbridge.adapters.zookeeper.layouts.dubbo_paths import DubboPaths, Place, What
from meshbridge.adapters.zookeeper.layouts.dubbo_url import Usual
from meshbridge.adapters.zookeeper.layouts.fields import Refused
from meshbridge.adapters.zookeeper.layouts.layout import Layout, Tree, leaf, parent
from meshbridge.adapters.zookeeper.layouts.options import DubboOptions, Grouping
from meshbridge.schemas.registry import InstanceGroup

_MAX_PARTS = 64
_SAME_ENCODED = re.compile(r"[A-Za-z0-9._-]+")
_OF_INTERFACE = (What.CONFIGURATOR, What.ROUTER, What.CONSUMER, What.MAPPING)


class Dubbo(Layout):
    """An interface with its group and version is a service, or an application is."""

    name = "dubbo"

    def __init__(self, options: DubboOptions, paths: DubboPaths) -> None:
        self._options = options
        self._paths = paths
        self._book = RuleBook(paths)
        self._applications = Applications(paths)
        self._by_application = options.grouping is Grouping.APPLICATION

    @property
    @override
    def indexed(self) -> bool:
        return self._by_application

    @property
    @override
    def trees(self) -> tuple[str, ...]:
        return self._paths.trees

    @override
    def covers(self, path: str) -> bool:
        what = self._paths.place(path).what
        return what is not What.NOTHING and (what is not What.CONSUMER or self._options.consumers)

    @override
    def needs(self, path: str) -> bool:
        return self._paths.place(path).what in (What.RULE, What.MAPPING, What.REVISION, What.PROCESS)

    @override
    def leads(self, path: str) -> bool:
        is_left_out = self._paths.holds(path)[0] is What.CONSUMER and not self._options.consumers
        return self._paths.place(path).what is What.DIRECTORY and not is_left_out

    @override
    def holds_names(self, path: str) -> bool:
        what = self._paths.holds(path)[0]
        return what is not What.NOTHING and (what is not What.CONSUMER or self._options.consumers)

    @override
    def owner(self, path: str) -> str:
        place = self._paths.place(path)
        if place.what is What.PROCESS and self._by_application:
            return place.subject
        if place.what is not What.PROVIDER:
            return ""
        return self._provider_service(place.subject, place.name, dubbo_url.usual(place.name))

    @override
    def services(self, path: str, tree: Tree) -> Collection[str] | None:
        place = self._paths.place(path)
        if place.what in (What.PROVIDER, What.PROCESS, What.REVISION):
            return self._of_record(path, place, tree)
        if place.what in _OF_INTERFACE:
            return self._of_interface(place.subject, tree)
        if place.what is What.RULE:
            return self._of_rule(place.subject, tree)
        what, interface = self._paths.holds(path)
        return self._of_interface(interface, tree) if what is What.CONSUMER else ()

    @override
    def group(
        self, source: str, service: str, tree: Tree, previous: InstanceGroup | None = None
    ) -> InstanceGroup:
        found = Gathering(service, self._options, self._book.open(tree))
        if self._by_application:
            self._gather_application(service, tree, found)
        else:
            for interface in self._interfaces(service, tree):
                self._gather_interface(interface, tree, found)
            self._gather_malformed(service, tree, found)
        return found.group(source, previous)

    @override
    def names(self, tree: Tree) -> set[str]:
        found: set[str] = set()
        for directory in tree.children(self._paths.interfaces):
            found |= self._provider_services(directory, tree)
        if self._paths.applications is not None:
            for application in tree.children(self._paths.applications):
                for process in self._applications.processes(application, tree):
                    is_told = self._by_application or process.found is None
                    found |= {application} if is_told else self._of_process(process, tree)
        return found - {""}

    def _provider_services(self, directory: str, tree: Tree) -> set[str]:
        """Return the services of the providers in an interface's node."""
        return {service for service, _, _ in self._providers(directory, dubbo_url.decode(directory), tree)}

    def _providers(
        self, directory: str, interface: str, tree: Tree
    ) -> Iterator[tuple[str, str, Usual | None]]:
        """Yield the service, the name and the parts of the name of the providers in an interface's node."""
        known: dict[tuple[str, str], str] = {}
        for name in tree.children(self._paths.category(directory, "providers")):
            usual = dubbo_url.usual(name)
            if usual is None:
                yield self._provider_service(interface, name, None), name, None
                continue
            said = usual.protocol, usual.terms
            service = known.get(said)
            if service is None:
                service = known[said] = self._provider_service(interface, name, usual)
            yield service, name, usual

    def _provider_service(self, interface: str, name: str, usual: Usual | None) -> str:
        """Return the service of a provider; one that can't be understood is noted at its bare interface."""
        try:
            found = dubbo_url.naming(name, usual)
            if self._by_application:
                return found.application or interface
        except Refused:
            return interface
        protocol = self._protocol(found.protocol)
        return ".".join(filter(None, (interface, found.group, found.version, protocol)))

    def _protocol(self, protocol: str) -> str:
        return protocol if self._options.split_protocols else ""

    def _of_record(self, path: str, place: Place, tree: Tree) -> Collection[str]:
        if place.what is What.PROVIDER:
            return {self.owner(path)} - {""}
        if self._by_application:
            return {place.subject}
        if place.what is What.PROCESS:
            process = self._applications.process(place.subject, place.name, tree)
            return {place.subject} | self._of_process(process, tree)
        # Of a revision: what those processes export that are at it.
        names: set[str] = set()
        for process in self._applications.processes(place.subject, tree):
            if process.found is not None and process.found.revision == place.name:
                names |= self._of_process(process, tree)
        return names

    def _of_process(self, process: Process | None, tree: Tree, interface: str = "") -> set[str]:
        """Return the services of a process, or those that are of one interface."""
        try:
            exports = self._applications.exports(process, tree) if process else ()
        except Refused:
            return set()
        return {self._export_service(item) for item in exports if interface in ("", item.interface)}

    def _export_service(self, item: Exported) -> str:
        return service_name(item.interface, item.parameters, self._protocol(item.protocol))

    def _of_interface(self, interface: str, tree: Tree) -> set[str]:
        names: set[str] = set()
        for directory in _directories(interface):
            names |= self._provider_services(directory, tree)
        if not self._by_application:
            for application in self._applications.of_interface(interface, tree):
                for process in self._applications.processes(application, tree):
                    names |= self._of_process(process, tree, interface)
        return names - {""}

    def _of_rule(self, subject: str, tree: Tree) -> Collection[str] | None:
        interface, colon, _ = subject.partition(":")
        if colon:
            return self._of_interface(interface, tree)
        # A rule for an application reaches all its interfaces, which only a look at all providers tells.
        return {subject} if self._by_application else None

    def _interfaces(self, service: str, tree: Tree) -> Iterator[str]:
        """Yield the interfaces whose name the service's begins with: groups and versions have dots, too."""
        parts = service.split(".")[:_MAX_PARTS]
        known = tree.children(self._paths.interfaces)
        for count in range(1, len(parts) + 1):
            interface = ".".join(parts[:count])
            is_known = any(
                name in known and tree.node(self._paths.category(name, "providers"))
                for name in _directories(interface)
            )
            if is_known or self._applications.of_interface(interface, tree):
                yield interface

    def _gather_interface(self, interface: str, tree: Tree, found: Gathering) -> None:
        for directory in _directories(interface):
            providers = self._providers(directory, interface, tree)
            here = [(name, usual) for service, name, usual in providers if service == found.service]
            for name, usual in sorted(here, key=itemgetter(0)):
                found.provider(directory, interface, name, usual)
            self._gather_bystanders(directory, tree, found)
        for application in self._applications.of_interface(interface, tree):
            for process in self._applications.processes(application, tree):
                self._gather_exports(interface, process, tree, found)

    def _gather_bystanders(self, directory: str, tree: Tree, found: Gathering) -> None:
        found.bystanders("routers", tree.children(self._paths.category(directory, "routers")))
        consumers = self._paths.category(directory, "consumers")
        if self._options.consumers:
            found.bystanders("consumers", tree.children(consumers))
        elif tree.node(consumers):
            found.aside("consumers", "they are no providers; `dubbo.consumers: true` counts them")

    def _gather_exports(self, interface: str, process: Process, tree: Tree, found: Gathering) -> None:
        try:
            exports = self._applications.exports(process, tree)
        except Refused as error:
            found.unknown(process, str(error))
            return
        here = [item for item in exports if item.interface == interface]
        found.exported(process, [item for item in here if self._export_service(item) == found.service])

    def _gather_malformed(self, application: str, tree: Tree, found: Gathering) -> None:
        """Note processes of which nobody can tell the interfaces at their application's name."""
        if self._paths.applications is not None:
            for process in self._applications.processes(application, tree):
                if process.found is None:
                    found.unknown(process, process.problem)

    def _gather_application(self, application: str, tree: Tree, found: Gathering) -> None:
        directories: set[str] = set()
        for path in sorted(tree.paths(application)):
            place = self._paths.place(path)
            if place.what is What.PROVIDER:
                directory = leaf(parent(parent(path)))
                directories.add(directory)
                found.provider(directory, place.subject, place.name, dubbo_url.usual(place.name))
        for directory in sorted(directories):
            self._gather_bystanders(directory, tree, found)
        for process in self._applications.processes(application, tree):
            found.process(process)


def service_name(interface: str, parameters: Mapping[str, str], protocol: str = "") -> str:
    """Return `{interface}[.{group}][.{version}][.{protocol}]`."""
    parts = (interface, parameters.get("group", ""), parameters.get("version", ""), protocol)
    return ".".join(filter(None, parts))


def _directories(interface: str) -> tuple[str, ...]:
    """Return what the node of an interface can be called: encoded by Dubbo, or plain."""
    if _SAME_ENCODED.fullmatch(interface):
        return (interface,)
    encoded = dubbo_url.encode(interface)
    return (encoded,) if encoded == interface else (encoded, interface)
