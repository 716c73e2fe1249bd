"""Which rules there are for a provider, read from a tree."""

from collections.abc import Mapping

from meshbridge.adapters.zookeeper.layouts import dubbo_rules, dubbo_url
from meshbridge.adapters.zookeeper.layouts.dubbo_paths import DubboPaths
from meshbridge.adapters.zookeeper.layouts.dubbo_rules import Rule
from meshbridge.adapters.zookeeper.layouts.fields import Refused
from meshbridge.adapters.zookeeper.layouts.layout import Tree, join, malformed
from meshbridge.schemas.registry import Note


class RuleBook:
    """Reads rules, and remembers the last good reading of each YAML document while it exists."""

    def __init__(self, paths: DubboPaths) -> None:
        self._paths = paths
        self._good: dict[str, tuple[Rule, ...]] = {}

    def open(self, tree: Tree) -> "OpenBook":
        """Return the rules of a tree, each read once."""
        return OpenBook(self, self._paths, tree)

    def document(self, path: str, tree: Tree, notes: list[Note]) -> tuple[Rule, ...]:
        """Return the rules of a YAML document."""
        node = tree.node(path)
        if node is None or (not node.data and node.is_readable):
            self._good.pop(path, None)
            return ()
        try:
            if node.is_readable:
                found = self._good[path] = dubbo_rules.of_yaml(node.data)
                return found
            notes.append(malformed(path, "its data can't be read"))
        except Refused as error:
            notes.append(malformed(path, str(error)))
        return self._good.get(path, ())


class OpenBook:
    """The rules of one state of a tree."""

    def __init__(self, book: RuleBook, paths: DubboPaths, tree: Tree) -> None:
        self._book = book
        self._paths = paths
        self._tree = tree
        self._documents: dict[str, tuple[Rule, ...]] = {}
        self._overrides: dict[str, tuple[Rule, ...]] = {}
        self.notes: list[Note] = []

    def rules(self, directory: str, parameters: Mapping[str, str]) -> tuple[Rule, ...]:
        """Return the rules that may be for a provider, in the order in which providers apply them.

        Args:
            directory: node of the interface, its name as it is in the tree.
            parameters: as they were registered, perhaps with rules applied already.
        """
        group, version = parameters.get("group", ""), parameters.get("version", "")
        application = parameters.get("application", "")
        return (
            *self._of_interface(directory),
            *(self._document(application) if application else ()),
            *self._document(f"{parameters.get('interface', '')}:{version}:{group}"),
        )

    def _document(self, subject: str) -> tuple[Rule, ...]:
        found = self._documents.get(subject)
        if found is None:
            path = self._paths.rule(subject)
            found = self._documents[subject] = self._book.document(path, self._tree, self.notes)
        return found

    def _of_interface(self, directory: str) -> tuple[Rule, ...]:
        found = self._overrides.get(directory)
        if found is None:
            found = self._overrides[directory] = tuple(self._read(directory))
        return found

    def _read(self, directory: str) -> list[Rule]:
        above = self._paths.category(directory, "configurators")
        rules: list[Rule] = []
        for name in sorted(self._tree.children(above)):
            try:
                rule = dubbo_rules.of_url(dubbo_url.parse(name))
            except Refused as error:
                self.notes.append(malformed(join("configurators", dubbo_url.place_of(name)), str(error)))
            else:
                rules += [rule] if rule else []
        return sorted(rules, key=lambda rule: rule.order)
