"""What the nodes of Dubbo's trees are, by their paths alone."""

import re
from enum import Enum
from functools import lru_cache

import msgspec

from meshbridge.adapters.zookeeper.layouts import dubbo_url
from meshbridge.adapters.zookeeper.layouts.layout import join

_CONFIGURATORS = ".configurators"
_REVISION = re.compile(r"[0-9a-f]{6,64}")
_NO_INTERFACE = frozenset(("config", "mapping", "metadata"))


class What(Enum):
    """The kinds of nodes that matter."""

    NOTHING = 0
    DIRECTORY = 1
    """It matters only for what is below it."""
    PROVIDER = 2
    CONSUMER = 3
    ROUTER = 4
    CONFIGURATOR = 5
    RULE = 6
    """A YAML rule of the config center."""
    MAPPING = 7
    REVISION = 8
    """What an application exports at a revision."""
    PROCESS = 9
    """An instance of an application."""


_CATEGORIES = {
    "providers": What.PROVIDER,
    "consumers": What.CONSUMER,
    "routers": What.ROUTER,
    "configurators": What.CONFIGURATOR,
}


class Place(msgspec.Struct, frozen=True, gc=False):
    """What a node is, and whom it belongs to."""

    what: What
    subject: str = ""
    """The interface, or the application of a REVISION or PROCESS; of a RULE what it is for."""
    name: str = ""
    """The node's own name, as it is."""


_NOTHING = Place(What.NOTHING)
_DIRECTORY = Place(What.DIRECTORY)


class DubboPaths:
    """Where things are, below the watched root."""

    def __init__(
        self, interfaces: str = "", applications: str | None = None, config_group: str = "dubbo"
    ) -> None:
        """Describe the place of the trees.

        Args:
            interfaces: path of the tree of interfaces, mappings, metadata and rules; "" is the root.
            applications: path of the tree of applications; None where it is not looked at.
            config_group: name below `config` of what the config center has for Dubbo.
        """
        self.interfaces = interfaces
        self.applications = applications
        self.rules = join(interfaces, f"config/{config_group}")
        # Thousands of records of one directory are asked for one after the other.
        self._records = lru_cache(maxsize=64)(self._records_in)

    @property
    def trees(self) -> tuple[str, ...]:
        """The trees that are looked at."""
        return (self.interfaces,) if self.applications is None else (self.interfaces, self.applications)

    def category(self, interface: str, category: str) -> str:
        """Return the path of a category of an interface; its name is encoded as Java does it."""
        return join(self.interfaces, f"{interface}/{category}")

    def process(self, application: str, name: str = "") -> str:
        """Return the path of an application, or of an instance of it."""
        return join(join(self.applications or "", application), name)

    def rule(self, subject: str) -> str:
        """Return the path of the rule for `{interface}:{version}:{group}` or for an application."""
        return join(self.rules, subject + _CONFIGURATORS)

    def mapping(self, interface: str = "") -> str:
        """Return the path of the list of an interface's applications."""
        return join(join(self.interfaces, "mapping"), interface)

    def revision(self, application: str, revision: str) -> str:
        """Return the path of what an application exports at a revision."""
        return join(self.interfaces, f"metadata/{application}/{revision}")

    def place(self, path: str) -> Place:
        """Return what is at a path."""
        above, _, name = path.rpartition("/")
        known = self._records(above)
        return Place(known[0], known[1], name) if known else self._place(path)

    def holds(self, directory: str) -> tuple[What, str]:
        """Return what the children of a category are and of which interface, `NOTHING` for any other node."""
        return self._records(directory) or (What.NOTHING, "")

    def _records_in(self, directory: str) -> tuple[What, str] | None:
        """Return what the children of a category of an interface are, None for any other directory."""
        inside = _below(self.interfaces, directory) or []
        is_application = self.applications is not None and _below(self.applications, directory) is not None
        if len(inside) != 2 or inside[0] in _NO_INTERFACE or is_application:
            return None
        what = _CATEGORIES.get(inside[1])
        return (what, dubbo_url.decode(inside[0])) if what else None

    def _place(self, path: str) -> Place:
        applications = None if self.applications is None else _below(self.applications, path)
        if applications is not None:
            return _process(applications)
        inside = _below(self.interfaces, path)
        if inside is None:
            leads = any(tree.startswith(path + "/") for tree in self.trees)
            return _DIRECTORY if path == "" or leads else _NOTHING
        if not inside:
            return _DIRECTORY
        if inside[0] in _NO_INTERFACE:
            return self._special(inside, path)
        return _of_interface(inside)

    def _special(self, inside: list[str], path: str) -> Place:
        if inside[0] == "config":
            return self._config(inside, path)
        if self.applications is None or len(inside) > 3:
            return _NOTHING
        if inside[0] == "mapping":
            return Place(What.MAPPING, inside[1], inside[1]) if len(inside) == 2 else _level(inside, 1)
        if len(inside) < 3:
            return _DIRECTORY
        is_revision = _REVISION.fullmatch(inside[2]) is not None
        return Place(What.REVISION, inside[1], inside[2]) if is_revision else _NOTHING

    def _config(self, inside: list[str], path: str) -> Place:
        if len(inside) == 3 and path.startswith(self.rules + "/") and path.endswith(_CONFIGURATORS):
            return Place(What.RULE, inside[2].removesuffix(_CONFIGURATORS), inside[2])
        return _DIRECTORY if self.rules == path or self.rules.startswith(path + "/") else _NOTHING


def _below(tree: str, path: str) -> list[str] | None:
    """Return the names between a tree and a path in it, None if it is not in it."""
    if not tree:
        return path.split("/") if path else []
    if path == tree:
        return []
    return path[len(tree) + 1 :].split("/") if path.startswith(tree + "/") else None


def _level(inside: list[str], deepest: int) -> Place:
    return _DIRECTORY if len(inside) <= deepest else _NOTHING


def _process(inside: list[str]) -> Place:
    return Place(What.PROCESS, inside[0], inside[1]) if len(inside) == 2 else _level(inside, 1)


def _of_interface(inside: list[str]) -> Place:
    """Return what is at or above a category; records are known by their directory."""
    is_known = len(inside) == 1 or (len(inside) == 2 and inside[1] in _CATEGORIES)
    return _DIRECTORY if is_known else _NOTHING
