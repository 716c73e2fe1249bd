"""A configuration text as a tree of values that know their lines.

YAML 1.1, one document, no tags and no merge keys. `${VAR}` inside a text stands for an environment
variable, `$${` for a literal `${`. Size, depth and number of nodes are bounded before anything
recurses, so that no text can exhaust memory or stack.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import yaml
from yaml.constructor import SafeConstructor

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 32
MAX_NODES = 200_000
"""Nodes, each alias counting as much as what it stands for."""

_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_VARIABLE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\$\{[^}]*\}?")
_TEXTS = {"tag:yaml.org,2002:str", "tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value"}
_SCALARS = {f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool", "null")}
_COLLECTIONS = {"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Node:
    """A value and where it stands."""

    value: object
    line: int
    """Of its key, or of itself in a list; counted from 1."""
    children: Mapping[str | int, "Node"] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Environment variables that the text used, with their values."""

    def walk(self) -> Iterator["Node"]:
        """Give this node and everything under it."""
        yield self
        for child in self.children.values():
            yield from child.walk()


@dataclass(frozen=True)
class Problem:
    """One mistake in the file."""

    line: int
    path: Path
    text: str


def parse(text: str, environ: Mapping[str, str]) -> tuple[Node | None, list[Problem]]:
    """Return the tree, None when there can be none, and the mistakes in it."""
    try:
        problem = _beyond_bounds(text)
        root = None if problem else yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        problem, root = _syntax_problem(error, text), None
    if isinstance(root, yaml.MappingNode):
        reader = _TreeReader(environ)
        try:
            return reader.read(root, (), 1), reader.problems
        except _TooManyError as error:
            problem = Problem(error.line, (), f"more than {MAX_NODES} values, aliases counted in full")
    elif root is not None:
        problem = Problem(1, (), "must be a mapping: sources: [...], rules: [...], ...")
    return None, [problem or Problem(1, (), "the file is empty; it needs at least sources")]


def _beyond_bounds(text: str) -> Problem | None:
    depth = documents = 0
    for events, event in enumerate(yaml.parse(text, Loader=_Loader)):
        line = _line(event)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.DocumentStartEvent):
            documents += 1
        if depth > MAX_DEPTH:
            return Problem(line, (), f"nested deeper than {MAX_DEPTH} levels")
        if events > 2 * MAX_NODES:
            return Problem(line, (), f"more than {MAX_NODES} values")
        if documents > 1:
            return Problem(line, (), "a second YAML document begins here; the file must be one")
    return None


def _line(part: yaml.Node | yaml.Event) -> int:
    return part.start_mark.line + 1 if part.start_mark else 1


def _syntax_problem(error: yaml.YAMLError, text: str) -> Problem:
    """Return the mistake without the excerpt that YAML's own message has: it may hold a secret."""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        return Problem(mark.line + 1 if mark else 1, (), f"not valid YAML: {error.problem or error.context}")
    position = getattr(error, "position", 0)
    reason = getattr(error, "reason", "unreadable")
    return Problem(text.count("\n", 0, position) + 1, (), f"not valid YAML: {reason}")


class _TooManyError(Exception):
    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


class _TreeReader:
    """Turns YAML nodes into values and gathers what is wrong with them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.problems: list[Problem] = []
        self._environ = environ
        self._count = 0
        self._above: set[int] = set()
        self._constructor = SafeConstructor()

    def read(self, node: yaml.Node, path: Path, line: int) -> Node:
        self._count += 1
        if self._count > MAX_NODES:
            raise _TooManyError(line)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path, line)
        if node.tag not in _COLLECTIONS:
            return self._nothing(line, path, f"the tag {node.tag} is not supported")
        if id(node) in self._above:
            return self._nothing(line, path, "an alias that contains itself")
        self._above.add(id(node))
        found = self._mapping(node, path, line) if isinstance(node, yaml.MappingNode) else None
        found = found or self._sequence(node, path, line)
        self._above.discard(id(node))
        return found

    def _mapping(self, node: yaml.MappingNode, path: Path, line: int) -> Node:
        children: dict[str | int, Node] = {}
        for key, value in node.value:
            at = _line(key)
            if not isinstance(key, yaml.ScalarNode):
                self._say(at, path, "a key must be a text")
            elif key.tag == "tag:yaml.org,2002:merge":
                self._say(at, path, "merge keys (<<) are not supported; write the keys out")
            elif key.value in children:
                before = children[key.value].line
                self._say(at, (*path, key.value), f'duplicate key "{key.value}", first on line {before}')
            else:
                children[key.value] = self.read(value, (*path, key.value), at)
        return Node({key: child.value for key, child in children.items()}, line, children)

    def _sequence(self, node: yaml.Node, path: Path, line: int) -> Node:
        children: dict[str | int, Node] = {
            index: self.read(item, (*path, index), _line(item)) for index, item in enumerate(node.value)
        }
        return Node([child.value for child in children.values()], line, children)

    def _scalar(self, node: yaml.ScalarNode, path: Path, line: int) -> Node:
        if node.tag in _TEXTS:
            return self._text(node.value, path, line)
        if node.tag not in _SCALARS:
            return self._nothing(line, path, f"the tag {node.tag} is not supported")
        try:
            return Node(self._constructor.construct_object(node), line)
        except (ValueError, KeyError):
            return self._nothing(line, path, f"not a valid {node.tag.rpartition(':')[2]}")

    def _text(self, text: str, path: Path, line: int) -> Node:
        used: dict[str, str] = {}

        def value(found: re.Match[str]) -> str:
            if found[0] == "$${":
                return "${"
            if found[1] is None:
                self._say(line, path, 'malformed variable; write ${NAME}, or $${ for a literal "${"')
            elif found[1] not in self._environ:
                self._say(line, path, f"the environment variable {found[1]} is not set")
            else:
                used[found[1]] = self._environ[found[1]]
            return used.get(found[1] or "", "")

        return Node(_VARIABLE.sub(value, text), line, {}, used)

    def _nothing(self, line: int, path: Path, text: str) -> Node:
        self._say(line, path, text)
        return Node(None, line)

    def _say(self, line: int, path: Path, text: str) -> None:
        self.problems.append(Problem(line, path, text))
