"""What the tree of applications adds to that of interfaces, read from a mirror of both."""

from collections.abc import Iterator

import msgspec

from meshbridge.adapters.zookeeper.layouts import dubbo_app, fields
from meshbridge.adapters.zookeeper.layouts.directory import readable
from meshbridge.adapters.zookeeper.layouts.dubbo_app import AppInstance, Exported
from meshbridge.adapters.zookeeper.layouts.dubbo_paths import DubboPaths
from meshbridge.adapters.zookeeper.layouts.fields import Refused
from meshbridge.adapters.zookeeper.layouts.layout import Tree

_STORAGE = "dubbo.metadata.storage-type"


class Process(msgspec.Struct, frozen=True, gc=False):
    """A registered process of an application."""

    application: str
    name: str
    """Name of its node, `ip:port`."""
    found: AppInstance | None
    is_alive: bool = True
    problem: str = ""
    """Why it can't be understood."""

    @property
    def record(self) -> str:
        """How notes call it."""
        return f"{self.application}/{self.name}"[:200]

    @property
    def keeps_to_itself(self) -> bool:
        """Whether what it offers is told only to those who ask the process."""
        return self.found is not None and self.found.metadata.get(_STORAGE) != "remote"


class Applications:
    """Reads processes and what they export."""

    def __init__(self, paths: DubboPaths) -> None:
        self._paths = paths

    def of_interface(self, interface: str, tree: Tree) -> tuple[str, ...]:
        """Return the applications that have ever exported an interface."""
        node = tree.node(self._paths.mapping(interface)) if self._paths.applications is not None else None
        return dubbo_app.applications(node.data) if node else ()

    def processes(self, application: str, tree: Tree) -> Iterator[Process]:
        """Yield the processes of an application, those that can't be understood as well."""
        for name in sorted(tree.children(self._paths.process(application))):
            found = self.process(application, name, tree)
            if found is not None:
                yield found

    def process(self, application: str, name: str, tree: Tree) -> Process | None:
        """Return one process; None where there is none, or a Spring or Curator service of that name."""
        node = tree.node(self._paths.process(application, name))
        if node is None or not (node.ephemeral or node.data or not node.is_readable):
            return None
        try:
            record = fields.decoded(readable(node).data)
            if not dubbo_app.is_dubbo(record):
                return None
            return Process(application, name, dubbo_app.instance(record), node.ephemeral)
        except Refused as error:
            return Process(application, name, None, problem=str(error))

    def exports(self, process: Process, tree: Tree) -> tuple[Exported, ...]:
        """Return what a process exports, as far as the registry knows.

        Raises:
            Refused: the registry should know, but does not.
        """
        if process.found is None or process.found.revision == dubbo_app.NO_REVISION:
            return ()
        node = tree.node(self._paths.revision(process.application, process.found.revision))
        if node is not None:
            return dubbo_app.exported(readable(node).data)
        if process.keeps_to_itself:
            return ()
        raise Refused("what it exports is not in the registry yet")
