"""A layout for home-made trees: JSON documents at paths of one form, fields found by JSON pointers."""

from collections.abc import Collection, Mapping

from typing_extensions import override

from meshbridge.adapters.zookeeper.layouts import fields
from meshbridge.adapters.zookeeper.layouts.directory import readable
from meshbridge.adapters.zookeeper.layouts.fields import Refused
from meshbridge.adapters.zookeeper.layouts.layout import Layout, Node, Tree, join, malformed
from meshbridge.adapters.zookeeper.layouts.options import JsonOptions
from meshbridge.schemas.registry import Health, Instance, InstanceGroup, Note, Port, ServiceKey, group, labels

_ANY = "*"
_SERVICE = "service"


class JsonLayout(Layout):
    """A path of one form is a record; `{service}` in the form names its service."""

    name = "json"
    indexed = True
    trees = ("",)

    def __init__(self, options: JsonOptions) -> None:
        self._options = options
        self._form = options.path.split("/")
        self._ready = frozenset(word.lower() for word in options.ready)
        self._draining = frozenset(word.lower() for word in options.draining)

    @override
    def covers(self, path: str) -> bool:
        return path == "" or self._segments(path) is not None

    @override
    def needs(self, path: str) -> bool:
        return self.owner(path) != ""

    @override
    def owner(self, path: str) -> str:
        return (self._record(path) or {}).get(_SERVICE, "")

    @override
    def services(self, path: str, tree: Tree) -> Collection[str] | None:
        service = self.owner(path)
        return (service,) if service else ()

    @override
    def group(
        self, source: str, service: str, tree: Tree, previous: InstanceGroup | None = None
    ) -> InstanceGroup:
        earlier = {found.id: found for found in previous.instances} if previous else {}
        instances: list[Instance] = []
        notes: list[Note] = []
        for path in sorted(tree.paths(service)):
            node = tree.node(path)
            try:
                instances += [self._read(path, readable(node))] if node else []
            except Refused as error:
                notes.append(malformed(path, str(error)))
                instances += [earlier[path]] if path in earlier else []
        return group(ServiceKey(source, service), instances, notes=notes)

    @override
    def names(self, tree: Tree) -> set[str]:
        found: set[str] = set()
        waiting = [""]
        while waiting:
            path = waiting.pop()
            found.add(self.owner(path))
            below = (join(path, child) for child in tree.children(path))
            waiting.extend(child for child in below if self.covers(child))
        return found - {""}

    def _segments(self, path: str) -> dict[str, str] | None:
        """Return what the braces of the form stand for in a path, None if the path is of another form."""
        names = path.split("/")
        if len(names) > len(self._form):
            return None
        found: dict[str, str] = {}
        for form, name in zip(self._form, names, strict=False):
            if form.startswith("{") and form.endswith("}"):
                found[form[1:-1]] = name
            elif form not in (_ANY, name):
                return None
        return found

    def _record(self, path: str) -> Mapping[str, str] | None:
        return self._segments(path) if path.count("/") == len(self._form) - 1 else None

    def _read(self, path: str, node: Node) -> Instance:
        options = self._options
        document = fields.decoded(node.data)
        named = {key: value for key, value in (self._record(path) or {}).items() if key != _SERVICE}
        told = fields.metadata(fields.mapping(_at(document, options.metadata)))
        place = {"region": options.region, "zone": options.zone}
        version = fields.word(_at(document, options.version))
        return Instance(
            id=path,
            address=fields.address(_at(document, options.address)),
            ports=self._ports(document),
            labels=fields.mesh_labels({"version": version}),
            metadata=labels({**told, **fields.metadata(named)}),
            locality=fields.locality({key: fields.word(_at(document, at)) for key, at in place.items()}),
            weight=fields.weight(_at(document, options.weight)),
            health=self._health(fields.scalar(_at(document, options.status)).lower(), node),
        )

    def _ports(self, document: Mapping[str, object]) -> tuple[Port, ...]:
        options = self._options
        protocol = fields.word(_at(document, options.protocol)).lower()
        ports = {}
        for name, pointer in {**options.ports, "": options.port}.items():
            value = _at(document, pointer)
            if value is not None:
                number = fields.port(value)
                ports[number] = Port(name, number, "" if name else protocol)
        if not ports:
            raise Refused("it has no port")
        return tuple(sorted(ports.values()))

    def _health(self, status: str, node: Node) -> Health:
        if status in self._draining:
            return Health.DRAINING
        if status and status not in self._ready:
            return Health.UNREADY
        return Health.READY if node.ephemeral or status else Health.UNKNOWN


def _at(document: object, pointer: str | None) -> object:
    """Return what a JSON pointer leads to, None for nothing."""
    if pointer is None:
        return None
    found = document
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict):
            found = found.get(key)
        elif isinstance(found, list) and key.isascii() and key.isdigit() and len(key) < 6:
            found = found[int(key)] if int(key) < len(found) else None
        else:
            return None
    return found
